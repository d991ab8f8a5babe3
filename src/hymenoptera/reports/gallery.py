"""A page of predictions, an image each, written as they come."""

from collections.abc import Mapping
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
    """A page that is there when the `with` block has ended well; `explained` if by heat maps."""

    def __init__(self, path: Path, heading: str, explained: bool = False) -> None:
        super().__init__()
        page = render("gallery.html", title=heading, explained=explained, tiles=_TILES)
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
    ) -> None:
        """Write one image, named by its path, as the network sees it; or why it cannot be read.

        Of the probabilities, the highest first, two are shown. A heat map is (H, W), 0 to 1.
        """
        if image is not None:
            both = side_by_side(image, overlay(image, heat_map)) if heat_map is not None else image
            image = both.copy()
            image.thumbnail((SIDE_PX * 2, SIDE_PX))
        shown, address = list(probabilities.items())[:2], data_uri(image)
        tile = render("gallery_tile.html", name=name, address=address, error=error, shown=shown)
        self._file.write(encoded(tile))
