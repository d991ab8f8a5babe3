"""Which device and which precision are used where nothing is chosen."""

import torch
from lightning_fabric.accelerators.cuda import CUDAAccelerator
from lightning_fabric.accelerators.mps import MPSAccelerator

from hymenoptera.errors import ConfigError


def resolve_accelerator(accelerator: str = "auto") -> str:
    """From "auto", "gpu", "cpu", "cuda" or "mps" to one of the last three.

    Raises:
        ConfigError: there is no such device here.
    """
    gpus = {"cuda": CUDAAccelerator.is_available(), "mps": MPSAccelerator.is_available()}
    there = [kind for kind, is_there in gpus.items() if is_there]
    there += [] if accelerator == "gpu" else ["cpu"]
    if accelerator in ("auto", "gpu") and there:
        return there[0]
    if accelerator not in there:
        raise ConfigError(
            f"{accelerator}: there is no such device here, or this torch ({torch.__version__}) "
            f"cannot use it. The device cpu runs everywhere."
        )
    return accelerator


def auto_precision(accelerator: str) -> str:
    """The fastest precision of an accelerator that trains as well as float32."""
    if accelerator != "cuda":
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
