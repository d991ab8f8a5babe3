"""Data modules of images that a table lists, or that lie in Arrow: data=table and data=hub."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from hymenoptera.data.arrow import ArrowSamples, folder_in_arrow, read_table, required, values_of
from hymenoptera.data.datamodule import ImageDataModule
from hymenoptera.data.folders import SPLIT_NAMES
from hymenoptera.data.samples import FileSamples, Found
from hymenoptera.errors import ConfigError, in_one_line, nearest


class TableDataModule(ImageDataModule):
    """A csv, tsv, parquet or jsonl table with a row for each image.

    Args:
        file: the table.
        root: the folder that the images' paths are relative to; by default the table's.
        image_column: of the paths.
        label_column: of the class names.
        split_column: of the splits, in any usual spelling; a column `split` may be missing. None
            for none.
        options: as of `ImageDataModule`.
    """

    def __init__(
        self,
        *,
        file: str,
        root: str | None = None,
        image_column: str = "image",
        label_column: str = "label",
        split_column: str | None = "split",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._file = Path(file).expanduser()
        self._root = self._file.parent if root is None else Path(root).expanduser()
        self._columns = (image_column, label_column)
        self._split_column = split_column

    def find(self) -> Found:
        """The images that the table lists.

        Raises:
            ConfigError: it cannot be read, or lacks a column, a value, or two classes.
        """
        (image_column, label_column), split_column = self._columns, self._split_column
        table = read_table(self._file, (*self._columns, split_column or ""))
        names = [str(name) for name in values_of(self._file, table, image_column)]
        repeated, times = Counter(names).most_common(1)[0]
        if times > 1:
            raise ConfigError(f"{self._file} lists {repeated} more than once.")
        rows = {"train": list(range(len(names)))}
        if split_column and (split_column != "split" or "split" in table.column_names):
            rows = _split_rows(self._file, values_of(self._file, table, split_column))
        values = values_of(self._file, table, label_column)
        labels = {split: [values[row] for row in at] for split, at in rows.items()}
        classes, numbers = _numbered(self._file, labels)
        parts = {
            split: FileSamples(self._root, [names[row] for row in at], numbers[split])
            for split, at in rows.items()
        }
        return Found(self._root, classes, parts["train"], parts.get("val"), parts.get("test"))


class HubDataModule(ImageDataModule):
    """A data set of Hugging Face's `datasets`, remote or local, or a large folder of class folders.

    A folder of images is turned into Arrow files once. They take as much space as the images, and
    are mapped, not read: a million images are there in seconds.

    Args:
        path: a data set's name on the Hub, a folder that `datasets` wrote or can load, or one of
            images, as `ImageFolderDataModule` takes it.
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
        self._columns = (image_column, label_column)
        self._splits = {"train": train_split, "val": val_split, "test": test_split}
        self._hub_folder = Path(hub_folder).expanduser()
        self._found: Found | None = None

    def prepare_data(self) -> None:
        """Download, or turn into Arrow, once."""
        self._found = self.find()

    def find(self) -> Found:
        """The images of the data set.

        Raises:
            ConfigError: it cannot be had, or lacks a split, a column, a value, or two classes.
        """
        if self._found is not None:
            return self._found
        folder = Path(self._path).expanduser()
        if folder.is_dir() and not _is_data_set(folder):
            return folder_in_arrow(folder.absolute(), self._hub_folder)
        image_column, label_column = self._columns
        loaded = self._load(folder)
        labels = {
            split: values_of(self._path, part.with_format("arrow")[:], label_column)
            for split, part in loaded.items()
        }
        classes, numbers = _numbered(self._path, labels, loaded["train"].features[label_column])
        samples = {
            split: _samples(self._path, split, part, image_column, numbers[split])
            for split, part in loaded.items()
        }
        root = folder if folder.is_dir() else None
        return Found(root, classes, samples["train"], samples.get("val"), samples.get("test"))

    def _load(self, folder: Path) -> dict[str, Any]:
        """The splits, each a `datasets.Dataset`, by "train", "val" and "test"."""
        datasets = required("datasets")
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


def _split_rows(file: Path, words: list[str]) -> dict[str, list[int]]:
    """Which rows are in which split."""
    spellings = {word: split for split, usual in SPLIT_NAMES.items() for word in usual}
    rows: dict[str, list[int]] = {}
    for row, word in enumerate(words):
        if word.lower() not in spellings:
            raise ConfigError(f"{file}: {word} is no split. {nearest(word, spellings)}")
        rows.setdefault(spellings[word.lower()], []).append(row)
    if "train" not in rows:
        raise ConfigError(f"{file} has no row to train on.")
    return rows


def _numbered(
    place: object, labels: dict[str, list[Any]], feature: Any = None
) -> tuple[list[str], dict[str, list[int]]]:
    """The classes, in order, and each label's number among them, by split."""
    if not isinstance(labels["train"][0], str | int):
        raise ConfigError(f"{place}: a label is a text or a whole number.")
    names = getattr(feature, "names", None)  # where the data set has numbered its labels itself
    classes = list(range(len(names))) if names else sorted(set(labels["train"]))
    if len(classes) < 2:
        raise ConfigError(f"{place} has one class only ({classes[0]}): it takes two or more.")
    for split, values in labels.items():
        for label in sorted(set(values) - set(classes)):
            raise ConfigError(f"{place}: no image to train on has the label {label} of {split}.")
    number = {label: position for position, label in enumerate(classes)}
    numbers = {split: [number[label] for label in values] for split, values in labels.items()}
    return names or [str(label) for label in classes], numbers


def _is_data_set(folder: Path) -> bool:
    """Whether a folder holds what `datasets` wrote or can load, and not class folders."""
    names = ("state.json", "dataset_dict.json", "*.parquet", "data/*.parquet", "*.arrow", "*.tar")
    return any(any(folder.glob(name)) for name in names)


def _samples(place: str, split: str, part: Any, column: str, labels: list[int]) -> ArrowSamples:
    """The images of a `datasets.Dataset`, named by their paths where all have different ones."""
    if column not in part.column_names:
        raise ConfigError(f"{place} has no column {column}. {nearest(column, part.column_names)}")
    try:
        images = part.select_columns([column]).rename_columns({column: "image"})
        images = images.cast_column("image", required("datasets").Image(decode=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{place}: the column {column} holds no images.") from error
    load = partial(_mapped, images)
    paths = required("pyarrow.compute").struct_field(load(), "path").to_pylist()
    if None in paths or len(set(paths)) < len(paths):
        paths = [f"{row:07}" for row in range(len(paths))]
    return ArrowSamples(load, [f"{split}/{path}" for path in paths], labels)


def _mapped(images: Any) -> Any:
    return images.with_format("arrow")[:]["image"]
