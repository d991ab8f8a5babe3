"""Introduces what stays frozen to the pictures: computes it once, has the data give it instead."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from hymenoptera.data.base import PictureDataModule
from hymenoptera.data.features import cached
from hymenoptera.device import Device
from hymenoptera.models.classifier import Classifier
from hymenoptera.models.inference import outputs, weights_hash
from hymenoptera.models.stages import cut
from hymenoptera.models.transfer import Transfer

PACKAGES = ("torch", "torchvision", "pillow")  # that have a say in what a picture turns into


@dataclass(frozen=True)
class Cut:
    """Where a classifier is cut, and what that saved.

    Attributes:
        trained_stages: how many stages belong to the upper part, beside the head.
        upper_part: of the classifier that is trained.
        computed: how many rows of features had to be computed.
        kept: how many were in the cache.
    """

    trained_stages: int
    upper_part: nn.Module
    computed: int
    kept: int

    def upper(self, classifier: Classifier) -> nn.Module:
        """The part of another classifier that takes features: to logits (B, C)."""
        parts = cut(classifier, self.trained_stages)
        assert parts is not None
        return parts[1]


def cache_features(
    classifier: Classifier,
    transfer: Transfer,
    data: PictureDataModule,
    device: Device,
    manifest_hash: str,
) -> Cut | None:
    """Have the data give features in place of pictures, where that changes nothing but the time.

    Args:
        classifier: with the weights that it starts from.
        transfer: says what stays frozen, and how many views of a picture there are.
        data: set up, and told about preprocessing and views.
        device: that computes the features.
        manifest_hash: of the pictures.

    Returns:
        Where the classifier is cut; None where the pictures themselves are needed: nothing stays
        frozen, each epoch has its own augmentation, or the network cannot be cut there.

    Raises:
        RequestError: the cache's folder cannot be written.
    """
    if not transfer.cache or transfer.views is None:
        return None
    trained = transfer.trained_stages(classifier)
    parts = cut(classifier, trained)
    if parts is None:
        return None
    common = _facts(classifier, trained, parts[0], device, manifest_hash)
    folder = Path(transfer.cache_folder).expanduser()
    rows = {True: 0, False: 0}

    def features(loader: DataLoader[Any], facts: dict[str, Any]) -> Tensor:
        found, computed = _kept(parts[0], loader, device, common | facts, folder)
        rows[computed] += len(found)
        return found

    plain = features(data.plain_loader(), {})
    augmented = None
    if transfer.views:
        samples = [(str(s.path.relative_to(data.index.root)), s.label) for s in data.index.train]
        facts = {"augmentation": data.augmentation(), "samples": samples}
        augmented = features(data.augmented_loader(), facts)
    classifier.train()  # computing left it in eval mode
    data.use_features(plain, augmented)
    return Cut(trained, parts[1], computed=rows[True], kept=rows[False])


def embed_training(
    classifier: Classifier, data: PictureDataModule, device: Device, folder: Path
) -> Tensor:
    """What a classifier's backbone gives for the training pictures, from the cache if it is there.

    It is the file that a run leaves which trains the head alone.

    Args:
        classifier: the whole of it, in eval mode.
        data: set up, and told about preprocessing.
        device: that computes what is not there yet.
        folder: of the cache.

    Returns:
        (N, D) float32 on the CPU, in the order of `data.index.train`.

    Raises:
        RequestError: the cache's folder cannot be written.
    """
    facts = _facts(classifier, 0, classifier.backbone, device, data.facts()["manifest_hash"])
    found, _ = _kept(classifier.backbone, data.plain_loader(), device, facts, folder)
    return found[data.plain_rows(data.index.train)]


def _facts(
    classifier: Classifier, trained: int, lower: nn.Module, device: Device, manifest_hash: str
) -> dict[str, Any]:
    """All that determines what the lower part gives for pictures without augmentation."""
    return {
        "weights": weights_hash(lower),
        "backbone": classifier.backbone_name,
        "trained_stages": trained,
        "preprocessing": classifier.preprocessing.to_dict(),
        "manifest": manifest_hash,
        "accelerator": device.accelerator,
        "precision": device.precision,
        "versions": {package: version(package) for package in PACKAGES},
    }


def _kept(
    network: nn.Module,
    loader: DataLoader[Any],
    device: Device,
    facts: dict[str, Any],
    folder: Path,
) -> tuple[Tensor, bool]:
    """What a network gives for a loader's pictures, and whether it had to be computed."""

    def compute() -> Iterator[Tensor]:
        for batch, _ in outputs(network, loader, "features", **device.trainer_options()):
            yield batch

    count = len(loader.sampler)  # type: ignore[arg-type] # each of ours knows its length
    return cached(folder, facts, count, compute)
