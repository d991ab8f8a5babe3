"""Tables for the console."""

from collections.abc import Sequence


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
