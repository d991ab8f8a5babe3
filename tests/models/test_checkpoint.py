"""A checkpoint alone gives everything back, and never runs code."""

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from hymenoptera.errors import ConfigError
from hymenoptera.models import ImageClassifier, Predictor, checkpoint
from hymenoptera.models.checkpoint import (
    KEY,
    SCHEMA_VERSION,
    WholeCheckpointIO,
    calibration_in,
    describe_checkpoint,
    load_classifier,
    read_checkpoint,
)

pytestmark = pytest.mark.filterwarnings("ignore")


class SaveOften(pl.callbacks.Checkpoint):
    """Saves in mid-epoch and at an epoch's end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 2):
            trainer.save_checkpoint(self.folder / "middle.ckpt")

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt")


@pytest.fixture
def saved(tmp_path: Path, head, trainer, features) -> Path:
    """A folder with checkpoints of a run of two epochs of five batches."""
    run = trainer(max_epochs=2, callbacks=[SaveOften(tmp_path)], enable_checkpointing=True)
    model = head()
    model.hparams["weights_id"] = "from somewhere"
    run.fit(model, datamodule=features())
    run.save_checkpoint(tmp_path / "afterwards.ckpt")
    run.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    return tmp_path


@pytest.mark.parametrize("name", ["0", "1", "middle", "afterwards", "weights"])
def test_the_classifier_comes_back(saved: Path, name: str) -> None:
    path = saved / f"{name}.ckpt"
    loaded = load_classifier(path)
    assert not loaded.training
    assert (loaded.classes, loaded.weights_id) == (["ash", "birch", "cedar"], "from somewhere")
    assert loaded.preprocessing.crop_px == 32
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    again = ImageClassifier.load_from_checkpoint(path).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(images), loaded(images))


def test_a_checkpoint_says_where_it_stands(saved: Path) -> None:
    """Fault 22: one of mid-epoch is of that epoch."""
    stands = {}
    for name in ("0", "middle", "1", "afterwards", "weights"):
        found = describe_checkpoint(saved / f"{name}.ckpt")
        stands[name] = (found["epoch"], found["step"])
    assert stands == {
        "0": (1, 5),
        "middle": (2, 8),
        "1": (2, 10),
        "afterwards": (2, 10),
        "weights": (2, 10),
    }
    assert found["model"] == {
        "backbone": "mobilenet_v3_small",
        "weights": "from somewhere",
        "input_px": 32,
        "parameter_count": sum(p.numel() for p in load_classifier(saved / "1.ckpt").parameters()),
    }
    assert found["data"] == {"classes": ["ash", "birch", "cedar"]}


def test_weights_of_a_checkpoint_start_another_run(saved: Path) -> None:
    path = saved / "1.ckpt"
    new = ImageClassifier(["ash", "birch", "cedar"], "mobilenet_v3_small", str(path))
    state = load_classifier(path).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in new.state_dict().items())
    assert new.weights_id.startswith("1.ckpt sha256:")
    with pytest.raises(ConfigError, match="does not fit the model"):
        ImageClassifier(["a", "b"], "resnet18", str(path))


def test_what_is_no_checkpoint_is_rejected(saved: Path) -> None:
    path, good = saved / "x.ckpt", torch.load(saved / "1.ckpt", weights_only=True)
    with pytest.raises(ConfigError, match="no such file"):
        read_checkpoint(path)
    path.write_bytes(b"half")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_checkpoint(path)
    for change, words in (
        ({"hyper_parameters": {}}, "no usable checkpoint"),
        ({KEY: {"schema_version": 99}}, "another version"),
        ({KEY: 3}, "no usable checkpoint"),
        ({"state_dict": None}, "no usable checkpoint"),
        ({"state_dict": {}}, "no usable checkpoint"),
        ({"hyper_parameters": {**good["hyper_parameters"], "classes": 3}}, "no usable checkpoint"),
    ):
        torch.save({**good, **change}, path)
        with pytest.raises(ConfigError, match=words) as raised:
            load_classifier(path)
        assert len(str(raised.value).splitlines()) == 1
    torch.save([1, 2], path)
    with pytest.raises(ConfigError, match="no usable checkpoint"):
        describe_checkpoint(path)


WORTH = {
    "temperature": 1.0,
    "scores": torch.zeros(3),
    "familiarity": {
        "features": torch.zeros(2, 8),
        "names": ["a", "b"],
        "labels": [0, 1],
        "distances": torch.zeros(3),
        "share": 0.05,
    },
}


DAMAGE = pytest.mark.parametrize("value", [None, "x", [], torch.zeros(3, 3)], ids=type)


@DAMAGE
@pytest.mark.parametrize("name", [*WORTH, *WORTH["familiarity"]])
def test_a_damaged_calibration_is_rejected(tmp_path: Path, name: str, value: object) -> None:
    worth = {**WORTH, "familiarity": dict(WORTH["familiarity"])}
    checkpoint = {KEY: {"calibration": worth}}
    assert calibration_in(checkpoint, tmp_path).familiarity is not None
    (worth if name in worth else worth["familiarity"])[name] = value
    if (name, value) == ("familiarity", None):
        assert calibration_in(checkpoint, tmp_path).familiarity is None
        return
    with pytest.raises(ConfigError, match="no usable checkpoint"):
        calibration_in(checkpoint, tmp_path)


@DAMAGE
@pytest.mark.parametrize("name", ["schema_version", "device", "calibration", "precision"])
def test_damaged_metadata_are_rejected(saved: Path, name: str, value: object) -> None:
    path, good = saved / "x.ckpt", torch.load(saved / "1.ckpt", weights_only=True)
    device = {"accelerator": "cpu", "precision": "32-true"}
    metadata = {"schema_version": SCHEMA_VERSION, "device": device}
    (device if name in device else metadata)[name] = value
    torch.save({**good, KEY: metadata}, path)
    if (name, value) == ("calibration", None):
        assert Predictor(path, "cpu").calibration is None
        return
    with pytest.raises(ConfigError, match=r"no usable checkpoint|another version|[Pp]recision"):
        Predictor(path, "cpu")


def test_a_hostile_checkpoint_names_no_file_and_no_download(saved: Path) -> None:
    path, good = saved / "x.ckpt", torch.load(saved / "1.ckpt", weights_only=True)
    hparams = {**good["hyper_parameters"], "weights": "/etc/passwd", "unknown": 1}
    torch.save({**good, "hyper_parameters": hparams}, path)
    assert load_classifier(path).weights_id == "from somewhere"


def test_a_disk_that_fills_up_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch closes what it has begun, and raises an error of that in place of the disk's."""

    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def new_file(path: Path) -> Iterator[Full]:
        yield Full()

    monkeypatch.setattr(checkpoint, "new_file", new_file)
    with pytest.raises(OSError, match="No space left on device"):
        WholeCheckpointIO().save_checkpoint({"weights": torch.zeros(9)}, tmp_path / "a.ckpt")
