"""Starts the processes of a run on this machine, and sees to it that none outlives the run."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from hymenoptera.cores import usable_cores
from hymenoptera.errors import RequestError
from hymenoptera.parent import STARTER
from hymenoptera.ranks.layout import wanted, wants_several

GRACE_S = 20.0
"""How long the others may take to end by themselves once one process has: the leader has 10 s to
notice a lost one and to write its record."""


def count_here(trainer: Mapping[str, Any], environ: Mapping[str, str]) -> int:
    """How many processes this command must start here: 1 for none beside itself.

    Raises:
        RequestError: several machines are asked for, and nothing says which this one is.
    """
    if not wants_several(trainer):
        return 1
    local, nodes = wanted(trainer)
    if (nodes or 1) > 1 and not all(
        name in environ for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
    ):
        raise RequestError(
            f"trainer.num_nodes={nodes}: something must start the run on each machine: srun, or\n"
            f"torchrun --nnodes={nodes} --nproc-per-node={local or 'GPUS'} --rdzv-backend=c10d "
            f"--rdzv-endpoint=HOST:PORT train.py ...\nor python train.py with NODE_RANK, "
            f"MASTER_ADDR and MASTER_PORT set; docs/cluster.md has examples."
        )
    return local or _gpus(trainer["accelerator"])


def start_and_wait(
    count: int, nodes: int, arguments: list[str], environ: Mapping[str, str]
) -> NoReturn:
    """Run `python train.py ARGUMENTS` in so many processes, and end with the first one's status.

    Ctrl-C, SIGTERM and SIGHUP are passed on to all of them; where this process is killed, they end.

    Args:
        count: how many on this machine.
        nodes: how many machines there are.
        arguments: of the command line, as they were given.
        environ: what they inherit; NODE_RANK, MASTER_ADDR and MASTER_PORT where there are several
            machines.
    """
    node = int(environ.get("NODE_RANK", 0))
    threads = max(1, len(usable_cores()) // count)
    common = {
        "MASTER_ADDR": environ.get("MASTER_ADDR", "127.0.0.1"),
        "MASTER_PORT": environ.get("MASTER_PORT") or str(_free_port()),
        "WORLD_SIZE": str(count * nodes),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": str(node),
        STARTER: str(os.getpid()),
        # left to themselves, all of them would compute on all cores
        "OMP_NUM_THREADS": environ.get("OMP_NUM_THREADS") or str(threads),
    }
    workers = [
        subprocess.Popen(
            [sys.executable, str(Path(sys.argv[0]).absolute()), *arguments],
            env={
                **environ,
                **common,
                "RANK": str(node * count + local_rank),
                "LOCAL_RANK": str(local_rank),
            },
            process_group=0,  # or a terminal's Ctrl-C would reach it twice
        )
        for local_rank in range(count)
    ]

    def pass_on(number: int, frame: FrameType | None) -> None:
        for worker in workers:
            worker.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    first_end: float | None = None
    while None in [worker.poll() for worker in workers]:
        ended = [worker for worker in workers if worker.returncode is not None]
        # the leader may judge for minutes after it has released the others, with status 0
        if any(worker.returncode != 0 for worker in ended) or workers[0].returncode is not None:
            first_end = first_end or time.monotonic()
            if time.monotonic() - first_end > GRACE_S:
                for worker in workers:
                    worker.kill()
        time.sleep(0.1)
    status = workers[0].returncode
    sys.exit(status if status >= 0 else 1)


def _gpus(accelerator: str) -> int:
    """How many GPUs there are to use, 1 at least: what a single process says of none is enough."""
    if accelerator in ("cpu", "mps"):
        return 1
    import torch

    return max(1, torch.cuda.device_count())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
