"""Runs below a folder, and the checkpoint that is meant by a path. Reads files, needs no torch."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from hymenoptera.errors import RequestError
from hymenoptera.results.records import read_summary
from hymenoptera.results.tables import format_duration, format_interval, format_table

UNFINISHED = "unfinished"  # killed, or still running: there is no summary yet
STATUSES = ("completed", "interrupted", "failed", UNFINISHED)
SortKey = Literal["folder", "accuracy", "time", "experiment", "status"]


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that a path means: itself, or the best one of a run folder.

    Raises:
        RequestError: there is none.
    """
    path = path.expanduser()
    if path.is_file():
        return path
    if not path.exists():
        raise RequestError(
            f"{path}: there is no such run folder or checkpoint. "
            f"`hymenoptera runs` lists the runs below runs/."
        )
    best = path / "checkpoints" / "best.ckpt"
    if best.is_file():
        return best
    if is_run(path):
        raise RequestError(f"{path}: this run ended before its first epoch did: no checkpoint.")
    raise RequestError(f"{path} is not a run folder: it has no checkpoints/best.ckpt.")


def run_of(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint lies in, if any."""
    folder = checkpoint.resolve().parent.parent
    return folder if checkpoint.resolve().parent.name == "checkpoints" and is_run(folder) else None


def is_run(folder: Path) -> bool:
    """Whether a run left the folder."""
    return (folder / "summary.json").is_file() or (folder / ".hydra" / "config.yaml").is_file()


def find_runs(root: Path) -> list[dict[str, Any]]:
    """What each run below a folder came to, in the order of their folders' names.

    Returns:
        For each its `folder`, `status` (of STATUSES), `experiment`, `overrides`, and, where they
        are known, `model`, `seed`, `accuracy`, `correct`, `count`, `interval`, `epoch`, `epochs`,
        `total_s` and `error`.

    Raises:
        RequestError: there is no such folder.
    """
    if not root.is_dir():
        raise RequestError(f"{root}: there is no such folder of runs. `--help` has examples.")
    return [_row(folder) for folder in _folders(root)]


def sort_runs(rows: list[dict[str, Any]], key: SortKey) -> list[dict[str, Any]]:
    """Rows by a column: the highest accuracy and the longest time first, names from a to z."""
    match key:
        case "accuracy":
            return sorted(rows, key=lambda row: -(row["accuracy"] or 0))
        case "time":
            return sorted(rows, key=lambda row: -(row["total_s"] or 0))
        case _:
            return sorted(rows, key=lambda row: str(row[key] or ""))


def runs_table(rows: list[dict[str, Any]]) -> str:
    """A row a run, as text."""
    table = [
        [
            "status",
            "experiment",
            "accuracy",
            "95 % interval",
            "epoch",
            "time",
            "overrides",
            "folder",
        ]
    ]
    for row in rows:
        judged = None not in (row["accuracy"], row["interval"])
        table.append(
            [
                row["status"],
                row["experiment"] or "-",
                f"{100 * row['accuracy']:.1f} %" if judged else "",
                format_interval(row["interval"]) if judged else "",
                f"{row['epoch']} of {row['epochs']}" if judged else "",
                format_duration(row["total_s"]) if row["total_s"] is not None else "",
                _shortened(" ".join(o for o in row["overrides"] if "experiment=" not in o)),
                row["folder"],
            ]
        )
    return format_table(table)


def _folders(root: Path) -> Iterator[Path]:
    for place, folders, _ in os.walk(root):
        if is_run(Path(place)):
            folders.clear()  # a run holds no runs
            yield Path(place)
        folders.sort()
        folders[:] = [name for name in folders if not name.startswith(".")]


def _row(folder: Path) -> dict[str, Any]:
    known: dict[str, Any] = {"status": UNFINISHED, "overrides": _overrides(folder)}
    try:
        summary = known | (read_summary(folder) or {})
    except RequestError as error:
        summary = known | {"error": str(error)}
    best = summary.get("best") or {}
    overrides = summary["overrides"] or []
    named = [o.partition("=")[2] for o in overrides if o.startswith("experiment=")]
    return {
        "folder": str(folder),
        "status": summary["status"],
        "experiment": named[-1] if named else None,
        "overrides": overrides,
        "model": (summary.get("model") or {}).get("name"),
        "seed": summary.get("seed"),
        "accuracy": best.get("val_accuracy"),
        "correct": best.get("correct"),
        "count": best.get("count"),
        "interval": best.get("interval"),
        "epoch": best.get("epoch"),
        "epochs": summary.get("epochs"),
        "total_s": (summary.get("durations") or {}).get("total_s"),
        "error": summary.get("error"),
    }


def _overrides(folder: Path) -> list[str]:
    """A run's overrides from Hydra's own record: a list of one text a line."""
    path = folder / ".hydra" / "overrides.yaml"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [line.removeprefix("- ").strip("'\"") for line in lines if line.startswith("- ")]


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
