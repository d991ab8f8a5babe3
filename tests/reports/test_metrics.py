"""Metrics of predictions, against torchmetrics and by hand."""

from pathlib import Path

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

from hymenoptera.errors import ConfigError
from hymenoptera.reports.metrics import (
    Predictions,
    confusion,
    measure,
    precision_recall,
    read_predictions,
    reliability,
)
from hymenoptera.reports.record import write_predictions
from hymenoptera.reports.tables import measures_table


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 200)
    logits = generator.normal(size=(200, 3)) + 1.5 * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(["a", "b", "c"], labels, probabilities, [f"{n}.png" for n in range(200)])


def test_metrics_equal_those_of_torchmetrics(predictions: Predictions) -> None:
    found = measure(predictions)
    inputs = torch.tensor(predictions.probabilities), torch.tensor(predictions.labels), 3
    value = {name: metric["value"] for name, metric in found["metrics"].items()}
    micro, macro = (multiclass_accuracy(*inputs, average=a).item() for a in ("micro", "macro"))
    assert found["accuracy"] == pytest.approx(micro)
    assert value["balanced_accuracy"] == pytest.approx(macro)
    assert value["macro_f1"] == pytest.approx(multiclass_f1_score(*inputs).item())
    loss = torch.nn.functional.nll_loss(inputs[0].log(), inputs[1])
    assert value["log_loss"] == pytest.approx(loss.item())
    error = multiclass_calibration_error(*inputs, n_bins=10).item()
    assert value["expected_calibration_error"] == pytest.approx(error, abs=1e-6)
    truth = np.eye(3)[predictions.labels]
    brier = ((predictions.probabilities - truth) ** 2).sum(axis=1).mean()
    assert value["brier_score"] == pytest.approx(brier)
    assert found["confusion"] == multiclass_confusion_matrix(*inputs).tolist()
    expected = multiclass_average_precision(*inputs, average=None)
    for label in range(3):
        scores = predictions.probabilities[:, label]
        average = precision_recall(predictions.labels == label, scores)[2]
        assert average == pytest.approx(expected[label].item(), abs=1e-6)


def test_intervals_hold_the_value_and_narrow_with_more_images(predictions: Predictions) -> None:
    many = (np.tile(predictions.labels, 9), np.tile(predictions.probabilities, (9, 1)))
    widths = []
    for some in (predictions, Predictions(predictions.classes, *many, [])):
        metric = measure(some)["metrics"]["log_loss"]
        low, high = metric["interval"]
        assert low < metric["value"] < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(3, rel=0.15)  # as the root of the count


def test_metrics_by_hand() -> None:
    """Two classes of which one is never predicted; one prediction that is sure and wrong."""
    probabilities = np.array([[0.95, 0.05], [0.65, 0.35], [1.0, 0.0], [0.85, 0.15]])
    predictions = Predictions(["a", "b"], np.array([0, 0, 1, 0]), probabilities, list("wxyz"))
    found = measure(predictions)
    assert found["confusion"] == [[3, 0], [1, 0]]
    assert found["per_class"]["b"]["precision"] is None
    assert found["per_class"]["a"]["recall"]["value"] == 1
    assert predictions.mistakes(5) == [2]
    assert np.isfinite(predictions.losses).all()
    assert reliability(predictions).tolist() == [
        [0.65, 1.0, 1.0],
        [0.85, 1.0, 1.0],
        [pytest.approx(0.975), 0.5, 2.0],
    ]
    assert confusion(np.array([1]), np.array([0]), 2).tolist() == [[0, 0], [1, 0]]
    text = measures_table(found | {"recorded": 0.75})
    assert "75.0 % (3 of 4), 95 % Wilson interval 30.1 to 95.4 %" in text
    assert "recorded  the same" in text
    assert "76.0 %: not the same" in measures_table(found | {"recorded": 0.76})


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    names, classes = ['a, "b".jpg', "ü\n.jpg", "\udcff.jpg"], ["x", "y,z"]
    probabilities = [(0.25, 0.75), (0.5, 0.5), (0.5, 0.5)]
    write_predictions(tmp_path / "predictions.csv", names, [1, 1, 0], probabilities, classes)
    found = read_predictions(tmp_path)
    assert found is not None
    assert (found.names, found.classes) == (names, classes)
    assert found.labels.tolist() == [1, 1, 0]
    assert found.predicted.tolist() == [1, 0, 0]  # of equals the first
    assert found.probabilities.tolist() == [[0.25, 0.75], [0.5, 0.5], [0.5, 0.5]]
    assert read_predictions(tmp_path, "test_predictions.csv") is None


@pytest.mark.parametrize("text", ["", "path,label,predicted,a\nx,b,a,1\n", "p,l,q,a\nx,a,a,one\n"])
def test_damaged_predictions_are_said_to_be_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "predictions.csv").write_text(text)
    with pytest.raises(ConfigError, match="damaged"):
        read_predictions(tmp_path)
