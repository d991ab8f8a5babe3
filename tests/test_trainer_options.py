"""Every option of the Trainer arrives: each is set on the command line, and its effect is seen."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import Ended

Check = Callable[[Path, Ended], None]


def rows_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").open()))


def summary_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


def scalars(run: Path, tag: str) -> list[Any]:
    return EventAccumulator(str(run)).Reload().Scalars(tag)


def steps(run: Path) -> list[int]:
    return [int(row["step"]) for row in rows_of(run)]


def max_steps(run: Path, ended: Ended) -> None:
    """Three batches an epoch: the fifth step lies in the second epoch."""
    assert steps(run) == [3, 5]
    first, second = rows_of(run)
    assert first["train/loss"] != second["train/loss"]


def first_steps_only(run: Path, ended: Ended) -> None:
    """There was no validation, and so there is no best checkpoint."""
    assert steps(run) == [2]
    assert summary_of(run)["best"] is None
    assert (run / "checkpoints" / "last.ckpt").is_file()


def no_time_left(run: Path, ended: Ended) -> None:
    assert len(rows_of(run)) < 100


def endless_until_steps(run: Path, ended: Ended) -> None:
    assert steps(run)[-1] == 7


def one_batch_and_no_files(run: Path, ended: Ended) -> None:
    assert not (run / "checkpoints").exists()
    assert summary_of(run)["status"] == "completed"


def validates_three_times(run: Path, ended: Ended) -> None:
    rows = rows_of(run)
    assert [row["epoch"] for row in rows] == ["1", "1", "1", "2", "2", "2"]
    assert all(row["val/loss"] for row in rows)
    whole = rows[2]
    assert int(whole["step"]) == 3
    best = max(rows, key=lambda row: float(row["val/accuracy"]))
    assert summary_of(run)["best"]["accuracy"] == pytest.approx(float(best["val/accuracy"]))


def validates_every_second_epoch(run: Path, ended: Ended) -> None:
    rows = rows_of(run)
    assert [bool(row["val/loss"]) for row in rows] == [False, True]
    assert summary_of(run)["best"]["epoch"] == 2


def two_training_batches(run: Path, ended: Ended) -> None:
    assert steps(run) == [2, 4]


def few_validation_images(run: Path, ended: Ended) -> None:
    assert summary_of(run)["best"]["count"] == 8


def no_validation(run: Path, ended: Ended) -> None:
    assert [row.get("val/loss", "") for row in rows_of(run)] == ["", ""]
    assert summary_of(run)["best"] is None or summary_of(run)["best"]["count"] is None


def one_batch_again_and_again(run: Path, ended: Ended) -> None:
    losses = [float(row["train/loss"]) for row in rows_of(run)]
    assert steps(run) == list(range(1, 13))
    assert losses[-1] < losses[0] / 2  # the same images, with the same crops


def two_batches_a_step(run: Path, ended: Ended) -> None:
    assert steps(run) == [2, 4]  # of three batches


def clipped(run: Path, ended: Ended) -> None:
    """A gradient of almost nothing leaves SGD's weights where they were."""
    a, b = (float(row["val/loss"]) for row in rows_of(run))
    assert a == pytest.approx(b, abs=1e-3)


def every_third_step(run: Path, ended: Ended) -> None:
    assert len(scalars(run, "train/loss_step")) == 2


def sanity_check(run: Path, ended: Ended) -> None:
    assert len(rows_of(run)) == 2  # no row of its own
    assert summary_of(run)["best"]["count"] == 12


def bar(run: Path, ended: Ended) -> None:
    assert "Epoch 1" in ended.err + ended.out


def model_summary(run: Path, ended: Ended) -> None:
    assert "Params" in ended.err + ended.out + (run / "train.log").read_text()


def is_deterministic(run: Path, ended: Ended) -> None:
    assert summary_of(run)["status"] == "completed"


def detects_anomaly(run: Path, ended: Ended) -> None:
    assert "nan" in ended.err.lower()


def profile(run: Path, ended: Ended) -> None:
    assert "run_training_epoch" in ended.out + (run / "train.log").read_text()


def profile_file(run: Path, ended: Ended) -> None:
    assert "run_training_epoch" in (run / "fit-profile.txt").read_text()


def no_logger(run: Path, ended: Ended) -> None:
    assert not list(run.glob("events*"))
    assert (run / "metrics.csv").is_file()


def no_checkpoints(run: Path, ended: Ended) -> None:
    assert not (run / "checkpoints").exists()
    assert summary_of(run)["best"] is None


def strategy(run: Path, ended: Ended) -> None:
    assert summary_of(run)["status"] == "completed"


def double(run: Path, ended: Ended) -> None:
    assert summary_of(run)["device"]["precision"] == "64-true"
    saved = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["state_dict"]["head.weight"].dtype == torch.float64


def plugin(run: Path, ended: Ended) -> None:
    assert "saved by the plugin" in (run.parent / "plugin.txt").read_text()


OPTIONS: dict[str, tuple[list[str], Check]] = {
    "max_steps": (["+trainer.max_steps=5"], max_steps),
    "max_steps within the first epoch": (["trainer.max_steps=2"], first_steps_only),
    "max_time": (["+trainer.max_time=00:00:00:02", "trainer.max_epochs=100000"], no_time_left),
    "max_epochs=-1": (["trainer.max_epochs=-1", "+trainer.max_steps=7"], endless_until_steps),
    "fast_dev_run": (["+trainer.fast_dev_run=true"], one_batch_and_no_files),
    "val_check_interval": (["+trainer.val_check_interval=0.34"], validates_three_times),
    "check_val_every_n_epoch": (
        ["+trainer.check_val_every_n_epoch=2"],
        validates_every_second_epoch,
    ),
    "limit_train_batches": (["+trainer.limit_train_batches=2"], two_training_batches),
    "limit_val_batches": (
        ["+trainer.limit_val_batches=2", "data.eval_batch_size=4"],
        few_validation_images,
    ),
    "limit_val_batches=0": (["+trainer.limit_val_batches=0"], no_validation),
    "overfit_batches": (
        ["+trainer.overfit_batches=1", "trainer.max_epochs=12", "optimizer.lr=1e-3"],
        one_batch_again_and_again,
    ),
    "accumulate_grad_batches": (["+trainer.accumulate_grad_batches=2"], two_batches_a_step),
    "gradient_clip_val": (
        ["trainer.gradient_clip_val=1e-9", "optimizer=sgd", "transfer=head"],
        clipped,
    ),
    "log_every_n_steps": (["trainer.log_every_n_steps=3"], every_third_step),
    "num_sanity_val_steps": (["trainer.num_sanity_val_steps=1"], sanity_check),
    "enable_progress_bar": (["trainer.enable_progress_bar=true"], bar),
    "enable_model_summary": (["trainer.enable_model_summary=true"], model_summary),
    "deterministic": (["+trainer.deterministic=true"], is_deterministic),
    "profiler": (["+trainer.profiler=simple"], profile),
    "profiler with a file": (
        [
            "+trainer.profiler._target_=pytorch_lightning.profilers.SimpleProfiler",
            "+trainer.profiler.dirpath=run",
            "+trainer.profiler.filename=profile",
        ],
        profile_file,
    ),
    "logger": (["+trainer.logger=false"], no_logger),
    "enable_checkpointing": (["+trainer.enable_checkpointing=false"], no_checkpoints),
    "strategy": (["trainer.strategy=ddp_spawn", "trainer.devices=1"], strategy),
    "precision": (["trainer.precision=64-true"], double),
    "plugins": (["+trainer.plugins._target_=plugin_of_mine.LoudCheckpointIO"], plugin),
}

PLUGIN = """
from pathlib import Path
from lightning_fabric.plugins import TorchCheckpointIO

class LoudCheckpointIO(TorchCheckpointIO):
    def save_checkpoint(self, checkpoint, path, storage_options=None):
        super().save_checkpoint(checkpoint, path, storage_options)
        (Path(path).parents[2] / "plugin.txt").write_text("saved by the plugin")
"""


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_the_trainer_arrives(
    tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str], name: str
) -> None:
    overrides, check = OPTIONS[name]
    (tmp_path / "plugin_of_mine.py").write_text(PLUGIN)
    lean = [f"callbacks.{one}.enabled=false" for one in ("grad_cam", "embeddings", "figures")]
    ended = run_train(*tiny, *lean, "report=false", *overrides, "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    check(tmp_path / "run", ended)


def test_detect_anomaly_names_the_operation(
    tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str]
) -> None:
    ended = run_train(
        *tiny, "optimizer=sgd", "optimizer.lr=1e30", "+trainer.detect_anomaly=true", "report=false"
    )
    assert ended.status == 1
    detects_anomaly(tmp_path, ended)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trainer.max_step=3"], "max_steps"),
        (["+trainer.barebones=true"], "barebones"),
        (["trainer.max_epochs=-1", "scheduler=one_cycle"], "no end"),
        (["trainer.val_check_interval=100"], "val_check_interval"),
    ],
)
def test_an_option_that_cannot_be_served_is_an_invalid_config(
    tmp_path: Path,
    run_train: Callable[..., Ended],
    tiny: list[str],
    overrides: list[str],
    words: str,
) -> None:
    ended = run_train(*tiny, *overrides, "hydra.run.dir=run")
    assert ended.status == 2, ended.err
    assert words in ended.err
    assert len(ended.err.strip().splitlines()) <= 3
