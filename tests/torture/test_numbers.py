"""Numbers that training cannot take: the run ends with the step, the rate and what to do."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from conftest import Ended, write_pictures
from hymenoptera.data.datamodule import ImageFolderDataModule
from hymenoptera.data.folders import Index, Sample
from hymenoptera.errors import RequestError

Run = Callable[..., Ended]


@pytest.mark.parametrize("rate", ["1e30", pytest.param("1e18", marks=pytest.mark.torture)])
def test_a_loss_that_is_no_number(
    tmp_path: Path, run_train: Run, tiny: list[str], rate: str
) -> None:
    ended = run_train(*tiny, f"optimizer.lr={rate}", "optimizer=sgd", "hydra.run.dir=run")
    assert ended.status == 1
    assert "train/loss is nan in step" in ended.err or "train/loss is inf in step" in ended.err
    assert f"at a learning rate of {float(rate):g}" in ended.err
    assert f"optimizer.lr={float(rate) / 10:g}" in ended.err
    assert len(ended.err.strip().splitlines()) <= 3
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert "in epoch 1" in summary["error"]
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()


@pytest.mark.torture
def test_pictures_of_one_colour(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    for part, count in (("train", 6), ("val", 2)):
        for name in ("ash", "birch"):
            folder = tmp_path / "grey" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (40, 40), (127, 127, 127)).save(folder / f"{number}.png")
    ended = run_train(*tiny, "data.root=grey", "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    assert "nan" not in (tmp_path / "run" / "metrics.csv").read_text()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["best"]["count"] == 4


@pytest.mark.torture
def test_one_picture_a_class(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    one = {"ash": 1, "birch": 1, "cedar": 1}
    write_pictures(tmp_path / "trees", {"train": one, "val": one})
    ended = run_train(*tiny, "data.root=trees", "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["best"]["count"] == 3


def test_a_last_batch_of_one_before_batch_norm(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    """At 32 px the last stage has one value a channel: it cannot be normalised over a picture."""
    write_pictures(tmp_path / "trees", {"train": {"ash": 4, "birch": 5}, "val": {"ash": 1}})
    ended = run_train(*tiny, "data.root=trees", "data.batch_size=4", "hydra.run.dir=run")
    assert ended.status == 1
    assert "Batch norm cannot train on the last batch, which is a single picture" in ended.err
    assert "Try data.batch_size=5" in ended.err
    assert len(ended.err.strip().splitlines()) <= 3
    assert run_train(*tiny, "data.root=trees", "data.batch_size=5").status == 0


def test_labels_that_the_loss_cannot_take(tmp_path: Path, pictures: Path) -> None:
    class Strange(ImageFolderDataModule):
        def find(self) -> Index:
            index = super().find()
            index.train[0] = Sample(index.train[0].path, self.label)
            return index

    for label in (-1, 3, 2**40):
        data = Strange(root=str(pictures))
        data.label = label
        with pytest.raises(RequestError, match=f"has the label {label}, and the 3 classes have"):
            data.setup()
