"""Smaller training sets, and epochs with as many images of each class."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from hymenoptera.data import ImageFolderDataModule
from hymenoptera.data.sampling import EpochBatches, EpochKeys
from hymenoptera.errors import ConfigError


def data(images: Path, **options) -> ImageFolderDataModule:
    made = ImageFolderDataModule(root=str(images), num_workers=0, **options)
    made.setup()
    return made


def names(images: Path, **options) -> set[str]:
    return set(data(images, **options).train.names)


def test_smaller_sets_lie_in_larger_ones(images: Path) -> None:
    """Of each class its share; which ones they are follows from split_seed alone."""
    sets = [names(images, train_fraction=f) for f in (0.125, 0.25, 0.5, 0.75, 1.0)]
    assert [len(one) for one in sets] == [3, 6, 12, 18, 24]
    assert all(one < other for one, other in pairwise(sets))
    by_class = Counter(name.split("/")[1] for name in sets[2])
    assert set(by_class.values()) == {4}
    assert names(images, train_per_class=4, seed=7) == sets[2]
    assert names(images, train_per_class=4, split_seed=1) != sets[2]
    whole, part = data(images), data(images, train_fraction=0.5)
    assert list(part.val.names) == list(whole.val.names)
    assert part.all_manifest_hash == whole.all_manifest_hash


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train_fraction": 0.01}, "train_fraction=0.01 takes 0 of the 8 training images of ash"),
        ({"train_per_class": 9}, "train_per_class=9 takes 9 of the 8 training images of ash"),
    ],
)
def test_a_class_needs_an_image(images: Path, options: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        data(images, **options)


def test_features_of_a_part_are_those_of_the_whole(images: Path) -> None:
    """One computation serves training sets of all sizes."""
    whole, part = data(images), data(images, train_fraction=0.5)
    both = [torch.cat([x.flatten(1) for x, _ in one.plain_loader()]) for one in (whole, part)]
    assert torch.equal(both[0], both[1])
    part.use_features(both[1], None)
    inputs, labels = next(iter(part.val_dataloader()))
    image, label = part._plain(part.val)[0]
    assert torch.equal(inputs[0], image.flatten()) and labels[0] == label
    found = {tuple(row.tolist()) for row in part.train_features}
    assert found == {tuple(image.flatten().tolist()) for image, _ in part._plain(part.train)}


LABELS = torch.tensor([0] * 3 + [1] * 20 + [2] * 8)


def epoch(number: int, **options) -> list[int]:
    keys = EpochKeys(31, seed=5, epoch=number, shuffle=True, labels=LABELS, **options)
    return [keys[at].index for at in range(len(keys))]


def test_a_balanced_epoch_has_as_many_of_each_class() -> None:
    for number in range(4):
        chosen = epoch(number)
        counts = torch.bincount(LABELS[chosen])
        assert len(chosen) == 31 and counts.max() - counts.min() <= 1
        small = Counter(index for index in chosen if LABELS[index] == 0)
        assert set(small) == {0, 1, 2} and max(small.values()) - min(small.values()) <= 1
        large = [index for index in chosen if LABELS[index] == 1]
        assert len(set(large)) == len(large)
        assert epoch(number) == chosen  # the seed determines it
    assert epoch(0) != epoch(1)
    assert {index for number in range(8) for index in epoch(number)} == set(range(31))


def test_each_of_several_views_has_its_seed() -> None:
    """A cached view of an image is the one that is computed for it."""
    keys = EpochKeys(31, 5, 3, True, 2, LABELS)
    plain = EpochKeys(31, 5, 1, False, 2)
    for at in range(31):
        key = keys[at]
        assert key == plain[key.index]


def test_processes_share_a_balanced_epoch() -> None:
    options = {"train": True, "seed": 1, "labels": LABELS}
    one = [k for b in EpochBatches(31, 4, **options) for k in b][:30]
    two = [EpochBatches(31, 2, rank=r, world_size=2, **options) for r in (0, 1)]
    dealt = [key for pair in zip(*two, strict=True) for batch in pair for key in batch]
    assert Counter(dealt) == Counter(one)


def test_a_balanced_sampler_needs_each_class(images: Path) -> None:
    made = data(images, sampler="balanced")
    made.train = made.train.select(np.flatnonzero(made.train.labels != 1))
    with pytest.raises(ConfigError, match="there is no training image of birch"):
        made.train_dataloader()
