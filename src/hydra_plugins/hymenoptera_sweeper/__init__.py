"""Hydra's sweeper of this project: named sweeps that resume, on whichever launcher Hydra has.

Hydra imports every module in `hydra_plugins` when it starts, but for those whose names begin with
an underscore: the work is done in them.
"""

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

MAX_PICKED_JOBS = 8  # at a time, where their number is picked: each process has its own torch


class HymenopteraSweeper(Sweeper):
    """Runs a sweep that has a name, a state for each job, and a table at its end.

    Args:
        max_batch_size: jobs that are handed to the launcher together; None for all of a grid, and
            for as many trials as the launcher runs at a time. Hydra's basic launcher gets one.
        params: values to sweep, by key, as on the command line, which goes before.
    """

    def __init__(
        self, max_batch_size: int | None = None, params: dict[str, Any] | None = None
    ) -> None:
        self.max_batch_size = max_batch_size
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives; the launcher is made once all jobs are known to be valid."""
        self.context = hydra_context
        self.task_function = task_function
        self.config: DictConfig = config

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs that are not done; ends with status 1 if any failed, 130 if interrupted.

        Raises:
            ConfigError: a job's config or the sweep is invalid; nothing has begun.
        """
        from hydra_plugins.hymenoptera_sweeper._sweep import run_sweep

        given = {argument.partition("=")[0].lstrip("+") for argument in arguments}
        params = [f"{key}={value}" for key, value in self.params.items() if key not in given]
        run_sweep(self, [*params, *arguments])


def jobs_at_a_time() -> int:
    """How many jobs run well beside each other here: one a GPU, else one a core, at most 8."""
    import torch
    from joblib import cpu_count

    return torch.cuda.device_count() or min(int(cpu_count()), MAX_PICKED_JOBS)


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="hymenoptera",
    node={"_target_": f"{__name__}.HymenopteraSweeper", "max_batch_size": None, "params": None},
)
OmegaConf.register_new_resolver("jobs_at_a_time", jobs_at_a_time, use_cache=True, replace=True)
