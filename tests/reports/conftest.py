"""Runs and sweeps on disk as training leaves them, made of numbers alone."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hymenoptera.reports.jobs import Job, Manifest
from hymenoptera.reports.record import (
    Summary,
    accuracy_summary,
    write_csv,
    write_predictions,
    write_summary,
)

CLASSES = ["ants", "bees"]
COUNT = 40
COUNTS = (("train", 30), ("val", 20))  # of each class


def summary_of(
    labels: Sequence[int], probabilities: np.ndarray, root: Path, overrides: Sequence[str] = ()
) -> Summary:
    """The record of a completed run with these predictions."""
    best = {"epoch": 2, "step": 8, "checkpoint": "checkpoints/best.ckpt", "loss": 0.2}
    data = {"root": str(root), "manifest_hash": "ab" * 32, "classes": CLASSES, "skipped": {}}
    data |= {f"{split}_count_by_class": dict.fromkeys(CLASSES, count) for split, count in COUNTS}
    model = {"backbone": "resnet18", "weights": "imagenet", "head_is_new": True, "input_px": 224}
    head = {"name": "head", "parameter_count": 1026, "first_epoch": 1, "lr": 1e-3}
    device = {"accelerator": "cpu", "name": "CPU", "precision": "32-true", "cpu_threads": 2}
    return Summary(
        "completed",
        command=shlex.join(["python", "train.py", *overrides]),
        overrides=list(overrides),
        seed=1,
        git={"commit": "0123456789abcdef", "dirty": True},
        versions={"python": "3.11", "torch": "2.11"},
        device=device | {"num_workers": 2, "world_size": 1, "num_nodes": 1},
        data=data | {"train_count": 60, "val_count": len(labels), "ignored": {".gif": 1}},
        model=model | {"parameter_count": 11_177_538, "trained": [head]},
        best=best | {"monitor": "val/accuracy", **accuracy_summary(labels, probabilities)},
        epochs=3,
        durations={"fit_s": 20.0, "total_s": 25.0},
        images_per_s=12.0,
    )


def write_epochs(folder: Path, accuracies: Sequence[float]) -> None:
    """metrics.csv of a run with these validation accuracies."""
    head = ["epoch", "step", "train/loss", "train/accuracy", "val/loss", "val/accuracy"]
    rows = [
        [e, 4 * e, round(0.7 / e, 3), round(a - 0.01, 3), round(0.6 / e, 3), a]
        for e, a in enumerate(accuracies, start=1)
    ]
    write_csv(folder / "metrics.csv", [head, *rows])


def predictions_of(correct: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) labels, and (N, 2) probabilities that are correct where it says so."""
    labels = np.arange(len(correct)) % 2
    sure = 0.55 + 0.44 * (np.arange(len(correct)) * 7 % 10) / 10
    own = np.where(correct, sure, 1 - sure)
    probabilities = np.stack([np.where(labels == k, own, 1 - own) for k in (0, 1)], axis=1)
    return labels, probabilities


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """A completed run: its folder, whether each image is correct, overrides, class names."""

    def make(
        name: str = "run",
        correct: Sequence[bool] = (True,) * (COUNT - 4) + (False,) * 4,
        overrides: Sequence[str] = (),
        *,
        images: bool = False,
        names: Sequence[str] | None = None,
        **changes: Any,
    ) -> Path:
        folder, root = tmp_path / name, tmp_path / "data"
        (folder / "checkpoints").mkdir(parents=True)
        labels, probabilities = predictions_of(correct)
        names = names or [f"val/{CLASSES[k]}/{i:03}.jpg" for i, k in enumerate(labels)]
        summary = summary_of(labels, probabilities, root, overrides)
        for key, value in changes.items():
            setattr(summary, key, value)
        write_summary(folder, summary)
        write_predictions(folder / "predictions.csv", names, labels, probabilities, CLASSES)
        write_epochs(folder, [0.8, 0.9, 0.87])
        (folder / "checkpoints" / "best.ckpt").touch()
        for i, image_name in enumerate(names if images else ()):
            path = root / image_name
            path.parent.mkdir(parents=True, exist_ok=True)
            colour = (60 + 4 * i % 180, 120, 200 - 3 * i % 150)
            Image.new("RGB", (48, 32), colour).save(path)
        return folder

    return make


@pytest.fixture
def make_sweep(tmp_path: Path, make_run: Callable[..., Path]) -> Callable[..., Path]:
    """A sweep folder: overrides of each job, and what share of its images is correct.

    A job whose share is None is to do; one whose share is a text failed with it.
    """

    def make(
        jobs: Sequence[tuple[list[str], float | str | None]],
        swept: Sequence[str] = ("optimizer.lr", "seed"),
        count: int = COUNT,
        name: str = "sweep",
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        manifest = Manifest(folder, list(swept), "grid", "python train.py -m sweep.name=sweep")
        for number, (overrides, share) in enumerate(jobs):
            manifest.jobs.append(Job(number, overrides, f"hash{number}"))
            if isinstance(share, float):
                wrong = np.random.default_rng(number).permutation(count)
                correct = wrong >= round((1 - share) * count)
                run = make_run(f"{name}/{number}", list(correct), overrides)
                write_epochs(run, [share - 0.1, share, share - 0.02])
            elif share is not None:
                (folder / str(number)).mkdir()
                write_summary(folder / str(number), Summary("failed", error=share))
        manifest.refresh()
        return folder

    return make
