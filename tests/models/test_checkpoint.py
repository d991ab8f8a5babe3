"""A checkpoint alone gives everything back."""

import errno
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from conftest import Ended
from hymenoptera.errors import RequestError
from hymenoptera.models import checkpoint as checkpoint_module
from hymenoptera.models.checkpoint import (
    KEY,
    WholeCheckpointIO,
    load_checkpoint,
    read_checkpoint,
)


def test_the_classifier_comes_back_and_predicts_what_was_recorded(
    tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str], pictures: Path
) -> None:
    assert run_train(*tiny, "hydra.run.dir=run").status == 0
    run = tmp_path / "run"
    for name in ("best", "last"):
        torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    loaded = load_checkpoint(run / "checkpoints" / "best.ckpt")
    assert loaded.classes == ["ash", "birch", "cedar"]
    assert loaded.preprocessing.crop_px == 32
    assert loaded.config["optimizer"]["lr"] == 1e-4
    assert loaded.config["data"]["root"] == str(pictures)
    rows = (run / "predictions.csv").read_text().splitlines()[1:]
    transform = loaded.preprocessing.transform()
    for row in rows[::5]:
        path, _, predicted, *shares = row.split(",")
        image = transform(Image.open(pictures / path).convert("RGB"))
        with torch.inference_mode():
            found = loaded.classifier(image[None]).softmax(dim=1)[0]
        assert found.tolist() == pytest.approx([float(share) for share in shares], abs=1e-5)
        assert loaded.classes[int(found.argmax())] == predicted


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    with pytest.raises(RequestError, match="no such checkpoint"):
        read_checkpoint(path)
    path.write_bytes(b"half")
    with pytest.raises(RequestError, match="cannot be read"):
        read_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(RequestError, match="not a checkpoint that this project wrote"):
        read_checkpoint(path)
    torch.save({KEY: {"schema_version": 99}}, path)
    with pytest.raises(RequestError, match="newer version"):
        read_checkpoint(path)


def test_a_disk_that_fills_up_in_the_middle_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch closes what it has begun, and raises an error of that in place of the disk's."""

    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def new_file(path: Path) -> Iterator[Full]:
        yield Full()

    monkeypatch.setattr(checkpoint_module, "new_file", new_file)
    with pytest.raises(OSError, match="No space left on device"):
        WholeCheckpointIO().save_checkpoint({"weights": torch.zeros(9)}, tmp_path / "a.ckpt")
