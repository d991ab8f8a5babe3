"""Tables for the console."""

from collections.abc import Sequence
from typing import Any

MOST_CLASSES = 12  # in a confusion matrix on the console


def measures_table(found: dict[str, Any]) -> str:
    """What `metrics.measure` gives, as text: accuracy, metrics, each class, the confusion."""
    classes = list(found["per_class"])
    metrics = [["metric", "value", "95 % interval"]] + [
        [name.replace("_", " "), f"{m['value']:.4f}", "{:.4f} to {:.4f}".format(*m["interval"])]
        for name, m in found["metrics"].items()
    ]
    per_class = [["class", "pictures", "recall", "95 % interval", "precision", "95 % interval"]]
    for name, figures in found["per_class"].items():
        row = [name, str(figures["count"])]
        for key in ("recall", "precision_score"):
            share = figures[key]
            row += (
                [f"{100 * share['value']:.1f} %", format_interval(share["interval"])]
                if share
                else ["", ""]
            )
        per_class.append(row)
    recorded = ""
    if found.get("recorded") is not None:
        same = found["recorded"] == found["val_accuracy"]
        figure = "the same" if same else f"{100 * found['recorded']:.1f} %: not the same"
        recorded = f"\nrecorded  {figure}"
    parts = [
        f"accuracy  {100 * found['val_accuracy']:.1f} % ({found['correct']} of {found['count']}), "
        f"95 % Wilson interval {format_interval(found['interval'])}{recorded}",
        format_table(metrics),
        format_table(per_class),
    ]
    if len(classes) <= MOST_CLASSES:
        rows = [["true / predicted", *classes]]
        rows += [
            [name, *map(str, counts)]
            for name, counts in zip(classes, found["confusion"], strict=True)
        ]
        parts.append(format_table(rows))
    return "\n\n".join(parts)


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest cell, the first row underlined."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: "48 s", "15 min 50 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_interval(interval: Sequence[float]) -> str:
    """An interval on the scale 0 to 1 in percent: "89.2 to 96.9 %"."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"
