"""data=table and data=hub: they hold what a folder holds, and say what is wrong with them."""

import csv
import json
import pickle
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hymenoptera.data import HubDataModule, ImageFolderDataModule, TableDataModule, hub, tables
from hymenoptera.data.datamodule import ImageDataModule
from hymenoptera.data.preprocessing import Preprocessing
from hymenoptera.data.samples import hash_of
from hymenoptera.errors import ConfigError

datasets = pytest.importorskip("datasets")
pyarrow_parquet = pytest.importorskip("pyarrow.parquet")

SMALL = Preprocessing(36, 32, (0.5,) * 3, (0.2,) * 3)
OPTIONS = {"preprocessing": SMALL, "num_workers": 0}

Rows = list[dict[str, object]]


@pytest.fixture
def rows(images: Path) -> Rows:
    """What a table says of the images: three classes, train and val."""
    paths = sorted(path.relative_to(images) for path in images.rglob("*.png"))
    return [
        {"image": path.as_posix(), "label": path.parts[1], "split": path.parts[0]} for path in paths
    ]


def write_table(path: Path, rows: Rows) -> Path:
    match path.suffix:
        case ".csv" | ".tsv":
            with path.open("w", newline="") as file:
                delimiter = "," if path.suffix == ".csv" else "\t"
                table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
                table.writeheader()
                table.writerows(rows)
        case ".jsonl":
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        case ".parquet":
            pyarrow_parquet.write_table(datasets.Dataset.from_list(rows).data.table, path)
    return path


def set_up(module: ImageDataModule) -> ImageDataModule:
    module.prepare_data()
    module.setup()
    return module


def same_batches(one: ImageDataModule, other: ImageDataModule) -> bool:
    loaders = [(m.train_dataloader(), m.val_dataloader()) for m in (one, other)]
    return all(
        torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
        for parts in zip(*loaders, strict=True)
        for ours, theirs in zip(*parts, strict=True)
    )


@pytest.fixture
def folder(images: Path) -> ImageDataModule:
    return set_up(ImageFolderDataModule(root=str(images), **OPTIONS))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_table_is_the_folder_that_it_lists(
    images: Path, folder: ImageDataModule, rows: Rows, tmp_path: Path, suffix: str
) -> None:
    file = write_table(tmp_path / f"table{suffix}", rows)
    module = set_up(TableDataModule(file=str(file), root=str(images), **OPTIONS))
    assert module.classes == ["ash", "birch", "cedar"]
    assert module.summary() == folder.summary()
    assert same_batches(module, folder)


def test_columns_of_any_name_and_splits_of_any_spelling(
    images: Path, rows: Rows, tmp_path: Path
) -> None:
    words = {"train": "Training", "val": "DEV"}
    renamed = [
        {"path": row["image"], "kind": row["label"], "part": words[str(row["split"])]}
        for row in rows
    ]
    renamed[0]["part"] = "test"
    file = write_table(tmp_path / "t.csv", renamed)
    columns: dict[str, str | None] = {
        "image_column": "path",
        "label_column": "kind",
        "split_column": "part",
    }
    module = set_up(TableDataModule(file=str(file), root=str(images), **columns, **OPTIONS))
    assert [len(part) for part in (module.train, module.val, module.test)] == [23, 12, 1]
    columns["split_column"] = None
    module = set_up(TableDataModule(file=str(file), root=str(images), **columns, **OPTIONS))
    assert [len(part) for part in (module.train, module.val, module.test)] == [30, 6, 0]


def test_without_a_split_column_a_share_of_each_class_validates(
    images: Path, rows: Rows, tmp_path: Path
) -> None:
    bare = [{"image": row["image"], "label": row["label"]} for row in rows]
    file = write_table(images / "beside.csv", bare)
    try:
        module = set_up(TableDataModule(file=str(file), val_fraction=0.25, **OPTIONS))
    finally:
        file.unlink()
    assert np.bincount(module.val.labels).tolist() == [3, 3, 3]
    assert len(module.train) == 27


def test_labels_that_look_like_numbers_keep_their_zeros(
    images: Path, rows: Rows, tmp_path: Path
) -> None:
    numbers = {"ash": "007", "birch": "07", "cedar": "7"}
    numbered = [{**row, "label": numbers[str(row["label"])]} for row in rows]
    file = write_table(tmp_path / "t.csv", numbered)
    module = set_up(TableDataModule(file=str(file), root=str(images), **OPTIONS))
    assert module.classes == ["007", "07", "7"]
    for row in numbered:
        row["label"] = {"ash": 10, "birch": 9, "cedar": 100}[str(row["image"]).split("/")[1]]
    file = write_table(tmp_path / "t.jsonl", numbered)
    module = set_up(TableDataModule(file=str(file), root=str(images), **OPTIONS))
    assert module.classes == ["9", "10", "100"]


def changed(row: int, **values: object) -> Callable[[Rows], Rows]:
    """All rows, one of them with other values."""
    return lambda rows: [{**r, **values} if n == row else r for n, r in enumerate(rows)]


def each(**values: object) -> Callable[[Rows], Rows]:
    """All rows with other values."""
    return lambda rows: [{**row, **values} for row in rows]


def unlabelled(rows: Rows) -> Rows:
    """The rows without the column label."""
    return [{name: row[name] for name in ("image", "split")} for row in rows]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (unlabelled, "has no column label. Valid: image, split."),
        (changed(2, label=""), "row 3 has nothing in column label"),
        (each(split="trian"), "trian is no split. Did you mean train"),
        (each(split="val"), "has no row to train on"),
        (lambda rows: [*rows, rows[0]], "lists train/ash/000.png more than once"),
        (each(label="ash"), "has one class only (ash)"),
        (changed(35, label="elm"), "no image to train on has the label elm of val"),
        (changed(1, image="x.png"), "1 of the images cannot be read: x.png"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_a_line(
    images: Path, rows: Rows, tmp_path: Path, change: Callable[[Rows], Rows], said: str
) -> None:
    file = write_table(tmp_path / "t.csv", change(rows))
    with pytest.raises(ConfigError) as caught:
        set_up(TableDataModule(file=str(file), root=str(images), **OPTIONS))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_what_is_no_table_is_said_in_a_line(tmp_path: Path) -> None:
    for name, content, said in (
        ("gone.csv", None, "cannot be read"),
        ("notes.txt", "x", "a table is a .csv, .tsv, .parquet or .jsonl file"),
        ("bad.parquet", "x", "cannot be read"),
        ("nothing.csv", "image,label\n", "has no rows"),
    ):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(ConfigError, match=said):
            TableDataModule(file=str(tmp_path / name)).setup()


def encoded(path: Path) -> dict[str, object]:
    return {"bytes": path.read_bytes(), "path": None}


def hub_rows(rows: Rows, images: Path, split: str) -> Rows:
    return [
        {"picture": encoded(images / str(row["image"])), "kind": row["label"]}
        for row in rows
        if row["split"] == split
    ]


@pytest.mark.parametrize("class_labels", [True, False])
def test_a_data_set_that_was_saved_to_disk(
    images: Path, folder: ImageDataModule, rows: Rows, tmp_path: Path, class_labels: bool
) -> None:
    kind = datasets.ClassLabel(names=["ash", "birch", "cedar"])
    label = kind if class_labels else datasets.Value("string")
    features = datasets.Features({"picture": datasets.Image(), "kind": label})
    parts = {
        name: datasets.Dataset.from_list(hub_rows(rows, images, split), features)
        for name, split in (("train", "train"), ("valid", "val"))
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    columns = {"image_column": "picture", "label_column": "kind"}
    module = set_up(HubDataModule(path=str(tmp_path / "saved"), **columns, **OPTIONS))
    assert module.classes == ["ash", "birch", "cedar"]
    assert (module.train.name(0), module.val.name(11)) == ("train/0000000", "val/0000011")
    assert same_batches(module, folder)
    one = HubDataModule(path=str(tmp_path / "saved"), val_split="train", **columns, **OPTIONS)
    assert len(set_up(one).val) == 24


def test_the_library_loads_a_folder_of_images_and_other_processes_get_no_copy(
    images: Path, folder: ImageDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"path": str(images), "hub_folder": str(tmp_path / "hub"), "preprocessing": SMALL}
    module = set_up(HubDataModule(**options, num_workers=2))
    assert (module.classes, len(module.train), len(module.val)) == (folder.classes, 24, 12)
    assert same_batches(module, folder)
    some = pickle.loads(pickle.dumps(module.train)).select([5, 1, 20])
    assert some.read(1).tobytes() == folder.train.read(1).tobytes()
    monkeypatch.setattr("hymenoptera.data.samples.MAX_HASHED", 2)  # very many: names and sizes
    assert {entry.sha256 for entry in folder.train.manifest().values()} == {""}
    files = [folder.train.select(rows) for rows in ([5, 1, 20], [5, 20, 1], [5, 1])]
    assert len({hash_of(part) for part in files}) == 3


def test_parquet_files_are_loaded_by_the_library(
    images: Path, folder: ImageDataModule, rows: Rows, tmp_path: Path
) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.Value("string")})
    for split in ("train", "val"):
        part = datasets.Dataset.from_list(hub_rows(rows, images, split), features)
        part.to_parquet(str(tmp_path / "set" / "data" / f"{split}-0.parquet"))
    module = HubDataModule(
        path=str(tmp_path / "set"),
        image_column="picture",
        label_column="kind",
        hub_folder=str(tmp_path / "hub"),
        **OPTIONS,
    )
    assert same_batches(set_up(module), folder)
    with pytest.raises(ConfigError, match=r"has no column pictures. Did you mean picture"):
        HubDataModule(
            path=str(tmp_path / "set"),
            image_column="pictures",
            label_column="kind",
            hub_folder=str(tmp_path / "hub"),
        ).find()
    with pytest.raises(ConfigError, match=r"data.test_split: .* has no exam. Valid: train, val"):
        HubDataModule(
            path=str(tmp_path / "set"), test_split="exam", hub_folder=str(tmp_path / "hub")
        ).find()


def test_a_split_without_labels_is_refused(images: Path, rows: Rows, tmp_path: Path) -> None:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["ash", "birch"])}
    )
    image = encoded(images / str(rows[0]["image"]))
    part = datasets.Dataset.from_list([{"image": image, "label": n} for n in (0, -1)], features)
    part.save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ConfigError, match="no image to train on has the label -1"):
        HubDataModule(path=str(tmp_path / "saved")).find()


def test_a_data_set_that_is_nowhere_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*args: object, **options: object) -> None:
        raise ConnectionError("Couldn't reach 'user/name' on the Hub (offline)\nand more")

    monkeypatch.setattr(datasets, "load_dataset", nowhere)
    with pytest.raises(ConfigError) as caught:
        HubDataModule(path="user/name", hub_folder=str(tmp_path)).find()
    assert str(caught.value).startswith("data.path=user/name: ConnectionError: Couldn't reach")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [TableDataModule, HubDataModule])
def test_without_the_extra_one_line_names_it(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "find_spec", lambda _: None)
    place = {"file": str(tmp_path / "t.csv")} if kind is TableDataModule else {"path": "user/name"}
    with pytest.raises(ConfigError, match=r"need the extra data: pip install"):
        kind(**place).find()


def test_the_modules_are_there_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    for module in (hub, tables):
        runpy.run_path(str(module.__file__))
