"""Where the processes of a run find each other."""

import os
import secrets
import socket
from collections.abc import Callable
from datetime import timedelta

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed import TCPStore  # type: ignore[attr-defined] # it is documented there

from hymenoptera.errors import RunError
from hymenoptera.ranks.layout import Layout, is_slurm
from hymenoptera.ranks.team import ARRIVAL_S, Team

LOOPBACK = "127.0.0.1"


def gather(layout: Layout, say: Callable[[str], None] | None = None) -> Team:
    """Bring the processes of a run together; returns when all are there.

    Args:
        layout: this process's place.
        say: prints a line for the user; None for what prints it on stderr.

    Raises:
        RunError: they do not find each other.
    """
    if layout.world_size == 1:
        return Team()
    environment: ClusterEnvironment = (
        # requeueing is left to the job's script: this project goes on from last.ckpt
        SLURMEnvironment(auto_requeue=False) if is_slurm(os.environ) else TorchElasticEnvironment()
    )
    team = Team(layout, environment)
    team.say = say or team.say
    host, port = environment.main_address, environment.main_port
    # nobody from elsewhere has business here where all are on this machine
    door_host = LOOPBACK if layout.node_count == 1 else ""
    token, door = secrets.token_hex(16), None
    try:
        if team.is_leader:
            door = socket.create_server((door_host, 0), backlog=layout.world_size)
        makes_store = team.is_leader and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        own_socket = makes_store and door_host == host  # otherwise torch's listens everywhere
        team.store = TCPStore(
            host,
            port,
            is_master=makes_store,
            master_listen_fd=socket.create_server((host, port)).detach() if own_socket else None,
            timeout=timedelta(seconds=ARRIVAL_S),
            wait_for_workers=False,
            multi_tenant=True,  # the computation's own store comes to the same port later
        )
        key = f"hymenoptera/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        if door is not None:
            team.store.set(key, f"{door.getsockname()[1]} {token}")
        else:
            number, token = team.store.get(key).decode().split()
            team.join(door_host or host, int(number), token)
    except (torch.distributed.DistError, RuntimeError, OSError) as error:
        raise RunError(
            f"Process {layout.rank} of {layout.world_size} found no meeting point at "
            f"{host}:{port}: {str(error).splitlines()[0]}"
        ) from error
    if door is not None:
        team.admit(door, token)
    return team
