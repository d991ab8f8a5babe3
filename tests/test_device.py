"""What auto becomes, with the hardware pretended."""

import pytest
import torch
from lightning_fabric.accelerators.cuda import CUDAAccelerator
from lightning_fabric.accelerators.mps import MPSAccelerator

from hymenoptera.device import resolve_device
from hymenoptera.errors import RequestError


def pretend(
    monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False, bf16: bool = True
) -> None:
    monkeypatch.setattr(CUDAAccelerator, "is_available", staticmethod(lambda: cuda > 0))
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: mps))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)


@pytest.mark.parametrize(
    ("hardware", "accelerator", "precision"),
    [
        ({}, "cpu", "32-true"),
        ({"mps": True}, "mps", "32-true"),
        ({"cuda": 1}, "cuda", "bf16-mixed"),
        ({"cuda": 1, "bf16": False}, "cuda", "16-mixed"),
    ],
)
def test_auto(
    monkeypatch: pytest.MonkeyPatch, hardware: dict[str, int], accelerator: str, precision: str
) -> None:
    pretend(monkeypatch, **hardware)
    device = resolve_device("auto", "auto", "auto")
    assert (device.accelerator, device.precision) == (accelerator, precision)


def test_each_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=2)
    device = resolve_device("gpu", [1], "32-true")
    assert device.trainer_options() == {
        "accelerator": "cuda",
        "devices": [1],
        "precision": "32-true",
    }
    assert device.name == "GPU 1"
    assert resolve_device("cpu", "auto", "bf16-mixed").precision == "bf16-mixed"


def test_what_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    for accelerator in ("gpu", "cuda", "mps"):
        with pytest.raises(RequestError, match="no such device"):
            resolve_device(accelerator, "auto", "auto")
    with pytest.raises(RequestError, match="needs a CUDA GPU"):
        resolve_device("cpu", "auto", "16-mixed")
    pretend(monkeypatch, cuda=1)
    with pytest.raises(RequestError, match="there are 1 here"):
        resolve_device("gpu", [3], "auto")
