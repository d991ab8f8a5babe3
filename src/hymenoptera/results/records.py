"""summary.json and predictions.csv: what a run says of itself, written whole or not at all."""

import csv
import io
import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hymenoptera.atomic import write_file
from hymenoptera.errors import RequestError
from hymenoptera.results.statistics import wilson_interval

SCHEMA_VERSION = 1
PACKAGES = (
    "hymenoptera",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "torchmetrics",
    "tensorboard",
    "pillow",
    "numpy",
)
NUMBER = (int, float)
SHAPE = {  # of what is read again, of a file that anybody may have written
    "status": str,
    "command": str,
    "error": str,
    "overrides": [str],
    "seed": int,
    "epochs": int,
    "versions": dict,
    "model": {"name": str, "weights": str, "input_px": int, "parameter_count": int},
    "data": {"root": str, "classes": [str], "train_count": int, "val_count": int},
    "best": {
        **{"epoch": int, "checkpoint": str, "val_accuracy": NUMBER},
        **{"correct": int, "count": int, "interval": [NUMBER]},
    },
    "durations": {"fit_s": NUMBER, "total_s": NUMBER},
    "images_per_s": NUMBER,
}


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write a run's summary.json.

    Schema, version 1:
        schema_version: 1.
        status: "completed", "interrupted" or "failed"; `error` says why where it failed.
        command, overrides: the command line, and its overrides as Hydra read them.
        seed: the run's.
        git: `commit` and `dirty`, or null outside a repository.
        versions: of Python and of each package that matters.
        device: `accelerator`, `index`, `indices`, `name`, `precision`, `cpu_threads`,
            `num_workers`, `channels_last`, `compile`, as resolved; `processes` on `num_nodes`
            machines, their `strategy` (null for one), `batch_size` of a step of all of them, and
            `lr_scale`, by which the optimizer's rate was multiplied.
        data: `root`, `manifest_hash` of the pictures to train on and to validate,
            `val_manifest_hash`, `classes`, counts by part and class, `ignored_files`,
            `skipped_pictures` with the reason of each; `apart`: `test_fraction`, `folds`, `fold`
            and `seed` of what is kept apart, and `test_manifest_hash`, of the test set that
            test_set.tsv lists, or null; `index`, of a large folder: whether it knows the files'
            `contents`, how many were `read` in so many `seconds`, where it is `kept`, how many
            files were `ignored`, of which `ignored_files` has the first thousand; else null.
        model: `name`, `weights`, `head_is_new`, `input_px` (side of the input in pixels),
            `parameter_count`, `trained`: for each parameter group `name`, `parameter_count`,
            `first_epoch` (from 1) and `lr`, the optimizer's rate times the group's scale.
        feed: `cache` (none, ram, disk) and `augment_on` (cpu, device) as resolved; where pictures
            are kept, `size_px` of the shorter side of training pictures (null where they are not
            augmented), `size_bytes` of all, how many were `decoded` and how many `kept` from an
            earlier run, and whether those for training are `on_device`; null where features are
            trained on.
        features: how many of the frozen part's outputs were `computed`, and how many were `kept`
            from an earlier run; null where pictures were trained on.
        best: `epoch` (from 1), `checkpoint` (relative to the run folder), `val_accuracy` with
            `correct`, `count` and the 95 % Wilson `interval`; null before the first checkpoint.
        epochs: how many were finished; `pruned_after`, where a search stopped the run early.
        durations: wall time in seconds, `fit_s` of the epochs, `total_s` since the command began.
        images_per_s: training images in a second of `fit_s`, which has the validation in it.
    """
    text = json.dumps({"schema_version": SCHEMA_VERSION, **summary}, indent=2, ensure_ascii=False)
    write_file(folder / "summary.json", text + "\n")


def write_failure(folder: Path, error: str, overrides: list[str]) -> None:
    """Record a run that failed before there was anything else to record."""
    summary = {"status": "failed", "error": error, **provenance(overrides), "best": None}
    write_summary(folder, summary)


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Read a run's summary.json; None where there is none.

    Raises:
        RequestError: it is not what a run writes.
    """
    path = folder / "summary.json"
    if not path.is_file():
        return None
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} is damaged: it cannot be read as JSON.") from error
    wrong = _unlike(summary, SHAPE)
    if wrong is None and not summary.get("status"):
        wrong = "status"
    if wrong is not None:
        raise RequestError(f"{path} is damaged: {wrong or 'it'} is not what a run writes there.")
    return summary


def _unlike(value: Any, shape: Any, key: str = "") -> str | None:
    """The first key whose value has not the shape it should have; None where all have.

    What is missing or null passes: a run that failed early knows little.
    """
    if value is None and key:
        return None
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return key
        parts = ((value.get(k), v, f"{key}.{k}".lstrip(".")) for k, v in shape.items())
        return next((w for part in parts if (w := _unlike(*part)) is not None), None)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return key
        return next((key for item in value if not isinstance(item, shape[0])), None)
    return None if isinstance(value, shape) and not isinstance(value, bool) else key


def read_answers(folder: Path) -> dict[str, tuple[str, str]]:
    """Read of a run's predictions.csv: label and predicted class, by path; empty without one."""
    path = folder / "predictions.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["path"]: (row["label"], row["predicted"]) for row in csv.DictReader(file)}


def write_test(folder: Path, result: dict[str, Any]) -> None:
    """Write a run's test.json: its one judgement on the test set that was kept apart."""
    write_file(folder / "test.json", json.dumps(result, indent=2) + "\n")


def read_epochs(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv; none where it is not there."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(cell) for key, cell in row.items()} for row in csv.DictReader(file)]


def read_test(folder: Path) -> dict[str, Any] | None:
    """Read a run's test.json; None where it was not judged."""
    path = folder / "test.json"
    if not path.is_file():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def provenance(overrides: Sequence[str]) -> dict[str, Any]:
    """Command, overrides, git state and versions."""
    return {
        "command": " ".join(["python", *sys.argv]),
        "overrides": list(overrides),
        "git": _git_state(),
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
    }


def judged(labels: Sequence[int], probabilities: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Top-1 accuracy of predictions, with its interval.

    Args:
        labels: the N true labels.
        probabilities: N rows of C.

    Returns:
        `val_accuracy` on the scale 0 to 1, `correct`, `count`, and the 95 % Wilson `interval`.
    """
    correct = sum(
        label == max(range(len(row)), key=row.__getitem__)
        for label, row in zip(labels, probabilities, strict=True)
    )
    return {
        "val_accuracy": correct / len(labels),
        "correct": correct,
        "count": len(labels),
        "interval": list(wilson_interval(correct, len(labels))),
    }


def write_predictions(
    folder: Path,
    paths: Iterable[str],
    labels: Iterable[int],
    probabilities: Iterable[Sequence[float]],
    classes: Sequence[str],
    file: str = "predictions.csv",
) -> None:
    """Write predictions.csv: path, label, predicted, and a probability a class.

    Args:
        folder: the run folder.
        paths: of the N pictures, relative to the data set.
        labels: the N true labels.
        probabilities: N rows of C, written with 8 decimals.
        classes: the C names.
        file: its name.
    """
    rows: list[list[str]] = [["path", "label", "predicted", *classes]]
    for path, label, row in zip(paths, labels, probabilities, strict=True):
        predicted = classes[max(range(len(row)), key=row.__getitem__)]
        rows.append([path, classes[label], predicted, *(f"{p:.8f}" for p in row)])
    write_csv(folder / file, rows)


def write_csv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file, whole or not at all."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_file(path, text.getvalue())


def _git_state() -> dict[str, Any] | None:
    source = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None
