"""A network that is not trained, as it runs fastest: batch norms folded, channels last, bf16."""

import copy
from contextlib import nullcontext
from functools import cache

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse


class InferenceNetwork(nn.Module):
    """A copy of a network for inference: its outputs are within 1e-5 of the original's.

    Batch norms are folded into the convolutions before them (Jacob et al., "Quantization and
    Training of Neural Networks", 2018, 3.2), and its convolutions run channels last.

    Args:
        network: (B, 3, H, W) -> (B, D); it is not changed, and what happens to it afterwards makes
            no difference.
        bf16: multiply in bfloat16: two to three times as fast on a CPU that has it, the outputs
            differ by a percent.
    """

    def __init__(self, network: nn.Module, *, bf16: bool = False) -> None:
        super().__init__()
        self.bf16 = bf16
        self.network = _folded(network).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), in float32 if the network is."""
        images = images.contiguous(memory_format=torch.channels_last)
        kind = images.device.type
        with torch.autocast(kind, torch.bfloat16) if self.bf16 else nullcontext():
            outputs: Tensor = self.network(images)
        return outputs.float() if self.bf16 else outputs


@cache
def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16 itself: avx512_bf16 or amx."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _folded(network: nn.Module) -> nn.Module:
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    if any(isinstance(layer, nn.BatchNorm2d) for layer in copied.modules()):
        try:
            return fuse(copied, inplace=True)
        except Exception:  # whose code has branches that cannot be traced: it runs as it is
            return copy.deepcopy(network).eval().requires_grad_(False)
    return copied
