"""summary.json and predictions.csv: the machine-readable result of a run."""

import csv
import io
import json
import platform
import re
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hymenoptera.errors import ConfigError
from hymenoptera.files import write_file
from hymenoptera.reports.statistics import wilson

SCHEMA_VERSION = 2
PACKAGES = (
    *("hymenoptera", "torch", "torchvision", "pytorch-lightning", "hydra-core", "omegaconf"),
    *("torchmetrics", "tensorboard", "pillow", "numpy", "scipy"),
)


@dataclass
class Summary:
    """The result of a run, as summary.json has it; what is not known is None or empty."""

    status: str  # "completed", "interrupted" or "failed"
    error: str | None = None  # why it failed
    command: str = ""  # that started the run, quoted for a shell
    overrides: list[str] = field(default_factory=list)
    seed: int | None = None
    git: dict[str, Any] | None = None  # `commit`, `dirty`; None outside a repository
    versions: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)  # as resolved, see `callbacks.record`
    data: dict[str, Any] = field(default_factory=dict)  # the data module's own summary
    model: dict[str, Any] = field(default_factory=dict)  # see `callbacks.record`
    features: dict[str, Any] | None = None  # of the frozen backbone: how many `computed`, `cached`
    image_cache: dict[str, Any] | None = None  # where decoded images are; None without a cache
    best: dict[str, Any] | None = None  # the best checkpoint, evaluated on all of validation
    test: dict[str, Any] | None = None  # the same on the held-out test set
    calibration: dict[str, Any] | None = None  # of the best checkpoint, `callbacks.calibration`
    epochs: int = 0  # how many were finished
    durations: dict[str, float] = field(default_factory=dict)  # of all resumes: `fit_s`, `total_s`
    images_per_s: float | None = None  # training images in a second of `fit_s`
    pruned_after: int | None = None  # the epoch after which a search stopped the run early
    resumes: list[dict[str, Any]] = field(default_factory=list)  # `command`, `from_epoch`, `status`

    @property
    def accuracy(self) -> float | None:
        """The best checkpoint's, from 0 to 1; None without one."""
        return (self.best or {}).get("accuracy")


def write_summary(folder: Path, summary: Summary) -> None:
    """Write a run's summary.json, whole or not at all."""
    write_json(folder / "summary.json", {"schema_version": SCHEMA_VERSION, **asdict(summary)})


def read_summary(folder: Path) -> Summary | None:
    """Read a run's summary.json; None where there is none.

    Raises:
        ConfigError: it is not what a run of this version writes.
    """
    path = folder / "summary.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (schema := content.pop("schema_version")) == SCHEMA_VERSION:
            return Summary(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path} is damaged: it is not what a run writes there.") from error
    raise ConfigError(f"{path} has schema version {schema}, not {SCHEMA_VERSION}.")


def record_failure(folder: Path, error: str, overrides: Sequence[str]) -> None:
    """Record a run that failed before there was anything else to record."""
    summary = Summary("failed", error=error, **provenance(overrides))
    with suppress(ConfigError):
        if (previous := read_summary(folder)) is not None:
            summary = merge_resumed(previous, summary)
    write_summary(folder, summary)


def merge_resumed(previous: Summary, new: Summary) -> Summary:
    """The record of a run that was resumed, from that before and the resume's own.

    Durations add up. The command and the overrides stay those that started the run; a resume's own
    are in `resumes`. A completed record stays as it is until the longer run has completed, or has
    another best checkpoint; how the resume ended is then in the last entry of `resumes`.
    """
    before, after = previous.durations, new.durations
    durations = {k: before.get(k, 0.0) + after.get(k, 0.0) for k in {**before, **after}}
    entry = {"command": new.command, "overrides": new.overrides, "status": new.status}
    entry |= {"error": new.error} if new.error else {}
    resumes = [*previous.resumes, {**entry, **(new.resumes[-1] if new.resumes else {})}]
    same_best = new.best is None or (previous.best or {}).get("step") == new.best.get("step")
    if previous.status == "completed" and new.status != "completed" and same_best:
        return replace(previous, durations=durations, resumes=resumes)
    images = sum((s.images_per_s or 0.0) * s.durations.get("fit_s", 0.0) for s in (previous, new))
    fit_s = durations.get("fit_s")
    known = ("versions", "device", "data", "model", "best", "test", "calibration", "epochs", "seed")
    # a resume that failed early knows little
    own = {name: getattr(new, name) or getattr(previous, name) for name in known}
    started = {n: getattr(previous, n) or getattr(new, n) for n in ("command", "overrides", "git")}
    speed = images / fit_s if fit_s else None
    return replace(new, **own, **started, durations=durations, resumes=resumes, images_per_s=speed)


def provenance(overrides: Sequence[str]) -> dict[str, Any]:
    """What a run was started with: `command`, `overrides`, `git` and `versions` of `Summary`."""
    return {
        "command": command_line(overrides),
        "overrides": list(overrides),
        "git": _git_state(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
    }


def command_line(overrides: Sequence[str], *, new_folder: bool = False) -> str:
    """The command that trains with these overrides, quoted for a shell.

    It is built from what Hydra composed: a launcher's worker has another command line. With
    `new_folder` it names no run folder, for another run.
    """
    from hydra.core.hydra_config import HydraConfig

    # what steers a sweep means nothing to a single run
    single = [text for text in overrides if not re.match(r"[+~]*sweep\b", text)]
    if not HydraConfig.initialized():
        return shlex.join(["python", "train.py", *single])
    hydra = HydraConfig.get()
    folders = [s.path for s in hydra.runtime.config_sources if s.provider == "command-line"]
    options = [part for folder in folders for part in ("--config-dir", folder)]
    if hydra.job.config_name not in (None, "train"):
        options += ["--config-name", hydra.job.config_name]
    is_resumed = any(text.startswith("resume=") for text in overrides)
    if str(hydra.mode).rpartition(".")[2] == "RUN" and not is_resumed:
        left_out = ("hydra.mode=", "hydra.run.dir=") if new_folder else ("hydra.mode=",)
        single += [text for text in hydra.overrides.hydra if not text.startswith(left_out)]
    return shlex.join(["python", "train.py", *options, *single])


def accuracy_summary(labels: ArrayLike, probabilities: ArrayLike) -> dict[str, Any]:
    """Top-1 `accuracy` from 0 to 1, `correct`, `count`, and the 95 % Wilson `interval`.

    Labels are (N,), N at least 1; of equal probabilities (N, C) the first class is predicted.
    """
    truth = np.asarray(labels)
    correct = int((np.asarray(probabilities).argmax(axis=1) == truth).sum())
    return {
        "accuracy": correct / len(truth),
        "correct": correct,
        "count": len(truth),
        "interval": list(wilson(correct, len(truth))),
    }


def write_predictions(
    path: Path,
    names: Iterable[str],
    labels: Iterable[int],
    probabilities: Iterable[Sequence[float]],
    classes: Sequence[str],
) -> None:
    """Write predictions.csv: path, label, predicted, and the probability of each of C classes.

    Names are relative to the data set; probabilities are N rows of C, written with 8 decimals.
    """
    rows: list[list[str]] = [["path", "label", "predicted", *classes]]
    for name, label, row in zip(names, labels, probabilities, strict=True):
        predicted = classes[int(np.argmax(row))]
        rows.append([name, classes[int(label)], predicted, *(f"{p:.8f}" for p in row)])
    write_csv(path, rows)


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file, whole or not at all."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_file(path, text.getvalue().encode(errors="surrogateescape"))  # a name may be no text


def read_epochs(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv, without their empty cells; none where it is not there."""
    path = folder / "metrics.csv"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(lines)]


def write_json(path: Path, content: dict[str, Any]) -> Any:
    """Write a JSON file, with null for NaN and infinity, and return what it holds."""
    plain = json.loads(json.dumps(content), parse_constant=lambda name: None)
    write_file(path, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
    return plain


def _git_state() -> dict[str, Any] | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None
