"""last.ckpt: when it is saved, and when it is not."""

from pathlib import Path

import pytest
import pytorch_lightning as pl

from callbacks.conftest import Fit
from hymenoptera.callbacks import LastCheckpoint


class Saved(pl.Callback):
    """The steps after which a checkpoint was made."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_save_checkpoint(self, trainer, pl_module, checkpoint) -> None:
        self.steps.append(checkpoint["global_step"])


@pytest.mark.parametrize(
    ("when", "options", "steps"),
    [
        ({}, {}, [3, 6, 9, 12]),
        ({"every_s": 1000}, {}, [3, 12]),  # after the first epoch and after the last
        ({"every_s": 1000}, {"max_epochs": -1, "max_steps": 8}, [3, 8]),
        ({"within_epoch_s": 0}, {"max_epochs": 2}, [1, 2, 3, 4, 5, 6]),
        # two batches a step, and the third alone: none while gradients accumulate
        ({"within_epoch_s": 0}, {"max_epochs": 1, "accumulate_grad_batches": 2}, [1, 2]),
    ],
)
def test_when_it_is_saved(
    fit: Fit, tmp_path: Path, when: dict, options: dict, steps: list[int]
) -> None:
    saved = Saved()
    last = LastCheckpoint(dirpath=tmp_path, filename="last", enable_version_counter=False, **when)
    fit(last, saved, **{"max_epochs": 4, **options})
    assert saved.steps == steps
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["last.ckpt"]
