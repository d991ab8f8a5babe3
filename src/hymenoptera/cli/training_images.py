"""The training images that are nearest to an image, to show beside it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from hymenoptera.cli.evaluation import run_data
from hymenoptera.data.samples import Samples
from hymenoptera.errors import ConfigError
from hymenoptera.models import Neighbour
from hymenoptera.reports.images import data_uri, thumbnail

SIDE_PX = 160


@dataclass(frozen=True)
class TrainingImages:
    """The training images of the run that has these metadata."""

    metadata: dict[str, Any]

    def shown(self, near: Iterable[Neighbour]) -> list[tuple[str, str]]:
        """Each as a data URI, empty where it is no longer there, with its class and similarity."""
        return [(data_uri(self._image(n.name)), f"{n.label}, {n.similarity:.2f}") for n in near]

    def _image(self, name: str) -> Image.Image | None:
        if (root := self.metadata.get("data", {}).get("root")) is not None:
            is_inside = not Path(name).is_absolute() and ".." not in Path(name).parts
            return thumbnail(Path(root, name), SIDE_PX) if is_inside else None
        if name not in self._samples:
            return None
        samples, row = self._samples[name]
        image = samples.read(row)
        image.thumbnail((SIDE_PX, SIDE_PX))
        return image

    @cached_property
    def _samples(self) -> dict[str, tuple[Samples, int]]:
        """Images that are not files, by name."""
        try:
            train = run_data(self.metadata, "train").train
        except ConfigError:
            return {}
        return {name: (train, row) for row, name in enumerate(train.names.tolist())}
