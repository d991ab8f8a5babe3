"""The real command in a process with something wrong with it; such a process imports this."""

import itertools
import time
from pathlib import Path

import torch

import conftest

ERRORS = {
    "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate "
        "memory: you tried to allocate 999 bytes. Error code 12 (Cannot allocate memory)"
    ),
}


def with_little_memory(limit: int, kind: str, arguments: list[str], cwd: Path) -> None:
    """`python train.py ARGUMENTS` where a step of more than so many pictures does not fit."""
    from hymenoptera.models.module import ClassifierModule

    whole = ClassifierModule.training_step

    def training_step(self: ClassifierModule, batch: list[torch.Tensor], batch_idx: int) -> object:
        if len(batch[1]) > limit:
            raise ERRORS[kind]
        return whole(self, batch, batch_idx)

    ClassifierModule.training_step = training_step
    conftest._command("train.py", arguments, cwd, {"HYDRA_FULL_ERROR": "0"})


def with_a_clock_that_jumps(arguments: list[str], cwd: Path) -> None:
    """`python train.py ARGUMENTS` where each look at the clock finds it an hour earlier."""
    began, looks = time.time(), itertools.count()
    time.time = lambda: began - 3600 * next(looks)
    conftest._command("train.py", arguments, cwd, {"HYDRA_FULL_ERROR": "0"})
