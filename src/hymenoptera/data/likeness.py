"""Pictures that are one: by their bytes, or by how they look.

A picture's look is a perceptual hash, the signs of the low frequencies of its grey version: 63 bits
that resizing, compressing and brightening hardly change (Zauner, "Implementation and Benchmarking
of Perceptual Image Hash Functions", 2010). Where two hashes are close, grey versions of half that
size are correlated, mirrored too, and moved by a pixel: a hash alone takes one sky for another.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

GREY_PX = 32
MOST_BITS = 16  # by which the hashes of two versions of a picture differ
LEAST_CORRELATION = 0.9
LEAST_CONTRAST = 2.0  # standard deviation of the grey values, below which all pictures look alike

Grey = NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """Two pictures that look alike, by their positions; the correlation of their grey versions."""

    first: int
    second: int
    likeness: float


def small_grey(picture: Image.Image) -> Grey:
    """A picture's small grey version: (GREY_PX, GREY_PX) float32."""
    size = (GREY_PX, GREY_PX)
    small = picture.convert("L").resize(size, Image.Resampling.BOX, reducing_gap=4)
    return np.asarray(small, dtype=np.float32)


def look_hashes(greys: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Perceptual hashes of (N, GREY_PX, GREY_PX) grey versions: (N,) of 63 bits each."""
    low = dctn(greys, axes=(1, 2), norm="ortho")[:, :8, :8].reshape(len(greys), 64)[:, 1:]
    bits = low > np.median(low, axis=1, keepdims=True)
    weights = np.left_shift(np.uint64(1), np.arange(63, dtype=np.uint64))
    hashes: NDArray[np.uint64] = (bits * weights).sum(axis=1, dtype=np.uint64)
    return hashes


def same(keys: Sequence[str]) -> list[list[int]]:
    """Groups of two positions or more whose keys are equal, such as the SHA-256 of files."""
    groups: dict[str, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        groups[key].append(position)
    return [group for group in groups.values() if len(group) > 1]


def alike(greys: NDArray[np.float32]) -> list[Pair]:
    """Pairs of pictures that look alike, as they are or mirrored.

    Args:
        greys: (N, GREY_PX, GREY_PX) float32; those of no contrast are like nothing.
    """
    usable = np.flatnonzero(greys.std(axis=(1, 2)) >= LEAST_CONTRAST)
    halves = greys.reshape(-1, GREY_PX // 2, 2, GREY_PX // 2, 2).mean(axis=(2, 4))
    found: list[Pair] = []
    if len(usable) < 2:
        return found
    for first, second in _close(look_hashes(greys[usable]), look_hashes(greys[usable, :, ::-1])):
        a, b = int(usable[first]), int(usable[second])
        likeness = max(_correlation(halves[a], other) for other in (halves[b], halves[b, :, ::-1]))
        if likeness >= LEAST_CORRELATION:
            found.append(Pair(a, b, round(likeness, 3)))
    return found


def _close(
    hashes: NDArray[np.uint64], mirrored: NDArray[np.uint64], chunk: int = 512
) -> Iterator[tuple[int, int]]:
    """Pairs of positions, the smaller one first, whose hashes differ in few bits."""
    for start in range(0, len(hashes), chunk):
        rows = hashes[start : start + chunk, None]
        few = np.minimum(
            np.bitwise_count(rows ^ hashes[None]), np.bitwise_count(rows ^ mirrored[None])
        )
        for row, column in np.argwhere(few <= MOST_BITS):
            if start + row < column:
                yield int(start + row), int(column)


def _correlation(a: Grey, b: Grey) -> float:
    """The highest correlation of two grey versions, one moved over the other by a pixel at most."""
    best, middle = -1.0, a[1:-1, 1:-1]
    middle = (middle - middle.mean()) / (middle.std() + 1e-6)
    size = len(middle)
    for top in range(3):
        for left in range(3):
            other = b[top : top + size, left : left + size]
            other = (other - other.mean()) / (other.std() + 1e-6)
            best = max(best, float((middle * other).mean()))
    return best
