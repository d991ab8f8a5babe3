"""What a sweep's statistics are worth, by simulation.

    python benchmarks/sweep_statistics.py

Runs of known accuracy are drawn on 153 images, most of them easy and a few hard for every run,
and evaluated by the project's own functions. With `scatter`, a run is as a whole better or worse
than the next run of its configuration, as seeds differ; it is given in points of accuracy.
Prints Markdown; takes two to three minutes of one core, --sweeps 100 a fifth of it.
"""

import argparse
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hymenoptera.reports.statistics import (
    compare_with_best,
    repeated_interval,
    selection_bias,
    wilson,
)

Array = NDArray[np.float64]

IMAGES = 153
LEVEL = 0.05
SCATTERS = (0.0, 0.008, 0.016, 0.03)
SEEDS = (1, 2, 3, 5)


def draw(
    generator: np.random.Generator,
    sweeps: int,
    configurations: int = 8,
    repeats: int = 1,
    scatter: float | Sequence[float] = 0.0,
    worse: Sequence[float] = (),
    own: float = 0.0,
) -> tuple[Array, Array]:
    """Draw sweeps of configurations that are equal, or of which the last ones are worse.

    Args:
        generator: of the draws.
        sweeps: how many.
        configurations: in each.
        repeats: seeds of each configuration.
        scatter: standard deviation from seed to seed, in accuracy; one for all, or of each.
        worse: by how much each of the last configurations is, in accuracy.
        own: standard deviation, in logits, of how hard a image is for one configuration and not for
            the others, which are as good on average.

    Returns:
        (sweeps, configurations, repeats, IMAGES) answers, 1 where right; and the accuracy of each
        configuration on these images, with seeds of no effect, (sweeps, configurations).
    """
    kind = generator.random((sweeps, IMAGES))
    sometimes = generator.beta(4, 1.2, kind.shape)
    hardly = generator.beta(1, 3, kind.shape)
    chance = np.where(kind < 0.8, 0.995, np.where(kind < 0.95, sometimes, hardly))
    logits = np.log(chance / (1 - chance))[:, None, None]
    slope = float(np.mean(chance * (1 - chance)))  # accuracy gained a logit
    scatters = np.broadcast_to(np.asarray(scatter), configurations)[:, None, None] / slope
    effects = scatters * generator.normal(size=(sweeps, configurations, repeats, 1))
    if own:
        effects = effects + own * generator.normal(size=(sweeps, configurations, 1, IMAGES))
    shares = 1 / (1 + np.exp(-logits - effects))
    kept = np.ones(configurations)
    if len(worse):
        kept[-len(worse) :] -= np.asarray(worse) / shares.mean()
    shares *= kept[:, None, None]
    answers = (generator.random(shares.shape) < shares).astype(float)
    return answers, shares.mean(axis=(2, 3))


def collapsed(generator: np.random.Generator, answers: Array, less: float, scatter: float) -> Array:
    """The same with a last configuration that is less accurate, and whose seeds scatter more."""
    lost = np.clip(generator.normal(less, scatter, answers[:, -1, :, :1].shape), 0, 0.7)
    is_right = generator.random(answers[:, -1].shape) >= lost / answers[:, 0].mean()
    last = answers[:, -1] * is_right
    return np.concatenate([answers[:, :-1], last[:, None]], axis=1)


def as_folds(answers: Array, folds: int) -> Array:
    """The same where a repeat has its own images, each image one repeat."""
    number = np.arange(IMAGES) * folds // IMAGES
    return np.where(number == np.arange(folds)[:, None], answers, np.nan)


def alarms(answers: Array) -> tuple[float, float]:
    """How many sweeps call any configuration worse, and how many the last one; in percent."""
    means = np.nanmean(answers, axis=(2, 3))
    found = [
        [c and c.p for c in compare_with_best(list(a), int(m.argmax()))]
        for a, m in zip(answers, means, strict=True)
    ]
    called = np.array([[p is not None and p <= LEVEL for p in row] for row in found])
    return 100 * float(called.any(axis=1).mean()), 100 * float(called[:, -1].mean())


def covered(answers: Array, truth: float) -> str:
    """How often the interval of the only configuration holds the truth, and how wide it is."""
    low, high = np.array([repeated_interval(answer[0]) for answer in answers]).T
    share = ((low <= truth) & (truth <= high)).mean()
    return f"{100 * share:.1f} % | {100 * (high - low).mean():.1f}"


def wilson_coverage(first: float, last: float) -> Array:
    """Exact, at each of 141 accuracies."""
    right = np.arange(IMAGES + 1)
    low, high = np.array([wilson(int(r), IMAGES) for r in right]).T
    ways = np.array([math.comb(IMAGES, r) for r in right], dtype=float)
    shares = np.linspace(first, last, 141)[:, None]
    chance = ways * shares**right * (1 - shares) ** (IMAGES - right)
    found: Array = 100 * (chance * ((low <= shares) & (shares <= high))).sum(axis=1)
    return found


def intervals(generator: np.random.Generator, sweeps: int) -> Iterator[str]:
    """How often an interval holds what it is of."""
    for first, last in ((0.6, 0.97), (0.9, 0.97)):
        found = wilson_coverage(first, last)
        yield (
            f"Wilson's interval of one run, exactly: {found.mean():.1f} % on average over "
            f"accuracies from {first:.2f} to {last:.2f}, {found.min():.1f} to {found.max():.1f} % "
            f"at single ones (a count of {IMAGES} comes in steps)."
        )
    yield "\n| interval of 95 % | scatter | covers | points wide |"
    yield "|---|---|---|---|"
    for repeats in SEEDS[1:]:
        for scatter in SCATTERS:
            truth = float(draw(generator, 4 * sweeps, 20, 1, scatter)[0].mean())
            answers, _ = draw(generator, 12 * sweeps, 1, repeats, scatter)
            yield f"| {repeats} seeds | {100 * scatter:.1f} | {covered(answers, truth)} |"
    for scatter in SCATTERS[::3]:
        truth = float(draw(generator, 4 * sweeps, 20, 1, scatter)[0].mean())
        answers = as_folds(draw(generator, 12 * sweeps, 1, 5, scatter)[0], 5)
        yield f"| 5 folds | {100 * scatter:.1f} | {covered(answers, truth)} |"


def false_alarms(generator: np.random.Generator, sweeps: int) -> Iterator[str]:
    """How often an equal row is called worse."""
    yield (
        f"| equal rows, any called worse ({sweeps} sweeps), % at a scatter of | "
        + " | ".join(f"{100 * scatter:.1f}" for scatter in SCATTERS)
        + " |"
    )
    yield "|---" * (1 + len(SCATTERS)) + "|"
    for configurations in (2, 8):
        for repeats in SEEDS:
            found = [
                alarms(draw(generator, sweeps, configurations, repeats, s)[0])[0] for s in SCATTERS
            ]
            yield _row(f"{configurations} rows, {repeats} seed{'s' * (repeats > 1)}", found)
    found = [alarms(as_folds(draw(generator, sweeps, 8, 5, s)[0], 5))[0] for s in SCATTERS]
    yield _row("8 rows, 5 folds", found)
    found = [alarms(draw(generator, sweeps, 8, 3, s, own=1.0)[0])[0] for s in SCATTERS]
    yield _row("8 rows, 3 seeds, each with hard images of its own", found)
    scatters = [[0.004] * 7 + [scatter] for scatter in SCATTERS]
    found = [alarms(draw(generator, sweeps, 8, 3, s)[0])[0] for s in scatters]
    yield _row("8 rows, 3 seeds, only one scatters, the others 0.4", found)
    found = []
    for scatter in SCATTERS:
        answers, _ = draw(generator, sweeps, 8, 3, scatter)
        fails = 0.2 * (generator.random((sweeps, 8, 3, 1)) < 0.1)
        found.append(alarms(answers * (generator.random(answers.shape) >= fails))[0])
    yield _row("8 rows, 3 seeds, one seed in ten fails by 20 points", found)


def power(generator: np.random.Generator, sweeps: int) -> Iterator[str]:
    """How often a row that is worse is called so."""
    yield (
        f"| one of 8 rows is worse ({sweeps} sweeps), found in %, seeds | "
        + " | ".join(map(str, SEEDS))
        + " |"
    )
    yield "|---" * (1 + len(SEEDS)) + "|"
    for worse in (0.05, 0.1, 0.2):
        found = [alarms(draw(generator, sweeps, 8, r, 0.01, [worse])[0])[1] for r in SEEDS]
        yield _row(f"by {100 * worse:.0f} points, scatter 1.0", found)
    for less, scatter in ((0.12, 0.092), (0.445, 0.128)):
        found = []
        for repeats in SEEDS:
            answers, _ = draw(generator, sweeps, 8, repeats, 0.004)
            found.append(alarms(collapsed(generator, answers, less, scatter))[1])
        yield _row(f"by {100 * less:.1f} ± {100 * scatter:.1f} points, the others ± 0.4", found)


SELECTION_BIAS = {  # configurations, seeds, scatter, how much worse the last ones are
    "3 equal rows": (3, 1, 0.0, []),
    "8 equal rows": (8, 1, 0.0, []),
    "20 equal rows": (20, 1, 0.0, []),
    "8 equal rows, 3 seeds": (8, 3, 0.0, []),
    "8 equal rows, 3 seeds that scatter by 1.6": (8, 3, 0.016, []),
    "8 equal rows, 3 seeds that scatter by 3.0": (8, 3, 0.03, []),
    "4 equal rows and 4 worse by 10": (8, 1, 0.0, [0.1] * 4),
    "4 equal and 4 worse by 10, 3 seeds that scatter by 1.0": (8, 3, 0.01, [0.1] * 4),
    "8 rows, a point apart each": (8, 1, 0.0, np.arange(8) / 100),
    "8 rows, a point apart each, 3 seeds that scatter by 1.0": (8, 3, 0.01, np.arange(8) / 100),
    "8 rows, 2 points apart each": (8, 1, 0.0, np.arange(8) / 50),
}


def bias_of_the_best(generator: np.random.Generator, sweeps: int) -> Iterator[str]:
    """How much too high the best is, and how much it is said to be."""
    yield "| the best of | is too high by, points | is said to be |"
    yield "|---|---|---|"
    for name, (configurations, repeats, scatter, worse) in SELECTION_BIAS.items():
        answers, on_these = draw(generator, sweeps, configurations, repeats, scatter, worse)
        truth = on_these.mean(axis=0)
        if not len(worse):
            truth = np.full(configurations, truth.mean())
        chance = answers.mean(axis=(2, 3)) - truth
        chosen = answers.mean(axis=(2, 3)).argmax(axis=1)
        # that of the images, which all rows share, is 0 on average: it is left out
        true = float((chance[np.arange(sweeps), chosen] - chance.mean(axis=1)).mean())
        told = float(np.mean([selection_bias(list(a), draws=400) for a in answers]))
        yield f"| {name} | {100 * true:.1f} | {100 * told:.1f} |"


def _row(name: str, found: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join(f"{share:.1f}" for share in found) + " |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweeps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for part in (intervals, false_alarms, power, bias_of_the_best):
        for line in part(np.random.default_rng(options.seed), options.sweeps):
            print(line, flush=True)
        print()
