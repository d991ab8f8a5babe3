"""Class weights in the loss, and the mean recall of the classes."""

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.nn.functional import cross_entropy

from hymenoptera.errors import ConfigError
from hymenoptera.models.exact_mean import BalancedAccuracy


def test_balanced_accuracy_is_the_mean_recall() -> None:
    metric = BalancedAccuracy(4)
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 2])
    predicted = torch.tensor([0, 0, 0, 3, 1, 0, 2])  # recalls 3/4, 1, 1/2; no image of the last
    for part in (slice(0, 3), slice(3, 7)):
        metric.update(torch.eye(4)[predicted[part]], labels[part])
    assert float(metric.compute()) == pytest.approx((0.75 + 1 + 0.5) / 3)


def unequal(noise):
    """Six images of the first class, two of the second and the third."""
    data = noise(10, batch_size=10)
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2])
    images = data.train.tensors[0]
    data.train = torch.utils.data.TensorDataset(images, torch.as_tensor(labels))
    data.train.labels = labels
    return data


@pytest.mark.parametrize(
    ("wanted", "weights"),
    [("balanced", [10 / 18, 10 / 6, 10 / 6]), ([1, 2, 3.5], [1, 2, 3.5]), (None, None)],
)
@pytest.mark.filterwarnings("ignore")
def test_the_loss_weighs_the_classes(wanted, weights, classifier, trainer, noise, steps) -> None:
    model, data = classifier(class_weights=wanted), unequal(noise)
    images, labels = data.train.tensors
    with torch.no_grad():
        logits = model.train()(images)
    expected = cross_entropy(logits, labels, None if weights is None else torch.tensor(weights))
    model = classifier(class_weights=wanted)
    trainer(max_epochs=1, callbacks=[steps]).fit(model, datamodule=data)
    assert steps.losses == pytest.approx([float(expected)], rel=1e-4)
    assert not any("weights" in name for name in model.state_dict())


@pytest.mark.filterwarnings("ignore")
def test_recall_is_logged_where_classes_are_unequal(classifier, trainer, noise, tmp_path) -> None:
    equal, monitor = (
        noise(9, batch_size=9),
        ModelCheckpoint(tmp_path, monitor="val/balanced_accuracy"),
    )
    for data, callbacks, logged in (
        (equal, [], False),
        (unequal(noise), [], True),
        (equal, [monitor], True),
    ):
        made = trainer(max_epochs=1, callbacks=callbacks, enable_checkpointing=bool(callbacks))
        made.fit(classifier(), datamodule=data)
        assert ("val/balanced_accuracy" in made.callback_metrics) == logged


def test_weights_that_make_no_sense_are_rejected(classifier, trainer, noise) -> None:
    data = unequal(noise)
    with pytest.raises(ConfigError, match="has 2 for 3 classes"):
        trainer(max_epochs=1).fit(classifier(class_weights=[1, 2]), datamodule=data)
    data.train.labels = np.array([0, 1])
    with pytest.raises(ConfigError, match="images of each class"):
        trainer(max_epochs=1).fit(classifier(class_weights="balanced"), datamodule=data)
