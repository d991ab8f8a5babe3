"""A page of predictions, an image each, written as they come."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hymenoptera.files import new_file
from hymenoptera.reports.images import data_uri, overlay, side_by_side
from hymenoptera.reports.pages import encoded, render

SIDE_PX = 224  # of an image in the page
_TILES = "<!-- tiles -->"


class Gallery(ExitStack):
    """A page that is there when the `with` block has ended well.

    It is `explained` if it shows heat maps; `near` if it shows training images.
    """

    def __init__(
        self, path: Path, heading: str, explained: bool = False, near: bool = False
    ) -> None:
        super().__init__()
        about = {"title": heading, "explained": explained, "near": near}
        page = render("gallery.html", tiles=_TILES, **about)
        begin, _, end = page.partition(_TILES)
        self._file = self.enter_context(new_file(path))
        self._file.write(encoded(begin))
        self.callback(lambda: self._file.write(encoded(end)))

    def add(
        self,
        name: str,
        image: Image.Image | None,
        probabilities: Mapping[str, float],
        heat_map: NDArray[np.float32] | None = None,
        error: str | None = None,
        notes: Sequence[str] = (),
        near: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write one image, named by its path, as the network sees it; or why it cannot be read.

        Of the probabilities, the highest first, two are shown. A heat map is (H, W), 0 to 1. Notes
        warn of the prediction. Training images that are near come as data URIs with a line each.
        """
        if image is not None:
            both = side_by_side(image, overlay(image, heat_map)) if heat_map is not None else image
            image = both.copy()
            image.thumbnail((SIDE_PX * 2, SIDE_PX))
        shown, address = list(probabilities.items())[:2], data_uri(image)
        about = {"error": error, "shown": shown, "notes": notes, "near": near}
        tile = render("gallery_tile.html", name=name, address=address, **about)
        self._file.write(encoded(tile))
