"""Which process of a run this is, and the run's name: from the environment that a launcher sets."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf


def rank() -> int:
    """This process's place in a run of several processes; rank zero prints and writes files.

    torchrun sets RANK, Lightning's launcher LOCAL_RANK and NODE_RANK, srun SLURM_PROCID.
    """
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"]) + int(os.environ.get("NODE_RANK", 0))
    return int(os.environ.get("SLURM_PROCID", 0)) if by_srun() else 0


def by_srun() -> bool:
    """Whether srun started the processes; in a shell that it opened, its variables mean nothing."""
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "SLURM_NTASKS" in os.environ and not interactive


def has_launcher() -> bool:
    """Whether something outside this program starts one process for each rank."""
    return by_srun() or "RANK" in os.environ or "MASTER_ADDR" in os.environ


def task_overrides() -> list[str]:
    """The overrides of Hydra's job, as one types them."""
    if not HydraConfig.initialized():
        return []
    overrides: Any = OmegaConf.to_container(HydraConfig.get().overrides.task)
    return [typed(str(override)) for override in overrides]


def typed(override: str) -> str:
    """An override without the signs that `for_hydra` has added."""
    key = override.removeprefix("++")
    return override if key == override else key if key.startswith("trainer.") else f"+{key}"


def run_name() -> str:
    """The name of a run's folder: the time; under a launcher a name that all its processes find."""
    elastic = os.environ.get("TORCHELASTIC_RUN_ID")
    if elastic is not None:
        if elastic == "none":  # without --standalone and --rdzv-id; its log folder has a name
            log_file = Path(os.environ.get("TORCHELASTIC_ERROR_FILE", ""))  # .../NAME/attempt_0/0/
            elastic = log_file.parts[-4] if len(log_file.parts) > 4 else elastic
        return f"torchrun_{elastic}"
    if by_srun() and int(os.environ["SLURM_NTASKS"]) > 1:
        return f"slurm_{os.environ['SLURM_JOB_ID']}_{os.environ.get('SLURM_STEP_ID', 0)}"
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
