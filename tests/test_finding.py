"""The search for a learning rate, through the real command line."""

import csv
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import Ended

Run = Callable[..., Ended]


@pytest.mark.parametrize("mode", ["head", pytest.param("gradual", marks=pytest.mark.torture)])
def test_a_search_draws_a_curve_and_says_what_to_type(
    tmp_path: Path, run_train: Run, tiny: list[str], mode: str
) -> None:
    """Three steps an epoch are cycled through; every group's rate is scaled; nothing is kept."""
    more = ["transfer.unfreeze_epochs=[2,2]", "transfer.lr_decay=0.5"] if mode == "gradual" else []
    ended = run_train(
        "experiment=find_lr", f"transfer={mode}", *tiny, *more, "hydra.run.dir=run", "seed=1"
    )
    assert ended.status == 0, ended.err
    assert ended.err == ""
    assert {p.name for p in (tmp_path / "run").iterdir() if not p.name.startswith("events")} == {
        *(".hydra", "train.log", "hparams.yaml", "summary.json", "find_lr.csv", "find_lr.png"),
    }
    rows = list(csv.DictReader((tmp_path / "run" / "find_lr.csv").open()))
    rates = [float(row["lr"]) for row in rows]
    assert 20 <= len(rates) <= 100
    assert rates[0] == pytest.approx(1e-6)
    ratios = [b / a for a, b in itertools.pairwise(rates)]
    assert ratios == pytest.approx([1e6 ** (1 / 99)] * len(ratios))
    with Image.open(tmp_path / "run" / "find_lr.png") as picture:
        assert picture.width > 400
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert "find_lr" in events.Tags()["images"]
    if mode == "gradual":
        head, stage = (events.Scalars(f"lr/{name}") for name in ("head", "stage4"))
        assert stage[5].value == pytest.approx(head[5].value / 2)
    command = ended.out.strip().splitlines()[-1].split("python train.py ")[1]
    assert command.startswith(f"transfer={mode} data=imagefolder")
    suggested = float(command.rpartition("optimizer.lr=")[2])
    assert rates[0] < suggested < 1


def test_the_search_goes_on_top_of_an_experiment(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    ended = run_train("experiment=[head,find_lr]", *tiny, "find_lr.steps=30")
    assert ended.status == 0, ended.err
    assert "python train.py experiment=head data=imagefolder" in ended.out


def test_a_range_that_is_none(tmp_path: Path, run_train: Run) -> None:
    ended = run_train("experiment=find_lr", "find_lr.min_lr=1", "find_lr.max_lr=1e-3")
    assert ended.status == 2
    assert "find_lr.min_lr must be below" in ended.err
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []
