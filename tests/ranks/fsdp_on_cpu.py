"""train.py with trainer=fsdp on CPUs: no user is given that, but it is FSDP all the same."""

import runpy
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.strategies import FSDPStrategy
from torch.distributed.fsdp import FullyShardedDataParallel, _optim_utils

from hymenoptera.ranks import sharing

wrap = FullyShardedDataParallel.__init__
take_apart = _optim_utils._unflatten_orig_param_states


def wrap_on_cpu(self: FullyShardedDataParallel, *arguments: Any, **options: Any) -> None:
    """It asks for a GPU unless it is told of a device."""
    options |= {"device_id": torch.device("cpu"), "sync_module_states": False}
    wrap(self, *arguments, **options)


def take_apart_on_cpu(info: Any, states: dict[str, Any], name: str, *more: Any) -> None:
    """Copies: on a GPU .cpu() makes them, of a buffer that the next state is gathered in."""
    take_apart(info, states, name, *more)
    for state in states.values():
        if name in state:
            state[name] = state[name].clone()


class OnCPU(FSDPStrategy):
    """Lightning asks for a GPU where the strategy is its own one."""


if __name__ == "__main__":
    FullyShardedDataParallel.__init__ = wrap_on_cpu
    _optim_utils._unflatten_orig_param_states = take_apart_on_cpu
    sharing.FSDPStrategy = OnCPU
    sharing.refuse_strategy = lambda trainer, device: None
    runpy.run_path(str(Path(__file__).parents[2] / "train.py"), run_name="__main__")
