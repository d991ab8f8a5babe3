"""What a run writes into its best checkpoint about the worth of its predictions."""

import json
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn.functional import normalize

from callbacks.conftest import Fit, make_classifier, make_data
from hymenoptera.callbacks import CheckpointCalibration, Evaluation, FeatureCache
from hymenoptera.models import ImageClassifier, Predictor
from hymenoptera.models.checkpoint import read_checkpoint


def calibrated(
    fit: Fit, folder: Path, images: Path, *callbacks: pl.Callback, **options: object
) -> tuple[CheckpointCalibration, Path, dict]:
    """A fit and the validation of its best checkpoint; and what that was before."""
    own, saved = CheckpointCalibration(), ModelCheckpoint(folder, "best", monitor="val/loss")
    model, data = make_classifier(**options), make_data(images, views=0)
    trainer = fit(own, saved, Evaluation(folder), *callbacks, model=model, data=data)
    before = torch.load(saved.best_model_path, weights_only=True)
    trainer.validate(model, data, ckpt_path="best", weights_only=True, verbose=False)
    return own, Path(saved.best_model_path), before


def test_the_checkpoint_is_the_same_but_for_what_was_added(
    fit: Fit, tmp_path: Path, images: Path
) -> None:
    """Bit for bit: weights, optimizer, callbacks; and the predicted classes."""
    own, path, before = calibrated(fit, tmp_path, images)
    after = torch.load(path, weights_only=True)
    added = after.pop("hymenoptera").pop("calibration")
    before.pop("hymenoptera", None)
    assert before.keys() == after.keys()
    for name, weights in before["state_dict"].items():
        assert torch.equal(weights, after["state_dict"][name])
    assert repr(before["optimizer_states"]) == repr(after["optimizer_states"])
    assert added["familiarity"]["features"].dtype == torch.float16
    assert len(added["familiarity"]["names"]) == 24 and len(added["scores"]) == 12
    assert json.loads(json.dumps(own.summary)) == own.summary
    assert own.summary["max_coverage"] == 12 / 13 and own.summary["training_images"] == 24

    paths = sorted((images / "val").rglob("*.png"))
    model = ImageClassifier.load_from_checkpoint(path, weights_only=True)
    known, plain = Predictor(path, "cpu"), Predictor(model, "cpu")
    assert plain.calibration is None
    for one, other in zip(known.predict(paths), plain.predict(paths), strict=True):
        assert list(one.probabilities) == list(other.probabilities)
        odds = np.log([[*p.probabilities.values()] for p in (one, other)])
        ratio = np.diff(odds[1]) / np.diff(odds[0])
        assert ratio == pytest.approx(own.summary["temperature"], rel=1e-3)
        assert other.familiarity is other.is_familiar is other.set is None and not other.nearest


@pytest.mark.parametrize("unfreeze_epochs", [[], 1])
def test_familiarity_is_of_the_network_as_it_was_trained(
    fit: Fit, tmp_path: Path, images: Path, unfreeze_epochs: object
) -> None:
    """From cached features or computed anew, the same."""
    cache = FeatureCache(tmp_path / "features")
    _, path, _ = calibrated(fit, tmp_path, images, cache, unfreeze_epochs=unfreeze_epochs)
    assert (cache.counts is None) == bool(unfreeze_epochs)
    predictor = Predictor(path, "cpu")
    known = predictor.calibration.familiarity
    paths = [images / name for name in known.names]
    inputs = torch.cat([batch.images for batch in predictor.batches(paths)])
    with torch.inference_mode():
        expected = normalize(predictor.classifier.features(inputs), dim=1)
    assert torch.allclose(known.features.float(), expected, atol=1e-3)
    assert [Path(name).parent.name for name in known.names] == [
        predictor.classes[label] for label in known.labels
    ]
    found = [one.familiarity for one in predictor.predict(sorted((images / "val").rglob("*.png")))]
    assert min(found) < 0.25 and max(found) > 0.75  # each is one of the 12 that it is compared with
    (own,) = predictor.predict(paths[5])
    # features of noise are equal to float16's last digits: a few validation images may be as near
    assert own.familiarity > 0.5 and own.is_familiar
    assert own.nearest[0].similarity == pytest.approx(1, abs=2e-3)


def test_a_run_does_not_fail_with_it(
    fit: Fit, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("hymenoptera.callbacks.calibration.add_calibration", fail)
    own, path, _ = calibrated(fit, tmp_path, images)
    assert own.summary is None and "no space left" in caplog.text
    assert "calibration" not in read_checkpoint(path).get("hymenoptera", {})
