"""A classifier's probabilities for pictures, on any device."""

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from hymenoptera.models.classifier import Classifier


def predict(
    classifier: Classifier, loader: DataLoader[Any], **fabric_options: Any
) -> tuple[list[int], list[list[float]]]:
    """Run a classifier over labelled pictures.

    Args:
        classifier: put in eval mode and on the device; left there.
        loader: of images (B, 3, H, W) float32 and labels (B,) int64.
        fabric_options: accelerator, devices, precision, as of a `lightning_fabric.Fabric`.

    Returns:
        The N labels in the loader's order, and for each picture its C probabilities.
    """
    fabric = Fabric(**fabric_options)
    network = fabric.setup_module(classifier.eval())
    labels: list[int] = []
    probabilities: list[Tensor] = []
    with torch.inference_mode():
        for images, targets in tqdm(loader, desc="judging", leave=False, delay=1.0, disable=None):
            logits = network(images.to(fabric.device))  # (B, C)
            probabilities.append(logits.float().softmax(dim=1).cpu())
            labels += targets.tolist()
    return labels, torch.cat(probabilities).tolist()
