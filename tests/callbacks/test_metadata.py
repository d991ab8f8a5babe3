"""What a checkpoint says of its run."""

from enum import StrEnum
from pathlib import Path

import torch
from omegaconf import OmegaConf

from callbacks.conftest import Fit
from hymenoptera.callbacks import LastCheckpoint, RunMetadata


class Colour(StrEnum):
    RED = "red"


def test_the_checkpoint_has_it_in_plain_containers(fit: Fit, tmp_path: Path) -> None:
    config = OmegaConf.create({"optimizer": {"lr": "${rate}"}, "rate": 0.1, "none": None})
    more = {"overrides": ("a=1",), "path": Path("x"), "colour": Colour.RED, "flag": True}
    last = LastCheckpoint(dirpath=tmp_path, filename="last")
    fit(RunMetadata({"config": config, **more}), last)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["hymenoptera"]
    assert saved == {
        "schema_version": 2,
        "config": {"optimizer": {"lr": 0.1}, "rate": 0.1, "none": None},
        "overrides": ["a=1"],
        "path": "x",
        "colour": "red",
        "flag": True,
    }
