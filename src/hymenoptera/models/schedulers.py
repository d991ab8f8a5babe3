"""Learning-rate schedules, from torch's parts, all stepped once an optimizer step.

Each takes the optimizer, whose rate is the peak, the number of steps in the whole run and in an
epoch, and its own options from conf/scheduler/.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, StepLR


def cosine(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, warmup_fraction: float
) -> LRScheduler:
    """Linear warm-up from 1 % of the rate, then half a cosine to zero.

    Source: Loshchilov & Hutter, "SGDR", 2017, eq. 5, without restarts.
    """
    warmup_steps = round(total_steps * warmup_fraction)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return 0.01 + 0.99 * step / warmup_steps
        done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return LambdaLR(optimizer, factor)


def one_cycle(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, warmup_fraction: float
) -> LRScheduler:
    """Up to the rate and down to almost nothing, momentum the other way.

    Source: Smith & Topin, "Super-Convergence", 2018; torch.optim.lr_scheduler.OneCycleLR.
    """
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, peaks, total_steps=total_steps, pct_start=warmup_fraction)


def step(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, *, step_epochs: int, gamma: float
) -> LRScheduler:
    """The rate times `gamma` after every `step_epochs` epochs."""
    return StepLR(optimizer, step_epochs * steps_per_epoch, gamma)
