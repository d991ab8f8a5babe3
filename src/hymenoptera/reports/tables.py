"""Tables, durations, intervals and paths as text for the console."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MAX_CLASSES = 12  # in a confusion matrix on the console


def measures_table(measures: Mapping[str, Any]) -> str:
    """What `metrics.measure` gives, as text; with `recorded`, the accuracy in the run's record."""
    summary = (
        f"accuracy  {format_percent(measures['accuracy'])} ({measures['correct']} of "
        f"{measures['count']}), 95 % Wilson interval {format_interval(measures['interval'])}"
    )
    if (recorded := measures.get("recorded")) is not None:
        same = recorded == measures["accuracy"]
        summary += "\nrecorded  "
        summary += "the same" if same else f"{format_percent(recorded)}: not the same"
    tables, classes = [metric_rows(measures), class_rows(measures)], list(measures["per_class"])
    if len(classes) <= MAX_CLASSES:
        rows = [[name, *map(str, measures["confusion"][i])] for i, name in enumerate(classes)]
        tables.append([["true / predicted", *classes], *rows])
    return "\n\n".join([summary, *map(format_table, tables)])


def metric_rows(measures: Mapping[str, Any]) -> list[list[str]]:
    """Each metric of `metrics.measure`, with its interval; the first row is the head."""
    return [["metric", "value", "95 % interval"]] + [
        [name.replace("_", " "), f"{m['value']:.4f}", "{:.4f} to {:.4f}".format(*m["interval"])]
        for name, m in measures["metrics"].items()
    ]


def class_rows(measures: Mapping[str, Any]) -> list[list[str]]:
    """The metrics of each class, from `metrics.measure`; the first row is the head."""
    rows = [["class", "images", "recall", "95 % interval", "precision", "95 % interval"]]
    for name, found in measures["per_class"].items():
        row = [name, str(found["count"])]
        for one in (found["recall"], found["precision"]):
            row.append(format_percent(one["value"]) if one else "")
            row.append(format_interval(one["interval"]) if one else "")
        rows.append(row)
    return rows


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """A table as text, as wide as it needs to be; its head is the first row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def format_percent(share: float) -> str:
    """A share on the scale 0 to 1: "94.8 %"."""
    return f"{100 * share:.1f} %"


def format_interval(interval: Sequence[float]) -> str:
    """An interval on the scale 0 to 1 in percent: "89.2 to 96.9 %"."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: "48 s", "15 min 50 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_size(size_bytes: float) -> str:
    """A number of bytes: "310 MB", "1.2 GB"."""
    unit, name = (1e9, "GB") if size_bytes >= 1e9 else (1e6, "MB")
    return f"{size_bytes / unit:.{1 if size_bytes < 10 * unit else 0}f} {name}"


def format_count(count: int) -> str:
    """A number of parameters: "11.2 M", "1.0 k"."""
    unit, name = (1e6, "M") if count >= 1e6 else (1e3, "k")
    return f"{count / unit:.1f} {name}"


def format_names(names: Sequence[str], most: int | None = None) -> str:
    """Names of classes in a row, the first `most` of them; quoted where one has a comma."""
    shown = ", ".join(f'"{name}"' if "," in name else name for name in names[:most])
    return shown if most is None or len(names) <= most else f"{shown}, ..."


def format_path(path: Path | str) -> Path:
    """A path as the user can name it from where the command was given."""
    here, whole = Path.cwd(), Path(path).expanduser().absolute()
    if "hydra.core.hydra_config" in sys.modules:  # with hydra.job.chdir the process moves
        from hydra.core.hydra_config import HydraConfig

        here = Path(HydraConfig.get().runtime.cwd) if HydraConfig.initialized() else here
    return whole.relative_to(here) if whole.is_relative_to(here) else whole
