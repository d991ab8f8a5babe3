"""Where Hydra looks for plugins; what it finds here does its work in `hymenoptera.sweeps`."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class HymenopteraSweeper(Sweeper):
    """Runs a sweep that has a name, a state for each job, and a table at its end."""

    def __init__(self, **options: Any) -> None:
        pass  # the config's `sweep` node says all there is to say

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra gives."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def sweep(self, arguments: list[str]) -> Any:
        """Run what the command line asks for."""
        from hymenoptera.sweeps.sweep import run_sweep

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        return run_sweep(self.config, self.hydra_context, self.task_function, arguments)
