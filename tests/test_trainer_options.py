"""Every option of the Trainer arrives: each is set on the command line, and its effect is seen."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import LEAN, Ended

Check = Callable[[Path, Ended], None]


def rows_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").open()))


def summary_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


def scalars(run: Path, tag: str) -> list[Any]:
    return EventAccumulator(str(run)).Reload().Scalars(tag)


def steps(run: Path) -> list[int]:
    return [int(row["step"]) for row in rows_of(run)]


def stops_after_five_steps(run: Path, ended: Ended) -> None:
    """Three batches an epoch: the fifth step lies in the second epoch."""
    assert steps(run) == [3, 5]  # the sanity check has no row of its own
    first, second = rows_of(run)
    assert first["train/loss"] != second["train/loss"]
    assert len(scalars(run, "train/loss_step")) == 1
    assert "Epoch 1" in ended.err + ended.out
    assert "Params" in ended.err + ended.out + (run / "train.log").read_text()
    assert "run_training_epoch" in (run / "fit-profile.txt").read_text()
    assert "saved by the plugin" in (run.parent / "plugin.txt").read_text()


def first_steps_only(run: Path, ended: Ended) -> None:
    """There was no validation, and so there is no best checkpoint."""
    assert steps(run) == [2]
    assert summary_of(run)["best"] is None
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert not list(run.glob("events*"))


def ends_without_a_last_epoch(run: Path, ended: Ended) -> None:
    assert steps(run)[-1] < 1000


def one_batch_and_no_files(run: Path, ended: Ended) -> None:
    assert not (run / "checkpoints").exists()
    assert summary_of(run)["status"] == "completed"


def validates_three_times(run: Path, ended: Ended) -> None:
    assert steps(run) == [3, 6]
    accuracies = [event.value for event in scalars(run, "val/accuracy")]
    assert len(accuracies) == 6
    assert summary_of(run)["best"]["accuracy"] == pytest.approx(max(accuracies))
    assert summary_of(run)["best"]["count"] == 8


def two_batches_a_step_in_double(run: Path, ended: Ended) -> None:
    assert steps(run) == [2, 4]  # of three batches
    assert [bool(row["val/loss"]) for row in rows_of(run)] == [False, True]
    assert summary_of(run)["best"]["epoch"] == 2
    assert summary_of(run)["device"]["precision"] == "64-true"
    saved = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["state_dict"]["head.weight"].dtype == torch.float64


def trains_alone(run: Path, ended: Ended) -> None:
    assert steps(run) == [2, 4]
    assert [row.get("val/loss", "") for row in rows_of(run)] == ["", ""]
    best = summary_of(run)["best"]
    assert best is None or best["count"] is None
    assert not list(run.glob("events*"))


def one_batch_again_and_again(run: Path, ended: Ended) -> None:
    losses = [float(row["train/loss"]) for row in rows_of(run)]
    assert steps(run) == list(range(1, 13))
    assert losses[-1] < losses[0] / 2  # the same images, with the same crops
    assert not (run / "checkpoints").exists()
    assert summary_of(run)["best"] is None


def clipped(run: Path, ended: Ended) -> None:
    """A gradient of almost nothing leaves SGD's weights where they were."""
    a, b = (float(row["val/loss"]) for row in rows_of(run))
    assert a == pytest.approx(b, abs=1e-3)
    assert "run_training_epoch" in ended.out + (run / "train.log").read_text()


OPTIONS: tuple[tuple[str, Check], ...] = (
    (
        "+trainer.max_steps=5 trainer.log_every_n_steps=3 trainer.num_sanity_val_steps=1 "
        "trainer.enable_progress_bar=true trainer.enable_model_summary=true "
        "+trainer.deterministic=true +trainer.plugins._target_=plugin_of_mine.LoudCheckpointIO "
        "+trainer.profiler._target_=pytorch_lightning.profilers.SimpleProfiler "
        "+trainer.profiler.dirpath=run +trainer.profiler.filename=profile",
        stops_after_five_steps,
    ),
    ("trainer.max_steps=2 logger=csv", first_steps_only),
    ("trainer.max_epochs=-1 +trainer.max_time=00:00:00:02", ends_without_a_last_epoch),
    ("+trainer.fast_dev_run=true", one_batch_and_no_files),
    (
        "+trainer.val_check_interval=0.34 +trainer.limit_val_batches=2 data.eval_batch_size=4",
        validates_three_times,
    ),
    (
        "+trainer.accumulate_grad_batches=2 +trainer.check_val_every_n_epoch=2 "
        "trainer.precision=64-true",
        two_batches_a_step_in_double,
    ),
    (
        "+trainer.limit_train_batches=2 +trainer.limit_val_batches=0 +trainer.logger=false",
        trains_alone,
    ),
    (
        "+trainer.overfit_batches=1 trainer.max_epochs=12 optimizer.lr=1e-3 "
        "+trainer.enable_checkpointing=false",
        one_batch_again_and_again,
    ),
    (
        "trainer.gradient_clip_val=1e-9 optimizer=sgd transfer=head +trainer.profiler=simple",
        clipped,
    ),
)

PLUGIN = """
from pathlib import Path
from lightning_fabric.plugins import TorchCheckpointIO

class LoudCheckpointIO(TorchCheckpointIO):
    def save_checkpoint(self, checkpoint, path, storage_options=None):
        super().save_checkpoint(checkpoint, path, storage_options)
        (Path(path).parents[2] / "plugin.txt").write_text("saved by the plugin")
"""


@pytest.mark.parametrize(
    ("overrides", "check"), OPTIONS, ids=[check.__name__ for _, check in OPTIONS]
)
def test_options_of_the_trainer_arrive(
    tmp_path: Path,
    run_train: Callable[..., Ended],
    tiny: list[str],
    overrides: str,
    check: Check,
) -> None:
    (tmp_path / "plugin_of_mine.py").write_text(PLUGIN)
    ended = run_train(*tiny, *LEAN, *overrides.split(), "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    check(tmp_path / "run", ended)


def test_detect_anomaly_names_the_operation(
    run_train: Callable[..., Ended], tiny: list[str]
) -> None:
    spoilt = ("optimizer=sgd", "optimizer.lr=1e30", "+trainer.detect_anomaly=true")
    ended = run_train(*tiny, *LEAN, *spoilt)
    assert ended.status == 1
    assert "nan" in ended.err.lower()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trainer.max_epochs=-1", "scheduler=one_cycle"], "no end"),
        (["trainer.val_check_interval=100"], "val_check_interval"),
    ],
)
def test_an_option_that_cannot_be_served_is_an_invalid_config(
    run_train: Callable[..., Ended], tiny: list[str], overrides: list[str], words: str
) -> None:
    ended = run_train(*tiny, *overrides)
    assert ended.status == 2, ended.err
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) <= 3
