"""Which process this is: what torchrun and SLURM say, and what contradicts the config."""

from typing import Any

import pytest

from hymenoptera.errors import RequestError
from hymenoptera.ranks.layout import Layout, launched, place, wants_several
from hymenoptera.ranks.workers import count_here

TRAINER = {"devices": "auto", "num_nodes": "auto", "strategy": "auto", "accelerator": "cpu"}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    **{"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"},
}
SLURM = {
    **{"SLURM_NTASKS": "16", "SLURM_NTASKS_PER_NODE": "8", "SLURM_NNODES": "2"},
    **{"SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_JOB_NAME": "train"},
}


def test_a_process_finds_its_place() -> None:
    assert launched({}) is None
    assert launched(TORCHRUN) == Layout(5, 8, 1, 4, "torchrun")
    assert launched(SLURM) == Layout(9, 16, 1, 8, "SLURM")
    assert launched({**SLURM, **TORCHRUN}) == Layout(5, 8, 1, 4, "torchrun")  # inside a job
    assert launched({**SLURM, "SLURM_JOB_NAME": "bash"}) is None
    assert place(TRAINER, SLURM).node_count == 2
    assert place(TRAINER, {}) == Layout()


@pytest.mark.parametrize(
    ("environ", "asked", "words"),
    [
        (SLURM, {"devices": 4}, "trainer.devices=4: SLURM started 16 processes, 8 on each of 2"),
        (SLURM, {"num_nodes": 1, "devices": 8}, "trainer.devices=8 and trainer.num_nodes=1"),
        (TORCHRUN, {"devices": [0, 1]}, "torchrun started 8 processes"),
        ({**SLURM, "SLURM_NTASKS": "15"}, {}, "the same number"),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, {}, "--ntasks-per-node"),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, {"devices": 2}, "SLURM started 1 processes"),
    ],
)
def test_a_config_that_the_launcher_contradicts_is_refused(
    environ: dict[str, str], asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(RequestError) as caught:
        place({**TRAINER, **asked}, environ)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_how_many_processes_a_command_starts() -> None:
    assert count_here(TRAINER, {}) == 1
    assert count_here({**TRAINER, "devices": 3}, {}) == 3
    assert count_here({**TRAINER, "devices": [2, 5]}, {}) == 2
    assert count_here({**TRAINER, "strategy": "ddp"}, {}) == 1  # a CPU is one device
    assert not wants_several({**TRAINER, "devices": [2]})
    second = {"NODE_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert count_here({**TRAINER, "num_nodes": 2, "devices": 4}, second) == 4
    with pytest.raises(RequestError, match="srun"):
        count_here({**TRAINER, "num_nodes": 2}, {})
