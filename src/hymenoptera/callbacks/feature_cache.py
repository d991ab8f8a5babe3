"""What stays frozen is computed once: features take the place of images."""

import hashlib
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from math import isfinite, nan
from pathlib import Path
from statistics import median
from typing import Any, cast

import pytorch_lightning as pl
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from hymenoptera.data import ImageDataModule
from hymenoptera.data.features import cached
from hymenoptera.models import ImageClassifier
from hymenoptera.models.backbones import TIMM

PACKAGES = ("torch", "torchvision", "pillow")  # that have a say in what an image turns into


class FeatureCache(pl.Callback):
    """Has the data module load features in place of images if only the head is trained.

    The backbone runs once over each image, and over each of its augmented views, before training;
    the next run with the same backbone, images and preprocessing finds the features on disk. This
    changes nothing but the time. It does nothing where it cannot: the backbone is trained, each
    epoch has its own augmentation (`data.views=null`), or model or data are of another kind.

    Attributes:
        counts: rows of features that were `computed`, and `cached` before; None for images.
        bf16: whether they were computed in bfloat16.
        ms_per_image: that the network took when they were, without the reading; None if unknown.

    Args:
        folder: of the cache, shared by all runs; made where there is none.
    """

    def __init__(self, folder: str | Path = "data/features") -> None:
        self.counts: dict[str, int] | None = None
        self.bf16, self.ms_per_image = False, cast(float | None, None)
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
        pl_module.choose_precision()
        network = pl_module.for_inference()
        self.bf16 = network.bf16
        backbone = trainer.precision_plugin.convert_module(network.to(trainer.strategy.root_device))
        name = pl_module.hparams["backbone"]
        packages = (*PACKAGES, "timm") if name.startswith(TIMM) else PACKAGES
        key = {
            "weights": _weights_hash(pl_module.backbone),
            "backbone": name,
            "preprocessing": pl_module.preprocessing.to_dict(),
            "manifest": data.all_manifest_hash,
            "accelerator": trainer.strategy.root_device.type,
            "precision": "bf16" if network.bf16 else str(trainer.precision),
            "versions": {name: version(name) for name in packages},
        }
        counts = self.counts = {"computed": 0, "cached": 0}
        times_ms: list[float] = []

        def features(loader: DataLoader[Any], **more: Any) -> Tensor:
            compute = partial(_compute, trainer, backbone, loader, times_ms)
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
        measured = [torch.tensor([[median(times_ms or [nan])]])]
        time_key = key | {"of": "milliseconds"}
        time_ms = float(cached(self._folder, time_key, 1, lambda: measured)[0])
        self.ms_per_image = time_ms if isfinite(time_ms) else None

    on_load_checkpoint = setup  # the resumed run's weights may be others


def _compute(
    trainer: pl.Trainer, backbone: nn.Module, loader: DataLoader[Any], times_ms: list[float]
) -> Iterator[Tensor]:
    """(B, D) float32 on the CPU, batch by batch; the times that an image took are added."""
    device, precision = trainer.strategy.root_device, trainer.precision_plugin
    off = None if trainer.is_global_zero else True  # None: no bar where stderr is no terminal
    with torch.inference_mode(), precision.forward_context():
        for images, _ in tqdm(loader, desc="features", leave=False, delay=1.0, disable=off):
            began = time.perf_counter()
            found = backbone(precision.convert_input(images.to(device))).float().cpu()
            times_ms.append(1000 * (time.perf_counter() - began) / len(images))
            yield found


def _weights_hash(network: nn.Module) -> str:
    """SHA-256 over all parameters and buffers."""
    tensors = {name: t.cpu().contiguous() for name, t in network.state_dict().items()}
    return hashlib.sha256(safetensors.torch.save(tensors)).hexdigest()
