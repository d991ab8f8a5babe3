"""Images that a table lists: data=table."""

from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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
        self._columns, self._split_column = (image_column, label_column), split_column

    def find(self) -> Found:
        """The images that the table lists.

        Raises:
            ConfigError: it cannot be read, or lacks a column, a value, or two classes.
        """
        split_column = self._split_column
        table = read_table(self._file, {*self._columns, split_column or ""})
        names, values = (values_of(self._file, table, column) for column in self._columns)
        repeated, times = Counter(names).most_common(1)[0]
        if times > 1:
            raise ConfigError(f"{self._file} lists {repeated} more than once.")
        rows = {"train": list(range(len(names)))}
        if split_column and (split_column != "split" or "split" in table.column_names):
            rows = _split_rows(self._file, values_of(self._file, table, split_column))
        labels = {split: [values[row] for row in at] for split, at in rows.items()}
        classes, numbers = numbered(self._file, labels)
        parts: dict[str, Any] = {
            split: FileSamples(self._root, [names[row] for row in at], numbers[split])
            for split, at in rows.items()
        }
        return Found(self._root, classes, **parts)


def need_extra() -> None:
    """Raise a ConfigError where `datasets`, which brings pyarrow, is not installed."""
    if find_spec("datasets") is None:
        raise ConfigError(
            "data=table and data=hub need the extra data: pip install 'hymenoptera[data]'."
        )


def read_table(file: Path, text_columns: Iterable[str]) -> Any:
    """A `pyarrow.Table` of a file; of csv, some columns are texts, so that a class 007 stays one.

    Raises:
        ConfigError: it is no table.
    """
    need_extra()
    from pyarrow import csv, json, parquet, string

    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(text_columns, string()),
        null_values=[""],
        strings_can_be_null=True,
    )
    try:
        match file.suffix.lower():
            case ".csv":
                return csv.read_csv(file, convert_options=convert)
            case ".tsv":
                tabs = csv.ParseOptions(delimiter="\t")
                return csv.read_csv(file, parse_options=tabs, convert_options=convert)
            case ".jsonl":
                return json.read_json(file)
            case ".parquet":
                return parquet.read_table(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"data.file={file} cannot be read: {in_one_line(error)}") from error
    raise ConfigError(f"data.file={file}: a table is a .csv, .tsv, .parquet or .jsonl file.")


def values_of(place: object, table: Any, column: str) -> list[Any]:
    """A column of a `pyarrow.Table`.

    Raises:
        ConfigError: there is no such column, or a row has nothing in it.
    """
    if column not in table.column_names:
        raise ConfigError(f"{place} has no column {column}. {nearest(column, table.column_names)}")
    values: list[Any] = table[column].to_pylist()
    if not values:
        raise ConfigError(f"{place} has no rows.")
    if None in values:
        raise ConfigError(f"{place}: row {values.index(None) + 1} has nothing in column {column}.")
    return values


def numbered(
    place: object, labels: dict[str, list[Any]], names: list[str] | None = None
) -> tuple[list[str], dict[str, list[int]]]:
    """The classes, in order, and each label's number among them, by split.

    Args:
        place: where the labels are from.
        labels: texts or numbers, by split.
        names: of the classes, where the labels are their numbers already.

    Raises:
        ConfigError: there are fewer than two classes, or a label that "train" lacks.
    """
    classes = list(range(len(names))) if names else sorted(set(labels["train"]))
    if len(classes) < 2:
        raise ConfigError(f"{place} has one class only ({classes[0]}): it takes two or more.")
    number = {label: position for position, label in enumerate(classes)}
    for split, values in labels.items():
        for label in sorted(set(values) - set(classes)):
            raise ConfigError(f"{place}: no image to train on has the label {label} of {split}.")
    numbers = {split: [number[label] for label in values] for split, values in labels.items()}
    return names or [str(label) for label in classes], numbers


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
