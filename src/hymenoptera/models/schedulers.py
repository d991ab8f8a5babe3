"""Learning-rate schedules over a whole run, and how any scheduler is built for a Trainer.

The optimizer's learning rate is the peak. `cosine` and `one_cycle` are stepped once an optimizer
step and follow the length of the run: one that is resumed with more epochs continues on the
longer schedule.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_s

from hymenoptera.errors import ConfigError


class _FollowsRun(torch_s.LRScheduler):
    """A schedule that keeps the length of its own run when the state of another run is loaded."""

    length: tuple[int, int]  # steps of the run, and of an epoch

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the position; in a run of another length, that of the same epoch."""
        before = tuple(state_dict["length"])
        own = ("length", "total_steps", "_schedule_phases")
        kept = {key: value for key, value in state_dict.items() if key not in own}
        if before == self.length:
            super().load_state_dict(kept)
            return
        position = min(round(kept["last_epoch"] * self.length[1] / before[1]), self.length[0])
        super().load_state_dict({**kept, "last_epoch": position - 1})
        self.step()  # sets the optimizer's learning rates to those of this schedule
        self._step_count -= 1


class Cosine(_FollowsRun, torch_s.LambdaLR):
    """See `cosine`."""


class OneCycle(_FollowsRun, torch_s.OneCycleLR):
    """See `one_cycle`."""


def cosine(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, warmup_fraction: float = 0.1
) -> Cosine:
    """Linear warm-up from 1 % of the learning rate, then half a cosine to zero.

    Source: Loshchilov & Hutter, "SGDR", 2017, eq. 5, without restarts.
    """
    warmup_steps = round(total_steps * warmup_fraction)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return 0.01 + 0.99 * step / warmup_steps
        done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    scheduler = Cosine(optimizer, factor)
    scheduler.length = (total_steps, steps_per_epoch)
    return scheduler


def one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    warmup_fraction: float = 0.3,
    **options: Any,
) -> OneCycle:
    """Up to the learning rate and down to almost nothing, momentum the other way.

    Source: Smith & Topin, "Super-Convergence", 2018. The options are those of torch's OneCycleLR.
    """
    fraction = min(float(options.pop("pct_start", warmup_fraction)), 1 - 1e-9)
    if fraction * total_steps == 1:  # torch would divide by the length of the warm-up less 1
        fraction *= 1 + 1e-9
    options.setdefault("max_lr", [group["lr"] for group in optimizer.param_groups])
    options.setdefault("cycle_momentum", bool({"momentum", "betas"} & optimizer.defaults.keys()))
    scheduler = OneCycle(optimizer, total_steps=total_steps, pct_start=fraction, **options)
    scheduler.length = (total_steps, steps_per_epoch)
    return scheduler


def build_scheduler(
    make: Callable[..., Any], optimizer: Optimizer, trainer: "pl.Trainer"
) -> dict[str, Any]:
    """Call a scheduler as its signature asks, and say when the Trainer steps it.

    Arguments named `total_steps` and `steps_per_epoch` that are not given yet are filled in. What
    has one of them is stepped once an optimizer step, and so is CyclicLR. Any other is stepped
    once an epoch; ReduceLROnPlateau after a validation, with `val/loss`.

    Args:
        make: a scheduler, or a `functools.partial` of one: called with the optimizer.
        optimizer: whose learning rates it sets.
        trainer: whose run it is for.

    Returns:
        What Lightning calls `lr_scheduler_config`.

    Raises:
        ConfigError: the scheduler needs the length of a run that has none.
    """
    make = make if isinstance(make, partial) else partial(make)
    name = getattr(make.func, "__name__", str(make.func))
    parameters = inspect.signature(make).parameters
    given = {key for key, p in parameters.items() if p.default not in (p.empty, None)}
    lengths = {"total_steps", "steps_per_epoch"} & parameters.keys()
    if make.func is torch_s.OneCycleLR and not given & {"total_steps", "epochs"}:
        ours: Callable[..., Any] = one_cycle  # which can be resumed in a longer run
        make = partial(ours, **make.keywords)
    missing = set() if "epochs" in given else lengths - given
    filled = _lengths(trainer, name) if missing else {}
    scheduler = make(optimizer, **{key: filled[key] for key in missing})
    every_step = bool(lengths) or isinstance(scheduler, torch_s.CyclicLR)
    config = {"scheduler": scheduler, "interval": "step" if every_step else "epoch"}
    if isinstance(scheduler, torch_s.ReduceLROnPlateau):
        config |= {"monitor": "val/loss", "frequency": trainer.check_val_every_n_epoch or 1}
    return config


def _lengths(trainer: "pl.Trainer", name: str) -> dict[str, int]:
    total_steps = trainer.estimated_stepping_batches
    if not 0 < total_steps < math.inf:
        raise ConfigError(
            f"scheduler: {name} needs the number of steps of the run, and it has no end: "
            f"set trainer.max_epochs or trainer.max_steps, or take scheduler=none."
        )
    trainer.fit_loop.setup_data()  # or num_training_batches would not be known with max_steps
    batches = trainer.num_training_batches
    steps = total_steps if batches == math.inf else batches / trainer.accumulate_grad_batches
    return {"total_steps": int(total_steps), "steps_per_epoch": max(1, math.ceil(steps))}
