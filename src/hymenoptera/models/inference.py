"""What a network gives for pictures, on any device."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm


class Batches(Protocol):
    """What a DataLoader is to one that only reads from it."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


def outputs(
    network: nn.Module, loader: Batches, what: str, **fabric_options: Any
) -> Iterator[tuple[Tensor, Tensor]]:
    """Run a network over labelled pictures, with a progress bar.

    Args:
        network: put in eval mode, on the device, and into the memory format in which convolutions
            are quickest (a third quicker on a CPU); left so.
        loader: of what the network takes (B, ...) float32, and labels (B,) int64.
        what: the bar's title.
        fabric_options: accelerator, devices, precision, as of a `lightning_fabric.Fabric`.

    Yields:
        For each batch what the network gives, float32 on the CPU, and the labels.
    """
    fabric = Fabric(**fabric_options)
    module = fabric.setup_module(network.eval().to(memory_format=torch.channels_last))
    with torch.inference_mode():
        for inputs, labels in tqdm(loader, desc=what, leave=False, delay=1.0, disable=None):
            images = inputs.to(fabric.device)
            if images.ndim == 4:
                images = images.to(memory_format=torch.channels_last)
            yield module(images).float().cpu(), labels


def predict(
    network: nn.Module, loader: Batches, **fabric_options: Any
) -> tuple[list[int], list[list[float]]]:
    """Run a classifier, or the upper part of one, over labelled pictures.

    Args:
        network: to logits (B, C); see `outputs`.
        loader: see `outputs`.
        fabric_options: see `outputs`.

    Returns:
        The N labels in the loader's order, and for each picture its C probabilities.
    """
    labels: list[int] = []
    probabilities: list[Tensor] = []
    for logits, targets in outputs(network, loader, "judging", **fabric_options):
        probabilities.append(logits.softmax(dim=1))
        labels += targets.tolist()
    return labels, torch.cat(probabilities).tolist()


@contextmanager
def inputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Keep what a layer is given while the context lasts, a tensor a batch.

    Yields:
        A list that fills with tensors (B, ...) float32 on the CPU.
    """
    kept: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: kept.append(given[0].float().cpu()))
    try:
        yield kept
    finally:
        hook.remove()


def weights_hash(network: nn.Module) -> str:
    """SHA-256 over all parameters and buffers, by their names: 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
