"""A whole run through the real command line: what it prints and what it leaves behind."""

import csv
import json
import re
from collections.abc import Callable
from multiprocessing import Process
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.projector import projector_config_pb2

from conftest import LEAN, Ended, wait_for, write_images
from hymenoptera.data.manifest import manifest_hash, read_manifest
from hymenoptera.models.checkpoint import load_classifier

Run = Callable[..., Ended]


def only_run(folder: Path) -> Path:
    """The single run folder below runs/."""
    (run,) = (folder / "runs").iterdir()
    return run


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_a_run_leaves_a_whole_folder(finished_run: Path, tiny: list[str]) -> None:
    run = finished_run
    assert {p.name for p in run.iterdir() if not p.name.startswith("events")} == {
        *(".hydra", "train.log", "checkpoints", "images"),
        *("metrics.csv", "predictions.csv", "summary.json", "hparams.yaml", "report.html"),
        *("embeddings", "projector_config.pbtxt"),
    }
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}

    summary = read(run / "summary.json")
    assert summary["status"] == "completed"
    assert summary["seed"] == 0
    assert [o.lstrip("+") for o in summary["overrides"]] == tiny
    assert summary["device"]["precision"] == "32-true" or torch.cuda.is_available()
    assert summary["data"]["classes"] == ["ash", "birch", "cedar"]
    assert (summary["data"]["train_count"], summary["data"]["val_count"]) == (24, 12)
    assert summary["epochs"] == 2
    best = summary["best"]
    assert best["interval"][0] <= best["accuracy"] <= best["interval"][1]
    assert best["checkpoint"] == "checkpoints/best.ckpt"

    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    accuracy = [float(row["val/accuracy"]) for row in rows]
    assert best["accuracy"] == pytest.approx(max(accuracy))
    assert best["epoch"] == accuracy.index(max(accuracy)) + 1
    assert best["loss"] == pytest.approx(float(rows[best["epoch"] - 1]["val/loss"]))

    predictions = list(csv.DictReader((run / "predictions.csv").open()))
    assert len(predictions) == 12
    assert predictions[0]["path"] == "val/ash/000.png"
    assert sum(row["label"] == row["predicted"] for row in predictions) == best["correct"]
    for row in predictions:
        probabilities = {name: float(row[name]) for name in ("ash", "birch", "cedar")}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert max(probabilities, key=probabilities.__getitem__) == row["predicted"]


def test_a_fold_validates_and_the_test_set_is_evaluated_once(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    ended = run_train(*tiny, *LEAN, "data.folds=3", "data.fold=1", "data.test_fraction=0.25")
    assert ended.status == 0, ended.err
    run = only_run(tmp_path)
    summary = read(run / "summary.json")
    data = summary["data"]
    assert (data["train_count"], data["val_count"], data["test_count"]) == (12, 6, 6)
    assert summary["test"]["count"] == 6
    manifest = read_manifest(run / "test_set.tsv")
    assert len(manifest) == 6
    assert manifest_hash(manifest) == data["test_manifest_hash"]
    names = {
        file: {row["path"] for row in csv.DictReader((run / file).open())}
        for file in ("predictions.csv", "test_predictions.csv")
    }
    assert names["test_predictions.csv"] == set(manifest)
    assert len(names["predictions.csv"]) == 6
    assert not names["predictions.csv"] & set(manifest)


def test_a_test_folder_is_the_held_out_test_set(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    trees = {"ash": 6, "birch": 6}
    root = write_images(
        tmp_path / "trees", {"training": trees, "Validation": trees, "Test": {"ash": 2, "birch": 3}}
    )
    ended = run_train(*tiny, *LEAN, f"data.root={root}")
    assert ended.status == 0, ended.err
    assert "5 held out to test" in ended.out
    assert "of the held-out test images" in ended.out
    summary = read(only_run(tmp_path) / "summary.json")
    assert summary["test"]["count"] == 5
    assert summary["best"]["count"] == 12


def test_the_console_has_no_unexplained_line(finished_run: Path) -> None:
    out, err = ((finished_run.parent / f"{name}.txt").read_text() for name in ("out", "err"))
    assert err == ""
    lines = [line for line in out.splitlines() if line]
    starts = (
        "images|  |model|  |trained|device|run folder|epoch|    1|    2|best|  |time|checkpoint"
    )
    expected = [*starts.split("|"), "report", "curves"]
    assert len(lines) == len(expected), out
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start), out
    assert "12 to validate, in 3 classes (ash, birch, cedar)" in out
    log = (finished_run / "train.log").read_text()
    assert "ERROR" not in log
    for line in lines:
        assert line.strip() in log


def test_the_same_command_gives_the_same_bytes(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    """Whatever the number of worker processes; another seed gives other numbers."""
    for name, more in (("a", []), ("b", ["data.num_workers=1"]), ("c", ["seed=1"])):
        assert run_train(*tiny, *LEAN, *more, f"hydra.run.dir={name}").status == 0
    for file in ("metrics.csv", "predictions.csv"):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b
        assert a != c


def test_cached_features_give_what_images_give(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    head = ["experiment=head", "transfer.views=2", f"transfer.cache_folder={tmp_path}/features"]
    runs = {"images": ["transfer.cache=false"], "computed": [], "cached": []}
    for name, more in runs.items():
        ended = run_train(*head, *tiny, *more, *LEAN, f"hydra.run.dir={name}")
        assert ended.status == 0, ended.err
    predictions = [
        np.array(
            [[float(row[c]) for c in ("ash", "birch", "cedar")] for row in csv.DictReader(file)]
        )
        for file in [(tmp_path / name / "predictions.csv").open() for name in runs]
    ]
    assert predictions[0] == pytest.approx(predictions[1], abs=1e-5)
    assert (predictions[1] == predictions[2]).all()
    features = [read(tmp_path / name / "summary.json")["features"] for name in runs]
    assert features[0] is None
    assert features[1].items() >= {"computed": 36 + 48, "cached": 0}.items()
    assert features[2].items() >= {"computed": 0, "cached": 36 + 48}.items()


def test_a_frozen_backbone_stays_as_it_was(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    """Batch-norm statistics too, and under Lightning's own callbacks."""
    more = ["transfer=head", "transfer.cache=false", "transfer.views=null", *LEAN]
    swa = [
        "+callbacks.swa._target_=pytorch_lightning.callbacks.StochasticWeightAveraging",
        "+callbacks.swa.swa_lrs=1e-3",
    ]
    ended = run_train(*tiny, *more, *swa)
    assert ended.status == 2
    assert "StochasticWeightAveraging" in ended.err
    ema = "+callbacks.ema._target_=pytorch_lightning.callbacks.EMAWeightAveraging"
    for name, more_callbacks in (("a", []), ("b", [ema])):
        epochs = ["trainer.max_epochs=1"] if name == "a" else []
        ended = run_train(*tiny, *more, *more_callbacks, *epochs, f"hydra.run.dir={name}")
        assert ended.status == 0, ended.err
    first, last = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in "ab"
    )
    for name, value in first.items():
        if name.startswith("backbone."):  # a moving average of equal weights rounds them
            assert torch.allclose(value, last[name], rtol=1e-5, atol=0), name
    assert not torch.equal(first["head.weight"], last["head.weight"])


def test_tensorboard_has_curves_images_and_hparams(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    """24 images in batches of 10, 10 and 4: each counts once in an epoch's loss."""
    more = ("optimizer.lr=2e-4", "optimizer.weight_decay=1e-3", "data.batch_size=10")
    count = "callbacks.augmented_images.count=15"
    assert run_train(*tiny, *more, count, "report=false").status == 0
    run = only_run(tmp_path)
    events = EventAccumulator(str(run)).Reload()
    tags = events.Tags()
    scalars = set(tags["scalars"])
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy"} <= scalars
    assert "hp_metric" not in scalars
    losses = [event.value for event in events.Scalars("train/loss_step")]  # every step
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    for row, of_epoch in zip(rows, (losses[:3], losses[3:]), strict=True):
        mean = np.average(of_epoch, weights=[10, 10, 4])
        assert float(row["train/loss"]) == pytest.approx(mean, rel=1e-5)
    assert len(events.Scalars("val/accuracy")) == 2  # the evaluation of the best adds none
    (learning_rate, *_) = [tag for tag in scalars if tag.startswith("lr-")]
    assert events.Scalars(learning_rate)[0].value == pytest.approx(2e-4)
    best = read(run / "summary.json")["best"]
    assert events.Scalars("best/val_accuracy")[-1].value == pytest.approx(best["accuracy"])
    drawn = {"confusion", "reliability", "precision_recall", "worst_mistakes"}
    assert {f"best/{name}" for name in drawn} <= set(tags["images"])
    assert any("augmented" in tag for tag in tags["images"])
    assert 0 <= events.Scalars("best/expected_calibration_error")[0].value <= 1
    for row in csv.DictReader((run / "predictions.csv").open()):
        if row["label"] != row["predicted"]:  # the image, its heat map beside it
            path = run / "images" / "grad_cam" / f"{row['path']}.jpg"
            assert Image.open(path).size == (64, 32)
    hparams = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"optimizer.lr" in hparams
    assert b"optimizer.weight_decay" in hparams and b"augmented_images" not in hparams
    declared = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    assert b"best/val_accuracy" in declared and b"best/val_loss" in declared

    layout = layout_pb2.Layout()
    layout.ParseFromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = [
        {t for t in scalars for p in chart.multiline.tag if re.match(p, t)}
        for category in layout.category
        for chart in category.chart
    ]
    assert {"train/loss", "val/loss"} in charts and {"train/accuracy", "val/accuracy"} in charts
    assert all(charts)
    config = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "lr: 0.0002" in config
    for name in ("ash", "birch", "cedar"):
        assert events.summary_metadata[f"best/{name}"].plugin_data.plugin_name == "pr_curves"


def test_the_projector_has_the_features_of_the_head(finished_run: Path) -> None:
    config = projector_config_pb2.ProjectorConfig()
    text_format.Parse((finished_run / "projector_config.pbtxt").read_text(), config)
    (entry,) = config.embeddings
    vectors = np.loadtxt(finished_run / entry.tensor_path, delimiter="\t")
    with (finished_run / entry.metadata_path).open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    with (finished_run / "predictions.csv").open(newline="") as file:
        predictions = list(csv.DictReader(file))
    assert [list(row.values())[:3] for row in rows] == [
        [p["path"], p["label"], p["predicted"]] for p in predictions
    ]
    head = load_classifier(finished_run / "checkpoints" / "best.ckpt").head
    with torch.no_grad():
        found = head(torch.tensor(vectors, dtype=torch.float32)).softmax(dim=1)
    expected = [[float(p[name]) for name in ("ash", "birch", "cedar")] for p in predictions]
    assert found.numpy() == pytest.approx(np.array(expected), abs=1e-4)
    side_px = entry.sprite.single_image_dim[0]
    with Image.open(finished_run / entry.sprite.image_path) as sheet:
        assert sheet.size == (4 * side_px, 4 * side_px)  # 12 images


def test_unreadable_images_are_skipped_and_counted(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    trees = {"ash": 4, "birch": 4}
    root = write_images(tmp_path / "images", {"train": trees, "val": trees})
    (root / "train" / "ash" / "000.png").write_text("not an image")
    ended = run_train(*tiny, *LEAN, f"data.root={root}", "data.on_error=skip")
    assert ended.status == 0, ended.err
    assert "1 unreadable skipped" in ended.out
    data = read(only_run(tmp_path) / "summary.json")["data"]
    assert list(data["skipped"]) == ["train/ash/000.png"]
    assert data["train_count"] == 7


def test_an_image_that_vanishes_fails_the_run_with_its_record(
    tmp_path: Path, start_train: Callable[..., Process], tiny: list[str]
) -> None:
    trees = {"ash": 4, "birch": 4}
    root = write_images(tmp_path / "images", {"train": trees, "val": trees})
    options = (f"data.root={root}", "data.num_workers=1", "trainer.max_epochs=2000")
    process = start_train(*tiny, *LEAN, *options, "hydra.run.dir=run")
    wait_for(lambda: (tmp_path / "run" / "checkpoints" / "last.ckpt").exists(), process)
    for split in ("train", "val"):  # so that the best checkpoint cannot be evaluated either
        (root / split / "ash" / "000.png").unlink()
    process.join(timeout=180)
    assert process.exitcode == 1
    error = (tmp_path / "err.txt").read_text()
    assert "000.png" in error
    assert len(error.strip().splitlines()) <= 3
    assert read(tmp_path / "run" / "summary.json")["status"] == "failed"
    assert "Traceback" in (tmp_path / "run" / "train.log").read_text()
    assert "Traceback" not in (tmp_path / "out.txt").read_text()


@pytest.mark.parametrize(
    ("overrides", "files"),
    [
        (
            ["callbacks.best_checkpoint.monitor=val/loss", "callbacks.best_checkpoint.mode=min"],
            {"best.ckpt"},
        ),
        (
            [
                "+callbacks.best_checkpoint.save_top_k=3",
                "callbacks.best_checkpoint.filename='epoch_{epoch}'",
            ],
            {"epoch_0.ckpt", "epoch_1.ckpt"},
        ),
    ],
)
def test_the_best_checkpoint_is_lightnings_whatever_its_name_and_monitor(
    tmp_path: Path, run_train: Run, tiny: list[str], overrides: list[str], files: set[str]
) -> None:
    """Console, HPARAMS and the record name the same epoch."""
    ended = run_train(*tiny, "report=false", *overrides, "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    run = tmp_path / "run"
    assert {p.name for p in (run / "checkpoints").iterdir()} == files | {"last.ckpt"}
    best = read(run / "summary.json")["best"]
    assert (run / best["checkpoint"]).is_file()
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    row = rows[best["epoch"] - 1]
    assert best["accuracy"] == pytest.approx(float(row["val/accuracy"]))
    assert best["score"] == pytest.approx(float(row[best["monitor"]]))
    assert f"in epoch {best['epoch']}" in ended.out
    marked = [line for line in ended.out.splitlines() if line.endswith("best so far")]
    assert int(marked[-1].split()[0]) == best["epoch"]
    events = EventAccumulator(str(run)).Reload()
    assert events.Scalars("best/val_accuracy")[-1].value == pytest.approx(best["accuracy"])


def test_the_learning_rate_search_suggests_a_rate_that_works(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    search = ["experiment=find_lr", *[o for o in tiny if "max_epochs" not in o]]
    ended = run_train(*search, "find_lr.steps=30", "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    run = tmp_path / "run"
    assert Image.open(run / "find_lr.png").size[0] > 300
    rows = list(csv.DictReader((run / "find_lr.csv").open()))
    assert 10 <= len(rows) <= 30
    assert not (run / "checkpoints").exists()
    (lr,) = re.findall(r"python train\.py .*optimizer\.lr=(\S+)", ended.out)
    assert float(rows[0]["lr"]) < float(lr) < float(rows[-1]["lr"])
