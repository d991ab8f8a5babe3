"""A head that is trained on cached features is the head that is trained on images."""

from pathlib import Path

import pytest
import torch

from callbacks.conftest import Fit, make_classifier, make_data
from hymenoptera.callbacks import FeatureCache, History, LastCheckpoint


def rows(history: History) -> list[float]:
    return [value for row in history.rows for value in row.values()]


@pytest.mark.parametrize(
    ("backbone", "views"), [("shufflenet_v2_x0_5", 0), ("mobilenet_v3_small", 2)]
)
def test_cached_equals_uncached(
    fit: Fit, tmp_path: Path, images: Path, backbone: str, views: int
) -> None:
    cache, cached, plain = FeatureCache(tmp_path / "features"), History(), History()
    for callbacks in ([cache, cached], [plain]):
        model, data = make_classifier(backbone=backbone), make_data(images, views=views)
        fit(*callbacks, model=model, data=data, max_epochs=3)
    assert rows(cached) == pytest.approx(rows(plain), abs=1e-5)
    count = 36 + views * 24
    assert cache.counts == {"computed": count, "cached": 0}
    again = FeatureCache(tmp_path / "features")
    fit(again, model=make_classifier(backbone=backbone), data=make_data(images, views=views))
    assert again.counts == {"computed": 0, "cached": count}


@pytest.mark.parametrize(
    ("model", "data"), [({"seed": 1}, {}), ({}, {"seed": 1}), ({"image_size": 48}, {})]
)
def test_what_determines_the_features_is_in_the_key(
    fit: Fit, tmp_path: Path, images: Path, model: dict, data: dict
) -> None:
    """Of the seed, the augmentation alone follows."""
    for _ in range(2):
        callback = FeatureCache(tmp_path)
        fit(callback, model=make_classifier(), data=make_data(images, views=1))
    fit(callback, model=make_classifier(**model), data=make_data(images, views=1, **data))
    expected = {"computed": 0, "cached": 60}
    if data:
        expected = {"computed": 24, "cached": 36}
    if "image_size" in model:
        expected = {"computed": 60, "cached": 0}
    assert callback.counts == expected


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ({"unfreeze_epochs": 1}, {"views": 0}),  # the backbone is trained
        ({"unfreeze_epochs": [2]}, {"views": 0}),  # a part of it is, later
        ({}, {"views": None}),  # each epoch has its own augmentation
    ],
)
def test_images_are_loaded_where_features_would_not_be_the_same(
    fit: Fit, tmp_path: Path, images: Path, model: dict, data: dict
) -> None:
    callback = FeatureCache(tmp_path / "features")
    options = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1}
    fit(callback, model=make_classifier(**model), data=make_data(images, **data), **options)
    fit(callback)  # another model and other data
    assert callback.counts is None
    assert not (tmp_path / "features").exists()


def test_a_resumed_run_has_the_features_of_its_checkpoint(
    fit: Fit, tmp_path: Path, images: Path
) -> None:
    """Even if the model was built with other weights: those of the checkpoint are loaded later."""
    (tmp_path / "whole").mkdir()

    def part(history: History, epochs: int, **options) -> None:
        last = LastCheckpoint(dirpath=tmp_path, filename="last", enable_version_counter=False)
        data = make_data(images, views=0)
        fit(FeatureCache(tmp_path), history, last, data=data, max_epochs=epochs, **options)

    whole, resumed = History(tmp_path / "whole"), History()
    part(whole, 4, model=make_classifier())
    part(History(), 2, model=make_classifier())
    other = make_classifier()
    torch.nn.init.zeros_(other.backbone.conv1[0].weight)
    part(resumed, 4, model=other, ckpt_path=tmp_path / "last.ckpt")
    one, two = tmp_path / "whole" / "metrics.csv", tmp_path / "metrics.csv"
    assert one.read_bytes() == two.read_bytes()


def test_the_precision_of_a_frozen_backbone_is_in_the_key(
    fit: Fit, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hymenoptera.models.classifier.cpu_has_bf16", lambda: True)
    for wanted, computed in ((False, 36), (True, 36), ("auto", 0)):
        callback = FeatureCache(tmp_path)
        fit(callback, model=make_classifier(frozen_bf16=wanted), data=make_data(images, views=0))
        assert callback.counts["computed"] == computed
        assert callback.bf16 is bool(wanted) and 0 < callback.ms_per_image < 10_000


def test_training_sets_of_all_sizes_share_their_features(
    fit: Fit, tmp_path: Path, images: Path
) -> None:
    for fraction, computed in ((0.5, 36), (1.0, 0), (0.25, 0)):
        callback = FeatureCache(tmp_path)
        data = make_data(images, views=0, train_fraction=fraction)
        fit(callback, model=make_classifier(), data=data)
        assert callback.counts == {"computed": computed, "cached": 36 - computed}
        assert len(data.train_features) == 24 * fraction
