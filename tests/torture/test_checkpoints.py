"""Checkpoints and weights from elsewhere: no code in them runs, and none is half understood."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from conftest import Ended
from hymenoptera.config import build, check
from hymenoptera.errors import RequestError
from hymenoptera.models.backbone import build_backbone
from hymenoptera.models.checkpoint import KEY, facts_inside, load_checkpoint
from hymenoptera.models.weights import read_state_dict
from test_config import composed


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def opened(finished_run: Path) -> dict[str, Any]:
    return torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)


def test_a_pickle_that_would_run_code_does_not(
    tmp_path: Path, finished_run: Path, record_property: Callable[..., None]
) -> None:
    ran = tmp_path / "ran"
    good = opened(finished_run)
    traps = {
        "a.ckpt": {**good, "trap": Trap(ran)},
        "b.ckpt": {**good, KEY: {**good[KEY], "config": Trap(ran)}},
        "c.pth": {"conv1.weight": Trap(ran)},
    }
    for name, content in traps.items():
        path = tmp_path / name
        torch.save(content, path)
        for read in (load_checkpoint, facts_inside, read_state_dict):
            with pytest.raises(RequestError, match="cannot be read"):
                read(path)
    path = tmp_path / "d.pth"
    path.write_bytes(pickle.dumps(Trap(ran)))  # a bare pickle, as old torch files are
    for read in (load_checkpoint, read_state_dict):
        with pytest.raises(RequestError, match="cannot be read"):
            read(path)
    assert not ran.exists()
    torch.load(tmp_path / "c.pth", weights_only=False)  # the trap would have worked
    assert ran.exists()
    record_property("tried", 3 * len(traps) + 2)


def test_a_checkpoint_cut_at_every_tenth(
    tmp_path: Path, finished_run: Path, record_property: Callable[..., None]
) -> None:
    whole = (finished_run / "checkpoints" / "best.ckpt").read_bytes()
    path = tmp_path / "cut.ckpt"
    for tenth in range(10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        with pytest.raises(RequestError, match="cannot be read as a checkpoint"):
            load_checkpoint(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(RequestError, match="cannot be read as a checkpoint"):
        load_checkpoint(path)
    record_property("tried", 11)


def without(facts: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in facts.items() if k != key}


SPOILT: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "a newer schema": (lambda c: {**c, KEY: {**c[KEY], "schema_version": 99}}, "newer version"),
    "a schema that is no number": (lambda c: {**c, KEY: {"schema_version": "1"}}, "not a check"),
    "another architecture": (lambda c: {**c, KEY: {**c[KEY], "backbone": "resnet34"}}, "resnet34"),
    "an unknown architecture": (lambda c: {**c, KEY: {**c[KEY], "backbone": "rm"}}, "fit together"),
    "more classes": (lambda c: {**c, KEY: {**c[KEY], "classes": ["a"] * 9}}, "not those of"),
    "no classes": (lambda c: {**c, KEY: without(c[KEY], "classes")}, "fit together"),
    "no weights": (lambda c: without(c, "state_dict"), "no weights"),
    "no epoch": (lambda c: without(c, "epoch"), "fit together"),
    "another preprocessing": (lambda c: {**c, KEY: {**c[KEY], "preprocessing": 3}}, "fit together"),
    "NaN": (
        lambda c: {
            **c,
            "state_dict": {k: v * float("nan") for k, v in c["state_dict"].items() if "conv1" in k},
        },
        "is not finite",
    ),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_checkpoint_that_does_not_fit(tmp_path: Path, finished_run: Path, kind: str) -> None:
    spoil, words = SPOILT[kind]
    path = tmp_path / "spoilt.ckpt"
    torch.save(spoil(opened(finished_run)), path)
    with pytest.raises(RequestError, match=words) as raised:
        load_checkpoint(path)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_with_nan_inside(tmp_path: Path, suffix: str) -> None:
    state = {k: v.clone() for k, v in build_backbone("resnet18").features.state_dict().items()}
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = float("inf")
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    with pytest.raises(RequestError, match=r"layer2\.0\.conv1\.weight has .* not finite"):
        read_state_dict(path)


TARGETS = (
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "hymenoptera.launch.os.system",  # os, by way of a module of the project
    "hymenoptera.results.records.subprocess.Popen",
    "hymenoptera.data.archive.unpack",
    "hymenoptera.data.datamodule.os.system",
    "hymenoptera.atomic.write_file",
    "pytorch_lightning.callbacks.os.remove",
    "pytorch_lightning.callbacks.model_checkpoint.shutil.rmtree",
    "pytorch_lightning.trainer.trainer.os.system",
    "torch.optim.adam.torch.load",
    "torch.hub.load",
    "torch.optim.lr_scheduler.math.sin",
    "torchvision.transforms.functional.to_tensor",
    "hydra.utils.get_method",
)
PLACES = ("optimizer", "data", "trainer.plugins", "callbacks.mine", "callbacks.early_stopping.more")


def test_targets_outside_the_whitelist(
    tmp_path: Path, record_property: Callable[..., None]
) -> None:
    """At any depth, as an override and as a node to be built; nothing of them runs."""
    for target in TARGETS:
        with pytest.raises(RequestError, match="may be built"):
            build({"_target_": target})
        with pytest.raises(RequestError, match="may be built"):
            build({"_target_": "torch.optim.SGD", "lr": [{"inner": {"_target_": target}}]})
        for place in PLACES if target in TARGETS[:3] else ():
            node = f"+{place}={{_target_: {target}, command: x}}"
            if place in ("optimizer", "data"):
                node = f"{place}._target_={target}"
            with pytest.raises(RequestError, match=r"may be built|cannot|no such key"):
                check(composed("model.weights=none", f"data.source={tmp_path}", node))
    record_property("tried", len(TARGETS) * 2 + 3 * len(PLACES))


def test_a_target_that_hides_in_a_run_does_not_run(
    tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str]
) -> None:
    """Hydra builds what is inside a node too: this one would have made a file."""
    trap = f"{{_target_: subprocess.check_call, args: [mkdir, {tmp_path}/ran]}}"
    ended = run_train(*tiny, f"+trainer.plugins=[{trap}]")
    assert ended.status == 2
    assert "trainer.plugins._target_=subprocess.check_call" in ended.err
    assert len(ended.err.strip().splitlines()) <= 3
    assert {p.name for p in tmp_path.iterdir()} == {"out.txt", "err.txt"}


def test_a_config_inside_a_checkpoint_names_no_class_of_its_own(
    tmp_path: Path, finished_run: Path, hymenoptera: Callable[..., Ended]
) -> None:
    checkpoint = opened(finished_run)
    checkpoint[KEY]["config"]["data"] = {
        "_target_": "hymenoptera.results.records.subprocess.check_call",
        "args": ["mkdir", str(tmp_path / "ran")],
    }
    torch.save(checkpoint, tmp_path / "evil.ckpt")
    ended = hymenoptera("evaluate", str(tmp_path / "evil.ckpt"))
    assert ended.status == 2
    assert "may be built" in ended.err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "override",
    [
        "+hydra.callbacks.mine={_target_: subprocess.check_call, args: [mkdir, ran]}",
        "hydra/launcher=joblib",
        "--config-dir=/tmp",
        "optimizer._target_=os.system",
    ],
)
def test_a_run_folder_cannot_bring_its_own_hydra(
    tmp_path: Path, finished_run: Path, run_train: Callable[..., Ended], override: str
) -> None:
    run = tmp_path / "run"
    (run / ".hydra").mkdir(parents=True)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").symlink_to(finished_run / "checkpoints" / "last.ckpt")
    kept = yaml.safe_load((finished_run / ".hydra" / "overrides.yaml").read_text())
    (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([*kept, override]))
    ended = run_train("resume=run")
    assert ended.status == 2
    assert "which no run writes there" in ended.err or "may be built" in ended.err
    assert not (tmp_path / "ran").exists()
