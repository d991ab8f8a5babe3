"""A learning rate, read off the smoothed losses of a range test."""

import io
from collections.abc import Sequence
from pathlib import Path

from hymenoptera.files import write_file
from hymenoptera.reports.figures import learning_rate_figure
from hymenoptera.reports.record import command_line, write_csv
from hymenoptera.reports.tables import format_path


def write_search(
    folder: Path,
    learning_rates: Sequence[float],
    losses: Sequence[float],
    overrides: Sequence[str] | None,
) -> list[str]:
    """Write find_lr.csv and find_lr.png, and say which learning rate they suggest.

    The losses are smoothed, one for each of the growing learning rates; overrides are those of the
    search's command line, None without one.

    Returns:
        Lines for the console; with overrides the last is the command that trains with it.
    """
    suggested = valley(learning_rates, losses)
    rows = [[repr(lr), repr(loss)] for lr, loss in zip(learning_rates, losses, strict=True)]
    write_csv(folder / "find_lr.csv", [["lr", "loss"], *rows])
    image = io.BytesIO()
    learning_rate_figure(learning_rates, losses, suggested).savefig(image, format="png", dpi=120)
    write_file(folder / "find_lr.png", image.getvalue())
    lines = {"valley": f"{suggested:.2g}", "curve": str(format_path(folder / "find_lr.png"))}
    if overrides is not None:
        lines["train"] = _command(overrides, suggested)
    return [f"{name:<10} {text}" for name, text in lines.items()]


def valley(learning_rates: Sequence[float], losses: Sequence[float]) -> float:
    """The learning rate two thirds down the longest way on which the loss falls.

    The way is the longest falling subsequence of the losses, which may step over small rises.
    Source: the rule that fastai calls valley, described in its documentation.
    """
    ways: list[list[int]] = []  # the longest that ends at each step
    for end, loss in enumerate(losses):
        above = [way for way in ways if losses[way[-1]] > loss]
        ways.append([*max(above, key=len, default=[]), end])
    longest = max(ways, key=len)
    return float(learning_rates[longest[min(len(longest) - 1, len(longest) * 2 // 3)]])


def _command(overrides: Sequence[str], lr: float) -> str:
    kept = []
    for override in overrides:
        key, _, value = override.partition("=")
        name = key.lstrip("+~")
        if name == "experiment":  # perhaps a list, of which the search is one
            names = [one.strip() for one in value.strip("[]").split(",")]
            names = [one for one in names if one != "find_lr"]
            override = f"{key}={names[0]}" if len(names) == 1 else f"{key}=[{','.join(names)}]"
            if not names:
                continue
        if name != "optimizer.lr" and name.partition(".")[0] != "find_lr":
            kept.append(override)
    return command_line([*kept, f"optimizer.lr={lr:.2g}"], new_folder=True)
