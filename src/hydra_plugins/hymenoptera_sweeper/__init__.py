"""Hydra's sweeper of this project: named sweeps that resume, on whichever launcher Hydra has.

Hydra imports every module in `hydra_plugins` when it starts, but for those whose names begin with
an underscore: the work is done in them.
"""

from importlib.util import find_spec
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

MAX_PICKED_JOBS = 8  # at a time, where their number is picked: each process has its own torch
LAUNCHERS = {
    "joblib": ("joblib", "hydra_plugins.hydra_joblib_launcher"),
    "submitit_local": ("slurm", "hydra_plugins.hydra_submitit_launcher"),
    "submitit_slurm": ("slurm", "hydra_plugins.hydra_submitit_launcher"),
}
"""Launchers that an extra of this project installs: the extra's name, and the package."""


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

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run the jobs that are not done; ends with status 1 if any failed, 130 if interrupted.

        Raises:
            ConfigError: a job's config or the sweep is invalid; nothing has begun.
        """
        from hydra_plugins.hymenoptera_sweeper._sweep import run_sweep

        given = {argument.partition("=")[0].lstrip("+") for argument in arguments}
        params = [f"{key}={value}" for key, value in self.params.items() if key not in given]
        return run_sweep(self, [*params, *arguments])


def jobs_at_a_time() -> int:
    """How many jobs run well beside each other here: one a GPU, else one a core, at most 8."""
    import torch
    from joblib import cpu_count

    return torch.cuda.device_count() or min(int(cpu_count()), MAX_PICKED_JOBS)


def _register() -> None:
    """Tell Hydra of hydra/sweeper=hymenoptera, and of launchers that are not installed.

    The sweeper says which extra has one of those, and Hydra could only say that it is not there.
    """
    store = ConfigStore.instance()
    sweeper = {"_target_": f"{__name__}.HymenopteraSweeper", "max_batch_size": None, "params": None}
    store.store(group="hydra/sweeper", name="hymenoptera", node=sweeper)
    for name, (_, package) in LAUNCHERS.items():
        if find_spec(package) is None:
            node = OmegaConf.create({"_target_": package}, flags={"struct": False})
            store.store(group="hydra/launcher", name=name, node=node)
    OmegaConf.register_new_resolver("jobs_at_a_time", jobs_at_a_time, use_cache=True, replace=True)


_register()
