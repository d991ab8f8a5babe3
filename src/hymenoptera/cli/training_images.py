"""The training images that are nearest to an image, to show beside it."""

from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from hymenoptera.cli.evaluation import run_data
from hymenoptera.data.samples import Samples
from hymenoptera.errors import ConfigError
from hymenoptera.models.predictor import Neighbour
from hymenoptera.reports.images import data_uri, thumbnail

SIDE_PX = 160


class TrainingImages:
    """A run's training images, small, by name.

    Args:
        metadata: of the run, from its checkpoint.
    """

    def __init__(self, metadata: dict[str, Any]) -> None:
        self._metadata = metadata
        self._root = metadata.get("data", {}).get("root")
        self._shown = lru_cache(maxsize=1000)(self._address)
        self._samples = cache(self._find_samples)

    def shown(self, neighbours: tuple[Neighbour, ...]) -> list[tuple[str, str]]:
        """Each as a data URI, empty where it is no longer there, with its class and similarity."""
        return [(self._shown(n.name), f"{n.label}, {n.similarity:.2f}") for n in neighbours]

    def _address(self, name: str) -> str:
        return data_uri(self._image(name))

    def _image(self, name: str) -> Image.Image | None:
        if self._root is not None:
            path = Path(self._root, name)
            is_inside = not Path(name).is_absolute() and ".." not in path.parts
            return thumbnail(path, SIDE_PX) if is_inside else None
        rows = self._samples()
        if name not in rows:
            return None
        samples, row = rows[name]
        image = samples.read(row)
        image.thumbnail((SIDE_PX, SIDE_PX))
        return image

    def _find_samples(self) -> dict[str, tuple[Samples, int]]:
        """Images that are not files, by name."""
        try:
            train = run_data(self._metadata, "train").train
        except ConfigError:
            return {}
        return {name: (train, row) for row, name in enumerate(train.names.tolist())}
