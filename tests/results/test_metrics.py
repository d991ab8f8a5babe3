"""Figures of predictions, against torchmetrics and by hand."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_average_precision,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)

from hymenoptera.results.metrics import (
    Judgement,
    confusion,
    measure,
    precision_recall,
    reliability,
)


@pytest.fixture(scope="module")
def judgement() -> Judgement:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 200)
    logits = generator.normal(size=(200, 3)) + 1.5 * np.eye(3)[labels]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Judgement(["a", "b", "c"], labels, shares, [f"{n}.png" for n in range(200)])


def test_figures_equal_those_of_torchmetrics(judgement: Judgement) -> None:
    found = measure(judgement)
    shares, labels = torch.tensor(judgement.probabilities), torch.tensor(judgement.labels)
    value = {name: metric["value"] for name, metric in found["metrics"].items()}
    assert found["val_accuracy"] == pytest.approx(
        multiclass_accuracy(shares, labels, 3, average="micro").item()
    )
    assert value["balanced_accuracy"] == pytest.approx(
        multiclass_accuracy(shares, labels, 3, average="macro").item()
    )
    assert value["macro_f1"] == pytest.approx(multiclass_f1_score(shares, labels, 3).item())
    assert value["log_loss"] == pytest.approx(
        torch.nn.functional.nll_loss(shares.log(), labels).item()
    )
    assert value["expected_calibration_error"] == pytest.approx(
        multiclass_calibration_error(shares, labels, 3, n_bins=10).item(), abs=1e-6
    )
    matrix = multiclass_confusion_matrix(shares, labels, 3)
    assert found["confusion"] == matrix.tolist()
    expected = multiclass_average_precision(shares, labels, 3, average=None)
    for label in range(3):
        average = precision_recall(judgement.labels == label, judgement.probabilities[:, label])[2]
        assert average == pytest.approx(expected[label].item(), abs=1e-6)


def test_intervals_hold_the_value_and_narrow_with_more_pictures(judgement: Judgement) -> None:
    few = measure(judgement)["metrics"]["log_loss"]
    labels, shares = np.tile(judgement.labels, 9), np.tile(judgement.probabilities, (9, 1))
    many = measure(Judgement(judgement.classes, labels, shares, []))["metrics"]["log_loss"]
    for metric in (few, many):
        assert metric["interval"][0] < metric["value"] < metric["interval"][1]
    width = [m["interval"][1] - m["interval"][0] for m in (few, many)]
    assert width[0] / width[1] == pytest.approx(3, rel=0.15)  # as the root of the count


def test_figures_by_hand() -> None:
    """Two classes of which one is never predicted; one prediction that is sure and wrong."""
    shares = np.array([[0.95, 0.05], [0.65, 0.35], [1.0, 0.0], [0.85, 0.15]])
    judgement = Judgement(["a", "b"], np.array([0, 0, 1, 0]), shares, list("wxyz"))
    found = measure(judgement)
    assert found["confusion"] == [[3, 0], [1, 0]]
    assert found["per_class"]["b"]["precision_score"] is None
    assert found["per_class"]["b"]["f1"] == 0
    assert found["per_class"]["a"]["recall"]["value"] == 1
    assert judgement.worst(5) == [2]
    assert np.isfinite(judgement.losses).all()
    assert reliability(judgement.labels, shares).tolist() == [
        [0.65, 1.0, 1.0],
        [0.85, 1.0, 1.0],
        [pytest.approx(0.975), 0.5, 2.0],
    ]
    assert confusion(np.array([1]), np.array([0]), 2).tolist() == [[0, 0], [1, 0]]
