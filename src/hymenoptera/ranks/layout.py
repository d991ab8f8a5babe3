"""Which process this is, and how many a run has: from the environment and the config. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hymenoptera.errors import RequestError

STRATEGIES = ("ddp", "fsdp")


@dataclass(frozen=True)
class Layout:
    """A process's place in a run.

    Attributes:
        rank: of this process, from 0; 0 leads.
        world_size: how many processes the run has.
        local_rank: of this process among those of its machine.
        local_size: how many processes each machine has.
        launcher: who started them, for people.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1
    launcher: str = "train.py"

    @property
    def node_count(self) -> int:
        """How many machines there are."""
        return self.world_size // self.local_size


def launched(environ: Mapping[str, str]) -> Layout | None:
    """The place that a launcher gave this process; None where nobody started several.

    torchrun, and anything else that does as it does, sets RANK, WORLD_SIZE and LOCAL_RANK; srun
    sets SLURM_PROCID, SLURM_NTASKS and SLURM_LOCALID. In a shell that srun opened (a job called
    bash or interactive) those of SLURM mean nothing.
    """
    if all(name in environ for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")):
        world_size = int(environ["WORLD_SIZE"])
        return Layout(
            rank=int(environ["RANK"]),
            world_size=world_size,
            local_rank=int(environ["LOCAL_RANK"]),
            local_size=int(environ.get("LOCAL_WORLD_SIZE", world_size)),
            launcher="torchrun" if "TORCHELASTIC_RUN_ID" in environ else "the launcher",
        )
    if "SLURM_NTASKS" in environ and not _interactive(environ):
        world_size = int(environ["SLURM_NTASKS"])
        nodes = int(environ.get("SLURM_NNODES", 1))
        return Layout(
            rank=int(environ.get("SLURM_PROCID", 0)),
            world_size=world_size,
            local_rank=int(environ.get("SLURM_LOCALID", 0)),
            local_size=int(environ.get("SLURM_NTASKS_PER_NODE", max(1, world_size // nodes))),
            launcher="SLURM",
        )
    return None


def is_slurm(environ: Mapping[str, str]) -> bool:
    """Whether it is srun that gave this process its place."""
    found = launched(environ)
    return found is not None and found.launcher == "SLURM"


def wanted(trainer: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """How many processes a machine and how many machines a config asks for; None for either open.

    Args:
        trainer: the config's node, checked.
    """
    devices, nodes = trainer["devices"], trainer["num_nodes"]
    if isinstance(devices, list):
        local: int | None = len(devices)
    else:
        local = None if devices in ("auto", -1) else int(devices)
    return local, None if nodes == "auto" else int(nodes)


def wants_several(trainer: Mapping[str, Any]) -> bool:
    """Whether a config asks for more than one process, or leaves that to the devices at hand."""
    local, nodes = wanted(trainer)
    return (
        trainer["strategy"] in STRATEGIES
        or trainer["devices"] == -1
        or (local or 1) > 1
        or (nodes or 1) > 1
    )


def may_share(trainer: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Whether a run has several processes, or may have once the devices at hand are counted."""
    found = launched(environ)
    return wants_several(trainer) or (found is not None and found.world_size > 1)


def place(trainer: Mapping[str, Any], environ: Mapping[str, str]) -> Layout:
    """This process's place, with launcher and config compared.

    Raises:
        RequestError: they contradict each other.
    """
    found = launched(environ)
    local, nodes = wanted(trainer)
    if found is None:
        return Layout()
    if (
        found.launcher == "SLURM"
        and found.world_size > 1
        and "SLURM_NTASKS_PER_NODE" not in environ
    ):
        raise RequestError(
            f"SLURM started {found.world_size} processes, and does not say how many a machine: "
            f"ask for them with --ntasks-per-node in place of --ntasks."
        )
    if found.local_size * found.node_count != found.world_size:
        raise RequestError(
            f"{found.launcher} started {found.world_size} processes, {found.local_size} a machine: "
            f"every machine must have the same number."
        )
    if local not in (None, found.local_size) or nodes not in (None, found.node_count):
        asked = " and ".join(
            f"trainer.{key}={_shown(trainer[key])}"
            for key, value in (("devices", local), ("num_nodes", nodes))
            if value is not None
        )
        raise RequestError(
            f"{asked}: {found.launcher} started {found.world_size} processes, {found.local_size} "
            f"on each of {found.node_count} machines. Leave both keys at auto, or ask "
            f"{found.launcher} for the same."
        )
    return found


def _shown(value: Any) -> str:
    return str(value).replace(" ", "")


def _interactive(environ: Mapping[str, str]) -> bool:
    return environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
