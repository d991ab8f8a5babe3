"""What stays frozen is computed once: features take the place of images."""

import copy
import hashlib
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from hymenoptera.data import ImageDataModule
from hymenoptera.data.features import cached
from hymenoptera.models import ImageClassifier

PACKAGES = ("torch", "torchvision", "pillow")  # that have a say in what an image turns into


class FeatureCache(pl.Callback):
    """Has the data module load features in place of images if only the head is trained.

    The backbone runs once over each image, and over each of its augmented views, before training;
    the next run with the same backbone, images and preprocessing finds the features on disk. This
    changes nothing but the time. It does nothing where it cannot: the backbone is trained, each
    epoch has its own augmentation (`data.views=null`), or model or data are of another kind.

    Attributes:
        counts: rows of features that were `computed`, and `cached` before; None for images.

    Args:
        folder: of the cache, shared by all runs; made where there is none.
    """

    def __init__(self, folder: str | Path = "data/features") -> None:
        self.counts: dict[str, int] | None = None
        self._folder = Path(folder).expanduser()

    def setup(self, trainer: pl.Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if (
            trainer.state.fn != "fit"
            or not isinstance(pl_module, ImageClassifier)
            or not isinstance(data, ImageDataModule)
            or not pl_module.trains_head_only
            or data.views is None
        ):
            return
        backbone = _for_inference(trainer, pl_module.backbone)
        key = {
            "weights": _weights_hash(backbone),
            "backbone": pl_module.hparams["backbone"],
            "preprocessing": pl_module.preprocessing.to_dict(),
            "manifest": data.summary()["manifest_hash"],
            "accelerator": trainer.strategy.root_device.type,
            "precision": str(trainer.precision),
            "versions": {package: version(package) for package in PACKAGES},
        }
        counts = self.counts = {"computed": 0, "cached": 0}

        def features(loader: DataLoader[Any], **more: Any) -> Tensor:
            compute = partial(_compute, trainer, backbone, loader)
            count = len(loader.dataset)  # type: ignore[arg-type]
            found, is_new = cached(self._folder, key | more, count, compute)
            is_new = trainer.strategy.reduce_boolean_decision(is_new, all=False)
            counts["computed" if is_new else "cached"] += count
            return found

        plain, augmented = features(data.plain_loader()), None
        if data.views:
            augmented = features(
                data.augmented_loader(),
                augmentation=data.augmentation(),
                names=list(data.train.names),
                labels=data.train.labels.tolist(),
            )
        data.use_features(plain, augmented)

    on_load_checkpoint = setup  # the resumed run's weights may be others


def _for_inference(trainer: pl.Trainer, backbone: nn.Module) -> nn.Module:
    """A copy on the trainer's device and in its precision."""
    copied = copy.deepcopy(backbone).eval().to(trainer.strategy.root_device)
    copied.to(memory_format=torch.channels_last)  # a third faster on a CPU too
    return trainer.precision_plugin.convert_module(copied)


def _compute(trainer: pl.Trainer, backbone: nn.Module, loader: DataLoader[Any]) -> Iterator[Tensor]:
    """(B, D) float32 on the CPU, batch by batch."""
    device, precision = trainer.strategy.root_device, trainer.precision_plugin
    off = None if trainer.is_global_zero else True  # None: no bar where stderr is no terminal
    with torch.inference_mode(), precision.forward_context():
        for images, _ in tqdm(loader, desc="features", leave=False, delay=1.0, disable=off):
            inputs = precision.convert_input(images.to(device, memory_format=torch.channels_last))
            yield backbone(inputs).float().cpu()


def _weights_hash(network: nn.Module) -> str:
    """SHA-256 over all parameters and buffers."""
    tensors = {name: t.cpu().contiguous() for name, t in network.state_dict().items()}
    return hashlib.sha256(safetensors.torch.save(tensors)).hexdigest()
