"""Tables for the console."""

import io
from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

WIDEST = 1000  # characters of a line: a pipe has no width
WIDEST_MINIMUM = 12  # characters of a column that may be broken
MOST_CLASSES = 12  # in a confusion matrix on the console


def measures_table(found: dict[str, Any]) -> str:
    """What `metrics.measure` gives, as text: accuracy, metrics, each class, the confusion."""
    classes = list(found["per_class"])
    recorded = ""
    if found.get("recorded") is not None:
        same = found["recorded"] == found["val_accuracy"]
        figure = "the same" if same else f"{100 * found['recorded']:.1f} %: not the same"
        recorded = f"\nrecorded  {figure}"
    parts = [
        f"accuracy  {100 * found['val_accuracy']:.1f} % ({found['correct']} of {found['count']}), "
        f"95 % Wilson interval {format_interval(found['interval'])}{recorded}",
        format_table(metric_rows(found)),
        format_table(class_rows(found)),
    ]
    if len(classes) <= MOST_CLASSES:
        rows = [["true / predicted", *classes]]
        rows += [
            [name, *map(str, counts)]
            for name, counts in zip(classes, found["confusion"], strict=True)
        ]
        parts.append(format_table(rows))
    return "\n\n".join(parts)


def metric_rows(found: dict[str, Any]) -> list[list[str]]:
    """Each metric of `metrics.measure`, with its interval; the first row is the head."""
    return [["metric", "value", "95 % interval"]] + [
        [name.replace("_", " "), f"{m['value']:.4f}", "{:.4f} to {:.4f}".format(*m["interval"])]
        for name, m in found["metrics"].items()
    ]


def class_rows(found: dict[str, Any]) -> list[list[str]]:
    """The figures of each class, from `metrics.measure`; the first row is the head."""
    rows = [["class", "pictures", "recall", "95 % interval", "precision", "95 % interval"]]
    for name, figures in found["per_class"].items():
        row = [name, str(figures["count"])]
        for share in (figures["recall"], figures["precision_score"]):
            row += (
                [f"{100 * share['value']:.1f} %", format_interval(share["interval"])]
                if share
                else ["", ""]
            )
        rows.append(row)
    return rows


def make_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    styles: Iterable[str] = (),
) -> "Table":
    """A table as rich prints it.

    Args:
        head: the columns' names.
        rows: of the texts below them.
        right: names of the columns that are aligned to the right, and never broken.
        styles: of the rows, one each; none for all plain.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in head:
        if name in right:
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold", min_width=min(len(name), WIDEST_MINIMUM))
    for row, style in zip_longest(rows, styles, fillvalue=""):
        table.add_row(*map(Text, row), style=style)
    return table


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """A table as text, as wide as it needs to be; its head is the first row."""
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=WIDEST, color_system=None).print(make_table(rows[0], rows[1:]))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).strip("\n")


def format_duration(seconds: float) -> str:
    """Seconds as a person says them: "48 s", "15 min 50 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_path(path: Path) -> Path:
    """A path as it is named from here, where it lies below here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def format_interval(interval: Sequence[float]) -> str:
    """An interval on the scale 0 to 1 in percent: "89.2 to 96.9 %"."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"
