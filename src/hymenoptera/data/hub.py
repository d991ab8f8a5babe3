"""Images of a data set that Hugging Face's `datasets` loads: data=hub."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hymenoptera.data.datamodule import ImageDataModule
from hymenoptera.data.folders import SPLIT_NAMES
from hymenoptera.data.samples import Found, Samples
from hymenoptera.data.tables import need_extra, numbered, values_of
from hymenoptera.errors import ConfigError, in_one_line, nearest


class HubDataModule(ImageDataModule):
    """A data set of Hugging Face's `datasets`, remote or local; its Arrow files are mapped.

    Args:
        path: a data set's name on the Hub, or a folder that `datasets` wrote or can load.
        name: of the configuration, where the data set has several.
        revision: of its repository.
        image_column: of the images.
        label_column: of the classes.
        train_split: what to train on; by default the split of a usual name, as the two others.
        val_split: what to validate on.
        test_split: the held-out test set.
        hub_folder: where downloads and Arrow files are kept.
        options: as of `ImageDataModule`.
    """

    def __init__(
        self,
        *,
        path: str,
        name: str | None = None,
        revision: str | None = None,
        image_column: str = "image",
        label_column: str = "label",
        train_split: str | None = None,
        val_split: str | None = None,
        test_split: str | None = None,
        hub_folder: str = "data/hub",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._path, self._name, self._revision = path, name, revision
        self._image_column, self._label_column = image_column, label_column
        self._splits = {"train": train_split, "val": val_split, "test": test_split}
        self._hub_folder = Path(hub_folder).expanduser()
        self._found: Found | None = None

    def prepare_data(self) -> None:
        """Download and turn into Arrow, once."""
        self._found = self.find()

    def find(self) -> Found:
        """The images of the data set.

        Raises:
            ConfigError: it cannot be had, or lacks a split, a column, a value, or two classes.
        """
        if self._found is not None:
            return self._found
        need_extra()
        folder = Path(self._path).expanduser()
        loaded = self._load(folder)
        labels = {
            split: values_of(self._path, part.with_format("arrow")[:], self._label_column)
            for split, part in loaded.items()
        }
        names = getattr(loaded["train"].features[self._label_column], "names", None)
        classes, numbers = numbered(self._path, labels, names)
        samples: dict[str, Any] = {
            split: self._samples(split, part, numbers[split]) for split, part in loaded.items()
        }
        return Found(folder if folder.is_dir() else None, classes, **samples)

    def _load(self, folder: Path) -> dict[str, Any]:
        """The splits, each a `datasets.Dataset`, by "train", "val" and "test"."""
        import datasets

        try:
            if any((folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
                loaded = datasets.load_from_disk(str(folder))
            else:
                options = {"revision": self._revision, "cache_dir": str(self._hub_folder)}
                path = str(folder) if folder.is_dir() else self._path
                loaded = datasets.load_dataset(path, self._name, **options)
        except Exception as error:  # clients of the Hub and of storages raise what they like
            raise ConfigError(f"data.path={self._path}: {in_one_line(error)}") from error
        if not isinstance(loaded, dict):
            loaded = {"train": loaded}
        parts = {}
        for split, wanted in self._splits.items():
            usual = SPLIT_NAMES[split] if wanted is None else (wanted,)
            names = [name for name in loaded if name in usual]
            if names:
                parts[split] = loaded[names[0]]
            elif wanted or split == "train":
                close = nearest(wanted or split, loaded)
                raise ConfigError(f"data.{split}_split: {self._path} has no {usual[0]}. {close}")
        return parts

    def _samples(self, split: str, part: Any, labels: list[int]) -> "ArrowSamples":
        """The images of a `datasets.Dataset`, named by their paths where these differ."""
        import datasets
        from pyarrow import compute

        column, valid = self._image_column, part.column_names
        if column not in valid:
            raise ConfigError(f"{self._path} has no column {column}. {nearest(column, valid)}")
        try:
            images = part.select_columns([column]).rename_columns({column: "image"})
            images = images.cast_column("image", datasets.Image(decode=False))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self._path}: the column {column} holds no images.") from error
        paths = compute.struct_field(_mapped(images), "path").to_pylist()
        if None in paths or len(set(paths)) < len(paths):
            paths = [f"{row:07}" for row in range(len(paths))]
        return ArrowSamples(images, [f"{split}/{path}" for path in paths], labels)


class ArrowSamples(Samples):
    """Images whose encoded bytes are mapped from Arrow files.

    Args:
        data_set: a `datasets.Dataset` with a column `image` of {"bytes", "path"}; other processes
            get it in place of the images.
        names: (N,) of the images.
        labels: (N,) int.
    """

    def __init__(self, data_set: Any, names: list[str], labels: ArrayLike) -> None:
        super().__init__(names, labels)
        self._data_set, self._images = data_set, _mapped(data_set)
        self._rows = np.arange(len(self))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_images": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _images=_mapped(state["_data_set"]))

    def source(self, index: int) -> Path | bytes:
        """The encoded bytes of an image, or the file where Arrow holds its path alone."""
        image = self._images[int(self._rows[index])].as_py()
        content: bytes | None = image["bytes"]
        return Path(image["path"]) if content is None else content

    def select(self, indices: ArrayLike) -> "ArrowSamples":
        """Some of the images, in the order of the indices (M,)."""
        chosen = super().select(indices)
        chosen._rows = self._rows[np.asarray(indices, np.int64)]
        return chosen

    def sizes(self) -> NDArray[np.int64]:
        """(N,) of the images, encoded, in bytes."""
        from pyarrow import compute

        lengths = compute.binary_length(compute.struct_field(self._images, "bytes")).fill_null(0)
        return np.asarray(lengths.to_numpy(), np.int64)[self._rows]


def _mapped(data_set: Any) -> Any:
    """A `pyarrow.ChunkedArray` of {"bytes", "path"}."""
    return data_set.with_format("arrow")[:]["image"]
