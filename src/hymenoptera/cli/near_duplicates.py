"""Near-duplicates: images that look the same though their files differ.

They are compared by imagehash's perceptual hash, the signs of an image's lowest frequencies, which
resizing, compressing and brightening hardly change (Zauner, "Implementation and Benchmarking of
Perceptual Image Hash Functions", 2010). Mirror images count as the same.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hymenoptera.errors import ConfigError

try:
    import imagehash
except ImportError as error:
    raise ConfigError("check needs imagehash: pip install -e '.[check]'") from error

SIDE_PX = 256  # of the image that is hashed, at most
HASH_SIDE = 12  # frequencies a side
BITS = HASH_SIDE**2
# by which the hashes of near-duplicates differ at most. benchmarks/planted.py: all of 360 planted
# pairs and no other; with imagehash's usual 8 x 8 frequencies it is 360 and 12 others
MAX_BITS = 30
MIN_CONTRAST = 2.0  # standard deviation of the grey values, below which all images look the same
CHUNK = 512  # rows of the comparison at a time

Hashes = NDArray[np.float32]
NO_HASHES: Hashes = np.zeros((2, BITS), np.float32)  # of an image without contrast: match no other


def hashes_of(image: Image.Image) -> Hashes:
    """The hashes of an image and of its mirror image: (2, BITS) signs, -1 or 1."""
    grey = image.convert("L")
    grey.thumbnail((SIDE_PX, SIDE_PX))
    if np.asarray(grey).std() < MIN_CONTRAST:
        return NO_HASHES
    both = [imagehash.phash(one, HASH_SIDE).hash.ravel() for one in (grey, ImageOps.mirror(grey))]
    return np.where(both, 1, -1).astype(np.float32)


def near_duplicates(hashes: Sequence[Hashes]) -> Iterator[tuple[int, int, float]]:
    """Positions of two images, the smaller first, and their share of equal bits."""
    upright, mirrored = np.array(hashes).reshape(-1, 2, BITS).swapaxes(0, 1)  # (N, BITS) each
    for start in range(0, len(upright), CHUNK):
        rows = upright[start : start + CHUNK]
        equal = (np.maximum(rows @ upright.T, rows @ mirrored.T) / BITS + 1) / 2  # (rows, N)
        for row, column in np.argwhere(equal > 1 - (MAX_BITS + 0.5) / BITS).tolist():
            if start + row < column:
                yield start + row, column, float(equal[row, column])
