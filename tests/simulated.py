"""Answers of runs that are the same, to see what is made of them."""

import numpy as np

COUNT = 153  # pictures


def pictures(generator: np.random.Generator, count: int) -> np.ndarray:
    """How likely a picture is to be right: most are easy, a few are hard for every run."""
    kind = generator.random(count)
    sometimes, hardly = generator.beta(4, 1.2, count), generator.beta(1, 3, count)
    return np.where(kind < 0.8, 0.995, np.where(kind < 0.95, sometimes, hardly))


def equal_settings(
    generator: np.random.Generator, settings: int, repeats: int, scatter: float, count: int = COUNT
) -> np.ndarray:
    """(settings, repeats, count) answers of settings that are the same.

    They agree on what is easy, as real runs do; with scatter (in logits) a run is as a whole
    better or worse than the next.
    """
    chance = pictures(generator, count)
    logits = np.log(chance / (1 - chance))
    runs = generator.normal(0, scatter, (settings, repeats, 1))
    return (generator.random((settings, repeats, count)) < 1 / (1 + np.exp(-logits - runs))) * 1.0
