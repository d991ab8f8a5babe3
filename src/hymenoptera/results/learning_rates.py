"""A learning rate, read off the losses of a range test."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate at which the loss falls fastest, before it is at its lowest.

    Args:
        rates: N of them, growing by the same factor.
        losses: N, smoothed.
    """
    end = max(2, int(np.argmin(losses)) + 1)
    return float(rates[int(np.argmin(np.gradient(losses)[:end]))])


def valley(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate two thirds down the longest way on which the loss falls.

    The way is the longest falling subsequence of the losses, which may step over small rises.
    Source: the rule that fastai calls valley, described in its documentation.

    Args:
        rates: N of them, growing by the same factor.
        losses: N, smoothed.
    """
    longest = np.ones(len(losses), dtype=int)  # falling subsequence that ends here
    before = np.full(len(losses), -1)
    for end in range(1, len(losses)):
        for start in range(end):
            if losses[start] > losses[end] and longest[start] + 1 > longest[end]:
                longest[end], before[end] = longest[start] + 1, start
    way = [int(np.argmax(longest))]
    while before[way[-1]] >= 0:
        way.append(int(before[way[-1]]))
    way.reverse()
    return float(rates[way[min(len(way) - 1, len(way) * 2 // 3)]])


RULES = {"steepest": steepest, "valley": valley}


def draw_curve(
    rates: Sequence[float], losses: Sequence[float], suggestions: dict[str, float]
) -> "Figure":
    """The losses over the rates, with each rule's suggestion marked.

    Args:
        rates: N of them.
        losses: N, smoothed.
        suggestions: a rate for each rule.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color="0.25")
    for number, (rule, rate) in enumerate(suggestions.items()):
        loss = losses[list(rates).index(rate)]
        axes.plot(rate, loss, "osD^"[number], markersize=9, label=f"{rule}: {rate:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss, smoothed")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure
