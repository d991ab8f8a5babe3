"""Runs below a folder, the checkpoint that is meant by a path, and two runs compared."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hymenoptera.errors import ConfigError
from hymenoptera.reports import tables
from hymenoptera.reports.metrics import read_predictions
from hymenoptera.reports.pages import render
from hymenoptera.reports.record import Summary, read_summary

UNFINISHED = "unfinished"  # status of a run that was killed or still runs: it has no summary yet
SortKey = Literal["folder", "accuracy", "time", "experiment", "status"]
MAX_OVERRIDES = 60  # characters of them in the table


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that a path means: itself, or the best one that a run folder records.

    Raises:
        ConfigError: there is none.
    """
    path = path.expanduser()
    if path.is_file():
        return path
    if not path.exists():
        raise ConfigError(
            f"{path}: there is no such run folder or checkpoint. "
            f"`hymenoptera runs` lists the runs below runs/."
        )
    summary = read_summary(path)
    best = (summary.best if summary else None) or {}
    checkpoint = path / str(best.get("checkpoint", "checkpoints/best.ckpt"))
    if not checkpoint.is_file():
        raise ConfigError(f"{path} is no run with a best checkpoint: there is no {checkpoint}.")
    return checkpoint


def run_of(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint lies in, if any."""
    folder = checkpoint.resolve().parent.parent
    return folder if checkpoint.resolve().parent.name == "checkpoints" and is_run(folder) else None


def is_run(folder: Path) -> bool:
    """Whether a run left the folder."""
    return (folder / "summary.json").is_file() or (folder / ".hydra" / "config.yaml").is_file()


def find_runs(root: Path) -> list[dict[str, Any]]:
    """The result of each run below a folder, as `hymenoptera runs --json` prints it.

    Raises:
        ConfigError: there is no such folder.
    """
    if not root.is_dir():
        raise ConfigError(f"{root}: there is no such folder of runs. `--help` has examples.")
    return [_row(folder) for folder in _folders(root)]


def sort_runs(rows: list[dict[str, Any]], key: SortKey) -> list[dict[str, Any]]:
    """Rows by a column: the highest accuracy and the longest time first, names from a to z."""
    numbers = {"accuracy": "accuracy", "time": "total_s"}
    if key in numbers:
        return sorted(rows, key=lambda row: -(row[numbers[key]] or 0))
    return sorted(rows, key=lambda row: str(row[key] or ""))


def runs_table(rows: list[dict[str, Any]]) -> str:
    """A row a run, as text."""
    head = ["status", "experiment", "accuracy", "95 % interval", "epoch", "time"]
    table = [[*head, "overrides", "folder"]]
    for row in rows:
        others = " ".join(o for o in row["overrides"] if "experiment=" not in o)
        short = others if len(others) <= MAX_OVERRIDES else others[: MAX_OVERRIDES - 3] + "..."
        result = ["", "", ""]
        if row["accuracy"] is not None and row["interval"]:
            result[0] = tables.format_percent(row["accuracy"])
            result[1] = tables.format_interval(row["interval"])
            result[2] = f"{row['epoch']} of {row['epochs']}"
        time = "" if row["total_s"] is None else tables.format_duration(row["total_s"])
        start = [row["status"], row["experiment"] or "-"]
        table.append([*start, *result, time, short, row["folder"]])
    return tables.format_table(table)


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """Compare two runs on the validation images that both predicted.

    Returns:
        `count` of these images; of the two `runs` the `accuracy` on these and how many are
        `correct_alone`; McNemar's exact `p`, and whether the runs `differ`: p <= 0.05; whether
        they recorded the `same_data` set, file by file, or null.

    Raises:
        ConfigError: a run has no predictions, or they have no image of the same label in common.
    """
    from scipy.stats import binomtest

    folders = (first, second)
    one, other = map(_outcomes, folders)
    common = [image for image in one if image in other]
    if not common:
        raise ConfigError(
            f"{first} and {second} have no validation image of the same label in common. Evaluate "
            f"both on one folder: hymenoptera evaluate RUN --data FOLDER."
        )
    correct = [np.array([outcomes[image] for image in common]) for outcomes in (one, other)]
    alone = [int((a > b).sum()) for a, b in (correct, correct[::-1])]
    p = float(binomtest(alone[0], sum(alone)).pvalue) if any(alone) else 1.0
    summaries = [read_summary(folder) for folder in folders]
    hashes = [summary.data.get("manifest_hash") if summary else None for summary in summaries]
    return {
        "count": len(common),
        "runs": [
            {
                "folder": str(folder),
                "accuracy": float(own.mean()),
                "correct_alone": count,
            }
            for folder, own, count in zip(folders, correct, alone, strict=True)
        ],
        "p": p,
        "differ": p <= 0.05,
        "same_data": None if None in hashes else hashes[0] == hashes[1],
    }


def comparison_text(comparison: dict[str, Any]) -> str:
    """What `compare_runs` found, as three lines; a fourth where it may mean nothing."""
    return render("compare.txt", **comparison)


def _outcomes(folder: Path) -> dict[tuple[str, str], float]:
    found = read_predictions(folder)
    if found is None:
        raise ConfigError(f"{folder} is no finished run: it has no predictions.csv.")
    return found.outcomes


def _folders(root: Path) -> Iterator[Path]:
    for place, folders, _ in os.walk(root):
        if is_run(Path(place)):
            folders.clear()  # a run holds no runs
            yield Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))


def _row(folder: Path) -> dict[str, Any]:
    try:
        summary = read_summary(folder) or Summary(UNFINISHED)
    except ConfigError as error:
        summary = Summary(UNFINISHED, error=str(error))
    best = summary.best or {}
    named = [o.partition("=")[2] for o in summary.overrides if o.lstrip("+")[:11] == "experiment="]
    return {
        "folder": str(folder),
        **{k: getattr(summary, k) for k in ("status", "overrides", "seed", "epochs", "error")},
        **{k: best.get(k) for k in ("accuracy", "correct", "count", "interval", "epoch")},
        "experiment": named[-1] if named else None,
        "backbone": summary.model.get("backbone"),
        "total_s": summary.durations.get("total_s"),
    }
