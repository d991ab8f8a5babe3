"""Images and checkpoints from elsewhere: no code in them runs, and none is half understood."""

import io
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from hymenoptera.data.images import fault, read_image
from hymenoptera.errors import ConfigError, RunError
from hymenoptera.models.checkpoint import KEY, describe_checkpoint, load_classifier
from hymenoptera.models.weights import read_state_dict

RAMP = np.linspace(0, 255, 48 * 40).reshape(40, 48)  # (H, W), dark to light
RGB = Image.fromarray(np.stack([RAMP, RAMP, RAMP], axis=2).astype("uint8"))
SIXTEEN = Image.fromarray((RAMP * 257).astype("uint16"))


def saved(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


UNREAD = {
    "truncated JPEG": (saved(RGB, "JPEG")[:-60], "truncated"),
    "a bomb": (saved(Image.new("1", (10_000, 10_000))), "more than 89 million"),
    "floats": (saved(Image.fromarray(RAMP.astype("float32")), "TIFF"), "floats"),
    "32-bit": (saved(Image.fromarray((RAMP * 1e6).astype("int32")), "TIFF"), "more than 16 bit"),
}


@pytest.mark.parametrize("kind", UNREAD)
def test_images_that_cannot_be_read(tmp_path, kind):
    content, words = UNREAD[kind]
    (tmp_path / "a.png").write_bytes(content)
    assert len(str(fault(tmp_path / "a.png")).splitlines()) == 1
    with pytest.raises(RunError, match=words):
        read_image(tmp_path / "a.png")


READERS = (load_classifier, describe_checkpoint, read_state_dict)
TINY = {
    "hyper_parameters": {"classes": ["a", "b"], "backbone": "resnet18", "weights_id": "w"},
    "state_dict": {"head.weight": torch.zeros(2, 2)},
    **{KEY: {"schema_version": 2}, "epoch": 1, "global_step": 1},
}


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def cannot_be_read(path):
    for read in READERS:
        with pytest.raises(ConfigError, match="cannot be read"):
            read(path)


def test_a_pickle_that_would_run_code_does_not(tmp_path, tried):
    ran, path = tmp_path / "ran", tmp_path / "trap.ckpt"
    path.write_bytes(pickle.dumps(Trap(ran)))  # bare, as old files of torch are
    cannot_be_read(path)
    for key in TINY:
        torch.save({**TINY, key: [TINY[key], Trap(ran)]}, path)
        cannot_be_read(path)
    assert not ran.exists()
    torch.load(path, weights_only=False)  # the trap would have worked
    assert ran.exists()
    tried(1 + len(TINY))


def test_a_checkpoint_cut_anywhere(tmp_path, tried):
    path = tmp_path / "cut.ckpt"
    torch.save(TINY, path)
    whole = path.read_bytes()
    cuts = range(0, len(whole), 20)
    for cut in cuts:
        path.write_bytes(whole[:cut])
        cannot_be_read(path)
    tried(len(cuts))


@pytest.mark.torture
def test_a_config_inside_a_checkpoint_names_no_class_of_its_own(
    tmp_path, finished_run, hymenoptera
):
    checkpoint = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint[KEY]["config"]["data"] = {
        "_target_": "hymenoptera.reports.record.subprocess.check_call",
        "args": ["mkdir", str(tmp_path / "ran")],
    }
    torch.save(checkpoint, tmp_path / "evil.ckpt")
    ended = hymenoptera("evaluate", str(tmp_path / "evil.ckpt"))
    assert ended.status == 2
    assert "may name only these" in ended.err
    assert not (tmp_path / "ran").exists()
