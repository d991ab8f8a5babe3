"""Images in Arrow files: what `datasets` and pyarrow, the extra `data`, are needed for."""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hymenoptera.data.folders import find_folder
from hymenoptera.data.manifest import in_threads
from hymenoptera.data.samples import Found, Samples
from hymenoptera.errors import ConfigError, in_one_line, nearest
from hymenoptera.files import lock, new_file

BATCH_ROWS, BATCH_BYTES = 10_000, 1 << 26  # of an Arrow file: a batch ends where it reaches one


class ArrowSamples(Samples):
    """Images whose encoded bytes are mapped from Arrow files.

    Args:
        load: gives them, as a `pyarrow.ChunkedArray` of {"bytes", "path"}; other processes get it
            in place of the images.
        names: (N,) of the images.
        labels: (N,) int.
        rows: (N,) where each image is among them; by default in their order.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        names: Iterable[str] | NDArray[Any],
        labels: ArrayLike,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(names, labels)
        self._load, self._images = load, load()
        self._rows = np.arange(len(self)) if rows is None else rows

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrowSamples, (self._load, self.names, self.labels, self._rows)

    def source(self, index: int) -> Path | bytes:
        """The encoded bytes of an image, or the file where Arrow holds its path alone."""
        image = self._images[int(self._rows[index])].as_py()
        content: bytes | None = image["bytes"]
        return Path(image["path"]) if content is None else content

    def select(self, indices: ArrayLike) -> "ArrowSamples":
        """Some of the images, in the order of the indices (M,)."""
        at = np.asarray(indices, np.int64)
        return ArrowSamples(self._load, self.names[at], self.labels[at], self._rows[at])

    def sizes(self) -> NDArray[np.int64]:
        """(N,) of the images, encoded, in bytes."""
        compute = required("pyarrow.compute")
        lengths = compute.binary_length(compute.struct_field(self._images, "bytes")).fill_null(0)
        return np.asarray(lengths.to_numpy(), np.int64)[self._rows]


def required(name: str) -> Any:
    """A module of the extra.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            "data=table and data=hub need the extra data: pip install 'hymenoptera[data]'."
        ) from error


def read_table(file: Path, text_columns: tuple[str, ...]) -> Any:
    """A `pyarrow.Table` of a file; of csv, some columns are texts, so that a class 007 stays one.

    Raises:
        ConfigError: it is no table.
    """
    pyarrow = required("pyarrow")
    suffix = file.suffix.lower()
    if not file.is_file():
        raise ConfigError(f"data.file={file}: there is no such file.")
    try:
        if suffix in (".csv", ".tsv"):
            csv = required("pyarrow.csv")
            parse = csv.ParseOptions(delimiter="," if suffix == ".csv" else "\t")
            convert = csv.ConvertOptions(
                column_types=dict.fromkeys(text_columns, pyarrow.string()),
                null_values=[""],
                strings_can_be_null=True,
            )
            return csv.read_csv(file, parse_options=parse, convert_options=convert)
        if suffix in (".jsonl", ".ndjson", ".json"):
            return required("pyarrow.json").read_json(file)
        if suffix == ".parquet":
            return required("pyarrow.parquet").read_table(file)
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


def folder_in_arrow(root: Path, folder: Path) -> Found:
    """The images below a root, from Arrow files in a folder, which are made where there are none.

    They are made again when an image is added, removed or renamed, but not when one is rewritten
    in its place.

    Raises:
        ConfigError: there are no images, or the files cannot be written.
    """
    found = find_folder(root)
    parts = {"train": found.train, "val": found.val, "test": found.test}
    try:
        kept: Any = {s: part and _in_arrow(root, s, part, folder) for s, part in parts.items()}
    except OSError as error:
        raise ConfigError(
            f"data.hub_folder={folder}: the images of {root} cannot be kept there "
            f"({error.strerror or error})."
        ) from error
    return replace(found, **kept)


def _in_arrow(root: Path, split: str, samples: Samples, folder: Path) -> ArrowSamples:
    digest = hashlib.sha256()
    for start in range(0, len(samples), BATCH_ROWS):
        digest.update("\0".join(samples.names[start : start + BATCH_ROWS].tolist()).encode())
    place = f"{hashlib.sha256(str(root).encode()).hexdigest()[:16]}-{split}"
    path = folder / f"{place}-{digest.hexdigest()[:16]}.arrow"
    with lock(path):
        if not path.is_file():
            _write(path, samples)
    for old in folder.glob(f"{place}-*.arrow"):
        if old != path:
            old.unlink(missing_ok=True)
    return ArrowSamples(partial(_mapped, path), samples.names, samples.labels)


def _mapped(path: Path) -> Any:
    pyarrow = required("pyarrow")
    return pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()["image"]


def _write(path: Path, samples: Samples) -> None:
    """Write an Arrow file, in batches of a size that Arrow can address."""
    pyarrow = required("pyarrow")
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema([("image", kind)])
    batch: list[dict[str, Any]] = []
    size_bytes = 0

    def read(index: int) -> bytes:
        file = samples.path(index)
        # what cannot be read is an unreadable image, as in the folder
        return file.read_bytes() if file is not None and os.access(file, os.R_OK) else b""

    with new_file(path) as file, pyarrow.ipc.new_stream(file, schema) as stream:
        contents = in_threads(read, range(len(samples)), "turning into Arrow")
        for index, content in enumerate(contents, start=1):
            batch.append({"bytes": content, "path": samples.name(index - 1)})
            size_bytes += len(content)
            if len(batch) == BATCH_ROWS or size_bytes >= BATCH_BYTES or index == len(samples):
                stream.write_batch(pyarrow.record_batch([pyarrow.array(batch, kind)], schema))
                batch, size_bytes = [], 0
