"""What a sweep's statistics are worth, by simulation.

    python benchmarks/sweep_statistics.py

Runs of known accuracy are drawn on 153 pictures, most of them easy and a few hard for every run,
and judged by the project's own functions. With `scatter`, a run is as a whole better or worse than
the next run of its setting, as it is from seed to seed; it is given in points of accuracy. Prints
Markdown; takes about two minutes, --sweeps 100 a fifth of it.
"""

import argparse
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hymenoptera.results.statistics import (
    against_best,
    optimism_of_best,
    repeated_interval,
    wilson_interval,
)

Array = NDArray[np.float64]

PICTURES = 153
LEVEL = 0.05
SCATTERS = (0.0, 0.01, 0.016, 0.03)


def draw(
    generator: np.random.Generator,
    sweeps: int,
    settings: int = 8,
    repeats: int = 1,
    scatter: float = 0.0,
    worse: float = 0.0,
) -> tuple[Array, Array]:
    """Draw sweeps of equal settings, or with a last one that is worse.

    Args:
        generator: of the draws.
        sweeps: how many.
        settings: in each.
        repeats: seeds of each setting.
        scatter: standard deviation from seed to seed, in accuracy.
        worse: by how much the last setting is, in accuracy.

    Returns:
        (sweeps, settings, repeats, PICTURES) answers, 1 where right; and how likely each was,
        averaged over the pictures, (sweeps, settings, repeats).
    """
    kind = generator.random((sweeps, PICTURES))
    sometimes = generator.beta(4, 1.2, kind.shape)
    hardly = generator.beta(1, 3, kind.shape)
    chance = np.where(kind < 0.8, 0.995, np.where(kind < 0.95, sometimes, hardly))
    logits = np.log(chance / (1 - chance))[:, None, None]
    slope = float(np.mean(chance * (1 - chance)))  # accuracy gained a logit
    effects = generator.normal(0, scatter / slope, (sweeps, settings, repeats, 1))
    shares = 1 / (1 + np.exp(-logits - effects))
    shares[:, -1] *= 1 - worse / shares.mean()
    answers = (generator.random(shares.shape) < shares).astype(float)
    return answers, shares.mean(axis=-1)


def alarms(answers: Array) -> tuple[float, float]:
    """How many sweeps call any setting worse, and how many the last one; as shares."""
    means = answers.mean(axis=(2, 3))
    found = [against_best(list(a), int(m.argmax())) for a, m in zip(answers, means, strict=True)]
    called = np.array([[p is not None and p <= LEVEL for p in row] for row in found])
    return float(called.any(axis=1).mean()), float(called[:, -1].mean())


def covered(answers: Array, truth: float) -> float:
    """How often the interval of the only setting holds the truth."""
    ends = [repeated_interval(answer[0]) for answer in answers]
    return float(np.mean([low <= truth <= high for low, high in ends]))


def wilson_coverage() -> float:
    """Exact, averaged over accuracies from 60 to 97 %."""
    right = np.arange(PICTURES + 1)
    low, high = np.array([wilson_interval(int(r), PICTURES) for r in right]).T
    ways = np.array([math.comb(PICTURES, r) for r in right], dtype=float)
    shares = np.linspace(0.6, 0.97, 75)[:, None]
    chance = ways * shares**right * (1 - shares) ** (PICTURES - right)
    return float((chance * ((low <= shares) & (shares <= high))).sum(axis=1).mean())


def lines(sweeps: int, seed: int) -> Iterator[str]:
    """The report, as Markdown."""
    generator = np.random.default_rng(seed)
    yield "| interval of 95 % | seeds | scatter | covers |"
    yield "|---|---|---|---|"
    yield f"| of one run (Wilson), its own accuracy | 1 | - | {100 * wilson_coverage():.1f} % |"
    for repeats in (2, 3, 5):
        for scatter in SCATTERS:
            _, shares = draw(generator, 4 * sweeps, 20, 1, scatter)
            answers, _ = draw(generator, 4 * sweeps, 1, repeats, scatter)
            share = covered(answers, float(shares.mean()))
            yield f"| over repeats | {repeats} | {100 * scatter:.1f} | {100 * share:.1f} % |"
    yield ""
    yield f"| equal rows, one called worse ({sweeps} sweeps) | seeds | scatter | false alarms |"
    yield "|---|---|---|---|"
    for settings, repeats in ((2, 1), (2, 3), (8, 1), (8, 2), (8, 3), (8, 5)):
        for scatter in SCATTERS:
            answers, _ = draw(generator, sweeps, settings, repeats, scatter)
            share, _ = alarms(answers)
            yield f"| {settings} rows | {repeats} | {100 * scatter:.1f} | {100 * share:.1f} % |"
    yield ""
    yield f"| one of 8 rows is worse ({sweeps} sweeps) | seeds | scatter | found |"
    yield "|---|---|---|---|"
    for repeats in (1, 3, 5):
        for worse in (0.05, 0.1, 0.2):
            answers, _ = draw(generator, sweeps, 8, repeats, 0.01, worse)
            _, share = alarms(answers)
            yield f"| by {100 * worse:.0f} points | {repeats} | 1.0 | {100 * share:.0f} % |"
    yield ""
    answers, shares = draw(generator, sweeps, 8, 1)
    scores = answers[:, :, 0]
    truth = float((scores.mean(axis=-1).max(axis=1) - shares.mean(axis=(1, 2))).mean())
    told = float(np.mean([optimism_of_best(s, draws=400) for s in scores]))
    yield (
        f"The best of 8 equal runs is {100 * truth:.1f} points above what it is worth, on average; "
        f"the bootstrap says {100 * told:.1f}."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for line in lines(options.sweeps, options.seed):
        print(line, flush=True)
