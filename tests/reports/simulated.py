"""Correctness of runs that are equal, to see what is made of it."""

import numpy as np

COUNT = 153  # images


def equal_configurations(
    generator: np.random.Generator,
    configurations: int,
    repeats: int,
    scatter: float,
    count: int = COUNT,
) -> np.ndarray:
    """(configurations, repeats, count) correctness of configurations that are equal.

    Most images are easy, a few are hard for every run. With scatter (in logits) a run is as a whole
    better or worse than the next.
    """
    kind = generator.random(count)
    sometimes, hardly = generator.beta(4, 1.2, count), generator.beta(1, 3, count)
    chance = np.where(kind < 0.8, 0.995, np.where(kind < 0.95, sometimes, hardly))
    logits = np.log(chance / (1 - chance))
    runs = generator.normal(0, scatter, (configurations, repeats, 1))
    return (
        generator.random((configurations, repeats, count)) < 1 / (1 + np.exp(-logits - runs))
    ) * 1.0


def runs(*accuracies: float, count: int = COUNT) -> np.ndarray:
    """(K, count): repeats that get the same images wrong, some of them more of these."""
    correct = [round(accuracy * count) for accuracy in accuracies]
    return np.array([np.arange(count) < number for number in correct]) * 1.0
