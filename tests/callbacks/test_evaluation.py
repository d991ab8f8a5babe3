"""Predictions of validate and test: in the split's order, from however many processes."""

import csv
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from callbacks.conftest import Foreign, ForeignData, make_classifier, make_data, make_trainer
from hymenoptera.callbacks import Embeddings, Evaluation, FeatureCache, evaluation_of


def validated(folder: Path, images: Path, **options) -> pl.Trainer:
    trainer = make_trainer(folder, Evaluation(), **options)
    trainer.validate(make_classifier(), datamodule=make_data(images), verbose=False)
    return trainer


def test_predictions_in_the_order_of_the_split(tmp_path: Path, images: Path) -> None:
    model, data = make_classifier(), make_data(images)
    trainer = make_trainer(tmp_path, Evaluation())
    (metrics,) = trainer.validate(model, datamodule=data, verbose=False)
    result = evaluation_of(trainer)
    assert result is not None
    assert result.classes == ["ash", "birch", "cedar"]
    assert result.names == list(data.val.names)
    assert result.labels.tolist() == data.val.labels.tolist()
    assert result.probabilities.shape == (12, 3)
    assert metrics["val/accuracy"] == pytest.approx((result.predicted == result.labels).mean())
    assert metrics["val/loss"] == pytest.approx(result.losses.mean(), rel=1e-5)
    prepare = data.preprocessing.eval_transform()
    with torch.no_grad():
        one = model.eval()(prepare(data.val.read(7))[None]).softmax(1)
    assert result.probabilities[7] == pytest.approx(one[0].numpy(), abs=1e-5)

    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == result.names
    assert rows[0]["path"] == "val/ash/000.png"
    assert rows[5]["label"] == "birch"
    assert rows[5]["predicted"] == result.classes[result.predicted[5]]
    assert float(rows[5]["cedar"]) == pytest.approx(result.probabilities[5, 2], abs=1e-8)


def test_several_processes_write_the_same_bytes(tmp_path: Path, images: Path) -> None:
    """12 images in batches of 5: an uneven last step."""
    validated(tmp_path, images)
    before = (tmp_path / "predictions.csv").read_bytes()
    validated(tmp_path, images, devices=4, strategy="ddp_fork")
    assert (tmp_path / "predictions.csv").read_bytes() == before


def test_what_the_head_is_given_is_kept_for_who_needs_it(tmp_path: Path, images: Path) -> None:
    """The same from images as from cached features."""
    without = evaluation_of(validated(tmp_path, images))
    assert without is not None and without.features is None
    features = []
    for callbacks in ([], [FeatureCache(tmp_path / "features")]):
        trainer = make_trainer(tmp_path, Evaluation(), Embeddings(), *callbacks, max_epochs=1)
        model, data = make_classifier(), make_data(images, views=0)
        trainer.fit(model, datamodule=data)
        assert evaluation_of(trainer) is None  # the validation within fit is not collected
        trainer.validate(model, datamodule=data, verbose=False)
        result = evaluation_of(trainer)
        assert result is not None and result.features is not None
        logits = torch.from_numpy(result.features) @ model.head.weight.T + model.head.bias
        assert logits.softmax(1).detach().numpy() == pytest.approx(result.probabilities, abs=1e-5)
        features.append(result.features)
    assert np.allclose(*features, atol=1e-5)
    assert not model.head._forward_pre_hooks


def test_another_data_modules_images_have_numbers(tmp_path: Path) -> None:
    class Model(Foreign):
        def validation_step(self, batch, batch_idx):
            return {"logits": self.layer(batch[0]), "labels": batch[1]}

    trainer = make_trainer(tmp_path, Evaluation())
    trainer.validate(Model(), datamodule=ForeignData(), verbose=False)
    result = evaluation_of(trainer)
    assert result is not None
    assert result.names == [str(number) for number in range(6)]
    assert result.classes == ["0", "1"]
