"""A whole run through the real command line: what it prints, what it leaves, how it goes on."""

import csv
import json
import os
import re
import signal
import time
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.projector import projector_config_pb2

from conftest import Ended, write_pictures
from hymenoptera.data.manifest import manifest_hash, read_manifest
from hymenoptera.models.checkpoint import load_checkpoint

Run = Callable[..., Ended]


def only_run(folder: Path) -> Path:
    """The single run folder below runs/."""
    (run,) = (folder / "runs").iterdir()
    return run


def read(path: Path) -> dict[str, object]:
    return json.loads(path.read_text())


def test_a_run_leaves_a_whole_folder(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    ended = run_train(*tiny, "seed=3")
    assert ended.status == 0, ended.err
    run = only_run(tmp_path)
    assert {p.name for p in run.iterdir() if not p.name.startswith("events")} == {
        *(".hydra", "train.log", "checkpoints", "pictures"),
        *("metrics.csv", "predictions.csv", "summary.json", "hparams.yaml", "report.html"),
        *("embeddings", "projector_config.pbtxt"),
    }
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}

    summary = read(run / "summary.json")
    assert summary["status"] == "completed"
    assert summary["seed"] == 3
    assert summary["overrides"] == [*tiny, "seed=3"]
    assert summary["device"]["precision"] == "32-true" or torch.cuda.is_available()
    assert summary["data"]["classes"] == ["ash", "birch", "cedar"]
    assert (summary["data"]["train_count"], summary["data"]["val_count"]) == (24, 12)
    assert summary["epochs"] == 2
    best = summary["best"]
    assert best["interval"][0] < best["val_accuracy"] < best["interval"][1] or best[
        "val_accuracy"
    ] in (0, 1)

    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    accuracy = [float(row["val/accuracy"]) for row in rows]
    assert best["val_accuracy"] == pytest.approx(max(accuracy))
    assert best["epoch"] == accuracy.index(max(accuracy)) + 1

    predictions = list(csv.DictReader((run / "predictions.csv").open()))
    assert len(predictions) == 12
    assert predictions[0]["path"] == "val/ash/000.png"
    right = sum(row["label"] == row["predicted"] for row in predictions)
    assert right == best["correct"]
    for row in predictions:
        shares = {name: float(row[name]) for name in ("ash", "birch", "cedar")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
        assert max(shares, key=shares.__getitem__) == row["predicted"]


def test_a_fold_validates_and_a_test_set_is_kept_apart(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    ended = run_train(*tiny, "data.folds=3", "data.fold=1", "data.test_fraction=0.25")
    assert ended.status == 0, ended.err
    assert "12 to train on, 6 to validate (fold 1 of 0 to 2), 6 kept apart to test" in ended.out
    run = only_run(tmp_path)
    data = read(run / "summary.json")["data"]
    assert data["apart"] == {"test_fraction": 0.25, "folds": 3, "fold": 1, "seed": 0}
    manifest = read_manifest(run / "test_set.tsv")
    assert len(manifest) == 6
    assert manifest_hash(manifest) == data["test_manifest_hash"]
    predicted = {row["path"] for row in csv.DictReader((run / "predictions.csv").open())}
    assert len(predicted) == 6
    assert all(path.startswith("train/") for path in predicted)
    assert not predicted & set(manifest)


def test_the_console_has_no_unexplained_line(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    ended = run_train(*tiny)
    assert ended.err == ""
    lines = [line for line in ended.out.splitlines() if line]
    starts = (
        "pictures|  |model|  |trained|device|run folder|epoch|    1|    2|best|  |time|checkpoint"
    )
    expected = [*starts.split("|"), "report", "curves"]
    assert len(lines) == len(expected), ended.out
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start), ended.out
    assert "12 to validate, in 3 classes (ash, birch, cedar)" in ended.out
    log = (only_run(tmp_path) / "train.log").read_text()
    assert "ERROR" not in log
    for line in lines:
        assert line.strip() in log


def test_the_same_command_gives_the_same_bytes(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    """Whatever the number of processes that read pictures; another seed gives other numbers."""
    for name, more in (("a", []), ("b", ["data.num_workers=2"]), ("c", ["seed=1"])):
        assert run_train(*tiny, *more, f"hydra.run.dir={name}").status == 0
    for file in ("metrics.csv", "predictions.csv"):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b
        assert a != c


def wait_for(condition: Callable[[], bool], process: Process, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.is_alive(), "the command ended early"
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "more",
    [
        [],
        pytest.param(["model=efficientnet_b0", "scheduler=one_cycle"], marks=pytest.mark.torture),
    ],
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    tmp_path: Path,
    run_train: Run,
    start_train: Callable[..., Process],
    tiny: list[str],
    more: list[str],
) -> None:
    """kill -9 in the middle; with dropout and a schedule too."""
    command = [*tiny, *more, "trainer.max_epochs=5", "data.batch_size=2"]
    assert run_train(*command, "hydra.run.dir=whole").status == 0
    process = start_train(*command, "hydra.run.dir=killed")
    metrics = tmp_path / "killed" / "metrics.csv"
    wait_for(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "killed" / "summary.json").exists()
    ended = run_train("resume=killed")
    assert ended.status == 0, ended.err
    assert "going on after epoch" in ended.out
    assert "Checkpoint directory" not in ended.out
    for file in ("metrics.csv", "predictions.csv"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert not [p for p in (tmp_path / "killed" / "checkpoints").iterdir() if p.suffix != ".ckpt"]


def test_ctrl_c_keeps_the_record_and_names_the_command_to_go_on(
    tmp_path: Path, run_train: Run, start_train: Callable[..., Process], tiny: list[str]
) -> None:
    command = [*tiny, "trainer.max_epochs=200", "hydra.run.dir=run"]
    process = start_train(*command)
    wait_for(lambda: (tmp_path / "run" / "checkpoints" / "last.ckpt").exists(), process)
    os.kill(process.pid, signal.SIGINT)
    process.join(timeout=180)
    assert process.exitcode == 130
    assert "resume=run" in (tmp_path / "out.txt").read_text()
    summary = read(tmp_path / "run" / "summary.json")
    assert summary["status"] == "interrupted"
    assert summary["best"]["count"] == 12


def test_resume_refuses_another_model(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    assert run_train(*tiny, "hydra.run.dir=run").status == 0
    before = (tmp_path / "run" / "summary.json").read_bytes()
    ended = run_train("resume=run", "model=resnet34")
    assert ended.status == 2
    assert "resnet18" in ended.err
    assert "resnet34" in ended.err
    assert (tmp_path / "run" / "summary.json").read_bytes() == before
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
    assert run_train("resume=run", "trainer.max_epochs=3").status == 0
    assert read(tmp_path / "run" / "summary.json")["epochs"] == 3


def test_resume_refuses_moments_of_other_parameters(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    """As an older version numbered them: of one shape, each other's could be taken silently."""
    assert run_train(*tiny, "hydra.run.dir=run").status == 0
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["optimizer_states"][0]["param_groups"][0]["params"].reverse()
    torch.save(checkpoint, last)
    before = (tmp_path / "run" / "summary.json").read_bytes()
    ended = run_train("resume=run", "trainer.max_epochs=3")
    assert ended.status == 2
    assert "an older version wrote it" in ended.err
    assert len(ended.err.splitlines()) <= 3
    assert (tmp_path / "run" / "summary.json").read_bytes() == before
    assert last.exists()


def test_a_sweep_goes_on_after_a_job_that_fails(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    path = tmp_path / "weights.pth"
    path.write_text("not weights")
    ended = run_train("-m", *tiny, "trainer.max_epochs=1", f"model.weights={path},none")
    assert ended.status == 1
    sweep = only_run(tmp_path)
    assert read(sweep / "0" / "summary.json")["status"] == "failed"
    assert read(sweep / "1" / "summary.json")["status"] == "completed"
    assert "1 of 2 jobs failed" in ended.out


def test_tensorboard_has_curves_pictures_and_hparams(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    watching = "callbacks.augmented_pictures.count=15"
    assert (
        run_train(*tiny, "optimizer.lr=2e-4", "optimizer.weight_decay=1e-3", watching).status == 0
    )
    run = only_run(tmp_path)
    events = EventAccumulator(str(run)).Reload()
    tags = events.Tags()
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr/all"} <= set(
        tags["scalars"]
    )
    assert "hp_metric" not in tags["scalars"]
    assert len(events.Scalars("train/loss_step")) == 2 * 3  # every step, though there are few
    assert events.Scalars("lr/all")[0].value == pytest.approx(2e-4)
    best = read(run / "summary.json")["best"]
    assert events.Scalars("best/val_accuracy")[-1].value == pytest.approx(best["val_accuracy"])
    drawn = {"confusion", "reliability", "precision_recall", "worst_mistakes"}
    assert {"pictures/augmented", *(f"best/{name}" for name in drawn)} <= set(tags["images"])
    assert 0 <= events.Scalars("best/expected_calibration_error")[0].value <= 1
    wrong = [
        row["path"]
        for row in csv.DictReader((run / "predictions.csv").open())
        if row["label"] != row["predicted"]
    ]
    for path in wrong:  # the picture as the network sees it, and its heat beside it
        assert Image.open(run / "pictures" / "grad_cam" / f"{path}.jpg").size == (64, 32)
    assert Image.open(run / "pictures" / "augmented.png").size[0] > 4 * 160
    hparams = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"optimizer.lr" in hparams
    assert b"optimizer.weight_decay" in hparams and b"augmented_pictures" not in hparams
    declared = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    assert b"best/val_accuracy" in declared
    assert b"best/val_loss" in declared
    lowest = min(e.value for e in events.Scalars("val/loss"))
    assert events.Scalars("best/val_loss")[-1].value >= lowest

    layout = layout_pb2.Layout()
    layout.ParseFromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = {
        chart.title: {t for t in tags["scalars"] for p in chart.multiline.tag if re.match(p, t)}
        for category in layout.category
        for chart in category.chart
    }
    assert charts == {
        "loss": {"train/loss", "val/loss"},
        "accuracy": {"train/accuracy", "val/accuracy"},
        "learning rate of each part": {"lr/all"},
        "images a second": {"throughput/train_images_per_s"},
    }
    assert all(e.value > 0 for e in events.Scalars("throughput/train_images_per_s"))
    config = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "\n      lr: 0.0002" in config  # four spaces deep: code
    layers = {node.name for node in events.Graph().node}
    assert any(name.startswith("Classifier/ResNet[backbone]") for name in layers)
    for name in ("ash", "birch", "cedar"):
        assert events.summary_metadata[f"best/{name}"].plugin_data.plugin_name == "pr_curves"


def test_the_projector_is_given_what_the_head_is_given(finished_run: Path) -> None:
    config = projector_config_pb2.ProjectorConfig()
    text_format.Parse((finished_run / "projector_config.pbtxt").read_text(), config)
    (entry,) = config.embeddings
    vectors = np.loadtxt(finished_run / entry.tensor_path, delimiter="\t")
    with (finished_run / entry.metadata_path).open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    with (finished_run / "predictions.csv").open(newline="") as file:
        predictions = list(csv.DictReader(file))
    assert [(r["picture"], r["actual"], r["prediction"]) for r in rows] == [
        (p["path"], p["label"], p["predicted"]) for p in predictions
    ]
    assert {r["outcome"] == "right" for r in rows if r["actual"] == r["prediction"]} <= {True}
    head = load_checkpoint(finished_run / "checkpoints" / "best.ckpt").classifier.head
    with torch.no_grad():
        shares = head(torch.tensor(vectors, dtype=torch.float32)).softmax(dim=1)
    expected = [[float(p[name]) for name in ("ash", "birch", "cedar")] for p in predictions]
    assert shares.numpy() == pytest.approx(np.array(expected), abs=1e-4)
    side_px = entry.sprite.single_image_dim[0]
    with Image.open(finished_run / entry.sprite.image_path) as sheet:
        assert sheet.size == (4 * side_px, 4 * side_px)  # 12 pictures


def test_csv_alone_writes_no_events(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    off = [f"callbacks.{name}.enabled=false" for name in ("augmented_pictures", "grad_cam")]
    ended = run_train(*tiny, "logger=csv", *off)
    assert ended.status == 0
    run = only_run(tmp_path)
    assert not list(run.glob("events*"))
    assert not (run / "pictures").exists() and not (run / "embeddings").exists()
    assert (run / "metrics.csv").exists()
    assert "tensorboard" not in ended.out


def test_unreadable_pictures_are_skipped_and_counted(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    trees = {"ash": 4, "birch": 4}
    root = write_pictures(tmp_path / "pictures", {"train": trees, "val": trees})
    (root / "train" / "ash" / "000.png").write_text("not a picture")
    ended = run_train(*tiny, f"data.root={root}", "data.on_error=skip")
    assert ended.status == 0, ended.err
    assert "1 unreadable skipped" in ended.out
    facts = read(only_run(tmp_path) / "summary.json")["data"]
    assert list(facts["skipped_pictures"]) == ["train/ash/000.png"]
    assert facts["train_count_by_class"] == {"ash": 3, "birch": 4}


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.torture)])
def test_a_picture_that_vanishes_fails_the_run_with_its_record(
    tmp_path: Path, start_train: Callable[..., Process], tiny: list[str], workers: int
) -> None:
    trees = {"ash": 4, "birch": 4}
    root = write_pictures(tmp_path / "pictures", {"train": trees, "val": trees})
    process = start_train(
        *tiny,
        f"data.root={root}",
        f"data.num_workers={workers}",
        "trainer.max_epochs=200",
        "hydra.run.dir=run",
    )
    wait_for(lambda: (tmp_path / "run" / "checkpoints" / "last.ckpt").exists(), process)
    for part in ("train", "val"):  # so that the best checkpoint cannot be judged either
        (root / part / "ash" / "000.png").unlink()
    process.join(timeout=180)
    assert process.exitcode == 1
    error = (tmp_path / "err.txt").read_text()
    assert "000.png" in error
    assert len(error.strip().splitlines()) <= 3
    assert read(tmp_path / "run" / "summary.json")["status"] == "failed"
    assert "Traceback" in (tmp_path / "run" / "train.log").read_text()
    assert "Traceback" not in (tmp_path / "out.txt").read_text()


def test_callbacks_of_lightning_are_one_override_away(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    ended = run_train(
        *tiny,
        "trainer.max_epochs=9",
        "callbacks.early_stopping.enabled=true",
        "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.monitor=train/loss",
        "callbacks.early_stopping.mode=max",  # the loss falls: it stops after two epochs or three
        "+callbacks.rates._target_=pytorch_lightning.callbacks.LearningRateMonitor",
    )
    assert ended.status == 0, ended.err
    run = only_run(tmp_path)
    assert read(run / "summary.json")["epochs"] < 9
    events = EventAccumulator(str(run)).Reload()
    assert {"lr-Adam/all", "lr-Adam/all, no decay"} <= set(events.Tags()["scalars"])
