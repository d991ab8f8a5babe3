"""Data modules: where images come from, how they are split, checked, loaded and resumed."""

from hymenoptera.data.datamodule import ImageDataModule
from hymenoptera.data.drawn import DrawnDataModule
from hymenoptera.data.hub import HubDataModule
from hymenoptera.data.sources import HymenopteraDataModule, ImageFolderDataModule
from hymenoptera.data.tables import TableDataModule

__all__ = [
    "DrawnDataModule",
    "HubDataModule",
    "HymenopteraDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "TableDataModule",
]
