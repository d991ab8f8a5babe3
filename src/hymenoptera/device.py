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
        index: which of them, the first where there are several.
        indices: all that the run uses on this machine, a process each.
        name: for people.
        precision: Lightning's word, "32-true" for one.
        cpu_threads: that torch computes with.
    """

    accelerator: str
    index: int
    indices: list[int]
    name: str
    precision: str
    cpu_threads: int

    def trainer_options(self) -> dict[str, Any]:
        """Keywords for a Trainer or a Fabric on the first device alone."""
        devices: int | list[int] = 1 if self.accelerator == "cpu" else [self.index]
        return {
            "accelerator": self.accelerator,
            "devices": devices,
            "precision": self.precision,
        }

    def all_devices(self) -> dict[str, Any]:
        """Keywords for a Trainer on all devices of the run."""
        devices = len(self.indices) if self.accelerator == "cpu" else self.indices
        return {**self.trainer_options(), "devices": devices}

    def free_bytes(self, local_rank: int = 0) -> float:
        """What its memory has room for; a CPU's is not asked: its pictures are there anyway.

        Args:
            local_rank: of the process, each of which has its own device.
        """
        if self.accelerator == "cuda":
            return torch.cuda.mem_get_info(self.indices[local_rank])[0]
        if self.accelerator == "mps":
            return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return math.inf

    def to_dict(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


def resolve_device(
    accelerator: str, devices: str | int | list[int], precision: str, processes: int = 1
) -> Device:
    """Pick what the config leaves open.

    Args:
        accelerator: "auto", "cpu", "gpu", "cuda" or "mps".
        devices: "auto" or -1 for one a process, n for the first n, [i, ...] for the i-th, ...
        precision: "auto" or one of Lightning's words.
        processes: how many run on this machine.

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
    indices = devices if isinstance(devices, list) else list(range(processes))
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if max(indices) >= count and (kind != "cpu" or isinstance(devices, list)):
        shown = str(devices).replace(" ", "")
        what = f"{count} here, counted from 0" if isinstance(devices, list) else f"{count} here"
        if devices in ("auto", -1):
            shown = f"{shown}, {processes} processes"
        raise RequestError(f"trainer.devices={shown}: there are {what}.")
    if kind != "cuda" and precision in ("16-mixed", "16-true"):
        raise RequestError(
            f"trainer.precision={precision} needs a CUDA GPU: take 32-true or bf16-mixed."
        )
    return Device(
        accelerator=kind,
        index=indices[0],
        indices=indices,
        name=_name(kind, indices[0]),
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
