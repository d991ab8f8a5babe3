"""What a run may go on from, and what is refused."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hymenoptera.data.datamodule import ImageFolderDataModule
from hymenoptera.errors import RequestError
from hymenoptera.models.checkpoint import KEY, load_checkpoint
from hymenoptera.preparing import Run
from hymenoptera.resuming import go_on

PROGRESS = "epoch_loop.batch_progress"


def resumed(last: Path, pictures: Path, **changed: object) -> ImageFolderDataModule:
    """Go on from a checkpoint, with some of its data's settings changed."""
    loaded = load_checkpoint(last)
    node = {**loaded.config["data"], **changed}
    names = ("batch_size", "seed", "folds", "fold")
    data = ImageFolderDataModule(root=str(pictures), **{name: node[name] for name in names})
    data.setup()
    go_on(last, loaded.classifier, data, data.facts(), {**loaded.config, "data": node})
    return data


@pytest.fixture
def last(finished_run: Path, pictures: Path, tmp_path: Path) -> Path:
    """A checkpoint of a run on fold 0 of 4, after the first of three batches."""
    checkpoint = torch.load(finished_run / "checkpoints" / "last.ckpt", weights_only=True)
    facts = checkpoint[KEY]
    facts["config"]["data"] |= {"folds": 4, "fold": 0}
    data = ImageFolderDataModule(root=str(pictures), folds=4, fold=0)
    data.setup()
    facts["data"] = data.facts()
    facts["manifest_hash"] = facts["data"]["manifest_hash"]
    checkpoint["loops"]["fit_loop"][PROGRESS]["current"]["processed"] = 1
    torch.save(checkpoint, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_another_division_of_the_same_pictures_is_refused(last: Path, pictures: Path) -> None:
    assert resumed(last, pictures).first_batch == 1
    with pytest.raises(RequestError, match="other validation pictures"):
        resumed(last, pictures, fold=1)
    checkpoint = torch.load(last, weights_only=True)
    del checkpoint[KEY]["data"]["val_manifest_hash"]  # as it was before
    torch.save(checkpoint, last)
    assert resumed(last, pictures).first_batch == 1


@pytest.mark.parametrize("changed", [{"seed": 1}, {"shards_at_once": 3}])
def test_in_the_middle_of_an_epoch_its_order_must_stay(
    last: Path, pictures: Path, changed: dict[str, int]
) -> None:
    (key,) = changed
    with pytest.raises(RequestError, match=f"order follows from data.{key}="):
        resumed(last, pictures, **changed)
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["loops"]["fit_loop"][PROGRESS]["current"]["processed"] = 0
    torch.save(checkpoint, last)
    resumed(last, pictures, **changed)  # between two epochs it may change


def test_smaller_batches_go_back_to_where_the_run_began(last: Path, pictures: Path) -> None:
    """Memory ran out in a run that goes on from elsewhere, before it saved anything."""
    loaded = load_checkpoint(last)
    data = resumed(last, pictures)
    data.batch_size = 4  # it was 8
    run = SimpleNamespace(
        **{"folder": last.parent / "run", "resume": last, "config": loaded.config, "data": data},
        **{"classifier": loaded.classifier, "record": {"data": data.facts()}},
        history=SimpleNamespace(rows=[{"epoch": 1}]),
    )
    Run.go_back(run)
    assert (data.first_batch, run.history.rows) == (2, [])
