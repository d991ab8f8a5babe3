"""Runs below a folder, and the checkpoint that is meant by a path. Reads files, needs no torch."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from hymenoptera.errors import ConfigError
from hymenoptera.reports import tables
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
    if checkpoint.is_file():
        return checkpoint
    if best:
        raise ConfigError(f"{checkpoint}: the run's best checkpoint is not there any more.")
    if is_run(path):
        raise ConfigError(f"{path}: this run has no best checkpoint; it ended before one was made.")
    raise ConfigError(f"{path} is not a run folder: it has no checkpoints/best.ckpt.")


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
    path = folder / ".hydra" / "overrides.yaml"  # Hydra's own record: a list of one text a line
    if summary.status == UNFINISHED and path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        summary.overrides = [line[2:].strip("'\"") for line in lines if line.startswith("- ")]
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
