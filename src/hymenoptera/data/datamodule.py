"""Sources of pictures, a LightningDataModule each; they are loaded alike, see `base`."""

from pathlib import Path
from typing import Any

from hymenoptera.data.base import PictureDataModule
from hymenoptera.data.drawn import draw_data_set
from hymenoptera.data.hymenoptera import fetch


class HymenopteraDataModule(PictureDataModule):
    """Ants and bees: the official archive, downloaded or given, checked against its manifest.

    Args:
        source: a URL, a zip file or a folder.
        folder: where an archive is kept unpacked.
        options: as of `PictureDataModule`.
    """

    def __init__(self, *, source: str, folder: str, **options: Any) -> None:
        super().__init__(**options)
        self._source = source
        self._folder = Path(folder).expanduser()

    def locate(self) -> Path:
        """Fetch, unpack and verify, once."""
        return fetch(self._source, self._folder)

    def unreadable(self, paths: list[Path]) -> dict[Path, str]:
        """None: each has just been compared with the manifest, byte for byte."""
        return {}


class ImageFolderDataModule(PictureDataModule):
    """Any folder of class folders.

    Args:
        root: as `folders.index_folder` reads it.
        options: as of `PictureDataModule`.
    """

    def __init__(self, *, root: str, **options: Any) -> None:
        super().__init__(**options)
        self._root = Path(root).expanduser()

    def locate(self) -> Path:
        """The folder itself."""
        return self._root


class DrawnDataModule(PictureDataModule):
    """Ants and bees that the project draws itself: no download.

    Args:
        folder: where the pictures are kept.
        drawing_seed: which pictures are drawn.
        train_per_class: how many to train on.
        val_per_class: how many to validate.
        size_px: side of a picture in pixels.
        options: as of `PictureDataModule`.
    """

    def __init__(
        self,
        *,
        folder: str,
        drawing_seed: int,
        train_per_class: int,
        val_per_class: int,
        size_px: int,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._folder = Path(folder).expanduser()
        self._drawing = {
            "seed": drawing_seed,
            "train_per_class": train_per_class,
            "val_per_class": val_per_class,
            "size_px": size_px,
        }

    def locate(self) -> Path:
        """Draw, once; the folder's name says what is in it."""
        name = "drawn_" + "_".join(str(value) for value in self._drawing.values())
        return draw_data_set(self._folder / name, **self._drawing)
