"""Which device and which precision a run uses, where the config says auto."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from lightning_fabric.accelerators.cuda import CUDAAccelerator
from lightning_fabric.accelerators.mps import MPSAccelerator

from hymenoptera.errors import RequestError


@dataclass(frozen=True)
class Device:
    """A device as resolved.

    Attributes:
        accelerator: Lightning's word: "cpu", "cuda" or "mps".
        index: which of them.
        name: for people.
        precision: Lightning's word, "32-true" for one.
        cpu_threads: that torch computes with.
    """

    accelerator: str
    index: int
    name: str
    precision: str
    cpu_threads: int

    def trainer_options(self) -> dict[str, Any]:
        """Keywords for a Trainer or a Fabric."""
        devices: int | list[int] = 1 if self.accelerator == "cpu" else [self.index]
        return {
            "accelerator": self.accelerator,
            "devices": devices,
            "precision": self.precision,
        }

    def free_bytes(self) -> float:
        """What its memory has room for; a CPU's is not asked: its pictures are there anyway."""
        if self.accelerator == "cuda":
            return torch.cuda.mem_get_info(self.index)[0]
        if self.accelerator == "mps":
            return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return math.inf

    def to_dict(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


def resolve_device(accelerator: str, devices: str | int | list[int], precision: str) -> Device:
    """Pick what the config leaves open.

    Args:
        accelerator: "auto", "cpu", "gpu", "cuda" or "mps".
        devices: "auto" or 1 for the first device, [i] for the i-th.
        precision: "auto" or one of Lightning's words.

    Raises:
        RequestError: there is no such device here.
    """
    available = {
        "cuda": CUDAAccelerator.is_available(),
        "mps": MPSAccelerator.is_available(),
        "cpu": True,
    }
    wanted = {"auto": next(k for k, there in available.items() if there), "gpu": "cuda"}
    kind = wanted.get(accelerator, accelerator)
    if accelerator == "gpu" and available["mps"]:
        kind = "mps"
    if not available[kind]:
        raise RequestError(
            f"trainer.accelerator={accelerator}: there is no such device here, "
            f"or this torch ({torch.__version__}) cannot use it. trainer=cpu runs everywhere."
        )
    index = devices[0] if isinstance(devices, list) else 0
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if index >= count:
        raise RequestError(f"trainer.devices=[{index}]: there are {count} here, counted from 0.")
    if kind != "cuda" and precision in ("16-mixed", "16-true"):
        raise RequestError(
            f"trainer.precision={precision} needs a CUDA GPU: take 32-true or bf16-mixed."
        )
    return Device(
        accelerator=kind,
        index=index,
        name=_name(kind, index),
        precision=_precision(kind) if precision == "auto" else str(precision),
        cpu_threads=torch.get_num_threads(),
    )


def _name(kind: str, index: int) -> str:
    if kind == "cuda":
        return torch.cuda.get_device_name(index)
    return {"cpu": "CPU", "mps": "Apple GPU"}[kind]


def _precision(kind: str) -> str:
    if kind != "cuda":
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
