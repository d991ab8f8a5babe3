"""Calibrated probabilities, sets with a stated coverage, familiarity: by simulation."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hymenoptera.errors import ConfigError
from hymenoptera.models.calibration import Calibration, cross_fitted, fit_temperature
from hymenoptera.models.familiarity import MAX_PER_CLASS, Familiarity, chosen, nearest


def drawn(count: int, seed: int, classes: int = 4, factor: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits that are calibrated when divided by the factor, and labels drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    return logits * factor, labels


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_that_calibrates_is_found(factor: float) -> None:
    logits, labels = drawn(20_000, seed=0, factor=factor)
    assert fit_temperature(logits, labels) == pytest.approx(factor, rel=0.03)


def test_images_that_are_all_correct_do_not_make_it_certain() -> None:
    """Without a prior the best temperature would be 0, and every probability 1."""
    labels = torch.arange(100) % 2
    logits = 2 * torch.nn.functional.one_hot(labels).float()
    probability = (logits / fit_temperature(logits, labels)).softmax(dim=1).max(dim=1).values
    assert 0.98 < float(probability.min()) < 0.995  # 101 of 102


def test_cross_fitted_probabilities_are_calibrated_and_keep_the_class() -> None:
    logits, labels = drawn(2000, seed=1, factor=3.0)
    found = cross_fitted(logits, labels)
    assert torch.equal(found.argmax(dim=1), logits.argmax(dim=1))
    confidence = found.max(dim=1).values.mean()
    correct = (found.argmax(dim=1) == labels).double().mean()
    before = logits.softmax(dim=1).max(dim=1).values.mean()
    assert abs(confidence - correct) < 0.03 < before - correct
    assert cross_fitted(*drawn(3, seed=2)).isfinite().all()  # fewer images than folds


@pytest.mark.parametrize("coverage", [0.7, 0.9, 0.95])
def test_the_set_has_the_class_as_often_as_is_stated(coverage: float) -> None:
    """400 calibrations of 60 images each: between the coverage and 1 / 61 more."""
    shares = []
    for seed in range(400):
        logits, labels = drawn(60 + 200, seed)
        calibration = Calibration.fit(logits[:60], labels[:60])
        least = calibration.least_probability(coverage)
        probabilities = (logits[60:].double() / calibration.temperature).softmax(dim=1)
        sets = probabilities >= least
        shares.append(float(sets.gather(1, labels[60:, None]).double().mean()))
    assert coverage - 0.006 < np.mean(shares) < coverage + 1 / 61 + 0.006


def test_the_coverage_that_so_many_images_allow() -> None:
    calibration = Calibration(1.0, torch.linspace(0, 0.19, 19, dtype=torch.float64))
    assert calibration.max_coverage == 0.95
    assert calibration.least_probability(0.95) == pytest.approx(0.81)
    with pytest.raises(ConfigError, match=r"--coverage 0\.96: the 19 images .* up to 0\.95\."):
        calibration.least_probability(0.96)
    for wrong in (0.0, 1.0, math.nan):
        with pytest.raises(ConfigError, match="above 0 and below 1"):
            calibration.least_probability(wrong)


def test_a_checkpoint_holds_it_without_code(tmp_path) -> None:
    features = torch.randn(6, 3)
    familiarity = Familiarity.fit(features, list("abcdef"), [0, 0, 0, 1, 1, 1], features[:4] + 0.1)
    for one in (familiarity, None):
        written = Calibration.fit(*drawn(30, seed=3), one)
        torch.save(written.to_dict(), tmp_path / "it.pt")
        read = Calibration.from_dict(torch.load(tmp_path / "it.pt", weights_only=True))
        assert read.temperature == written.temperature
        assert torch.equal(read.scores, written.scores)
        assert (read.familiarity is None) == (one is None)
    assert one is None and familiarity.features.dtype == torch.float16


def test_as_many_are_called_unfamiliar_as_is_stated() -> None:
    """300 training and validation sets: of images like them 5 % at most, and 1 / 101 fewer."""
    shares, strange = [], []
    for seed in range(300):
        generator = torch.Generator().manual_seed(seed)
        train, validation, others = (torch.randn(100, 8, generator=generator) for _ in range(3))
        for one in (train, validation, others):
            one[:, 0] += 4
        names = [str(i) for i in range(100)]
        familiarity = Familiarity.fit(train, names, [0] * 100, validation)
        for found, images in ((shares, others), (strange, -others)):
            distances = nearest(images, familiarity.features)[0][:, -1]
            found.append(float((familiarity.of(distances) <= familiarity.share).float().mean()))
    assert 0.05 - 1 / 101 - 0.006 < np.mean(shares) < 0.05 + 0.006
    assert np.mean(strange) > 0.9


def test_the_nearest_images_are_found_with_their_distance() -> None:
    train = torch.eye(4).half()
    distances, rows = nearest(torch.tensor([[0.0, 3.0, 4.0, 0.0]]), train, count=9)
    assert rows.shape == (1, 4) and rows[0, :2].tolist() == [2, 1]
    assert distances[0].tolist() == pytest.approx([0.2, 0.4, 1, 1], abs=1e-3)
    familiarity = Familiarity(train, list("abcd"), [0] * 4, torch.tensor([0.1, 0.2, 0.3]))
    assert familiarity.of(torch.tensor([0.05, 0.2, 0.25, 0.9])).tolist() == [1, 0.75, 0.5, 0.25]


def test_so_many_of_each_class_are_kept() -> None:
    labels = np.repeat([0, 1, 2], [MAX_PER_CLASS + 500, 3, 0])
    rows = chosen(labels, 3)
    assert np.bincount(labels[rows]).tolist() == [MAX_PER_CLASS, 3]
    assert rows == sorted(set(rows)) and rows[:1000] != list(range(1000))
    assert len(chosen(np.arange(40_000) % 1000, 1000)) == 20_000
