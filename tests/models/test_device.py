"""What auto becomes, with the hardware pretended."""

import pytest
import torch
from lightning_fabric.accelerators.cuda import CUDAAccelerator
from lightning_fabric.accelerators.mps import MPSAccelerator

from hymenoptera.errors import ConfigError
from hymenoptera.models.device import auto_precision, resolve_accelerator


def pretend(
    monkeypatch: pytest.MonkeyPatch, cuda: bool = False, mps: bool = False, bf16: bool = True
) -> None:
    monkeypatch.setattr(CUDAAccelerator, "is_available", staticmethod(lambda: cuda))
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: mps))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)


@pytest.mark.parametrize(
    ("hardware", "asked", "accelerator", "precision"),
    [
        ({}, "auto", "cpu", "32-true"),
        ({"mps": True}, "auto", "mps", "32-true"),
        ({"mps": True}, "gpu", "mps", "32-true"),
        ({"cuda": True}, "auto", "cuda", "bf16-mixed"),
        ({"cuda": True}, "cpu", "cpu", "32-true"),
        ({"cuda": True, "bf16": False}, "gpu", "cuda", "16-mixed"),
    ],
)
def test_auto(
    monkeypatch: pytest.MonkeyPatch,
    hardware: dict[str, bool],
    asked: str,
    accelerator: str,
    precision: str,
) -> None:
    pretend(monkeypatch, **hardware)
    assert resolve_accelerator(asked) == accelerator
    assert auto_precision(accelerator) == precision


def test_what_is_not_there_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    for accelerator in ("gpu", "cuda", "mps", "tpu"):
        with pytest.raises(ConfigError, match="no such device"):
            resolve_accelerator(accelerator)
