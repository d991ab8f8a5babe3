"""Nodes become objects: any importable class of the user's, and no others from a checkpoint."""

import functools
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from hymenoptera.config.instantiate import check_targets, instantiate, instantiate_named
from hymenoptera.errors import ConfigError

MODULE = """
class Model:
    def __init__(self, optimizer, hidden=3):
        self.optimizer, self.hidden = optimizer, hidden

class Broken:
    def __init__(self):
        raise ValueError("broken\\nfor a reason")

class Invalid:
    def __init__(self):
        from hymenoptera.errors import ConfigError
        raise ConfigError("No such file.")
"""


@pytest.fixture
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in a folder that is on the path."""
    (tmp_path / "my_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "my_module"


def test_a_class_of_the_users_gets_what_it_takes_and_the_rest_is_named(
    my_module: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    model = {"_target_": "my_module.Model", "backbone": "resnet18", "weights": "none", "hidden": 5}
    optimizer = {"_target_": "fractions.Fraction", "_partial_": True, "numerator": 1}
    config = OmegaConf.create({"model": {**model, "optimizer": optimizer}})
    built = instantiate(config.model, classes=["ants", "bees"])
    assert built.hidden == 5
    assert isinstance(built.optimizer, functools.partial)
    assert caplog.messages == [
        "my_module.Model does not take these keys, left out: backbone, weights"
    ]


def test_a_misspelt_option_is_no_leftover(my_module: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.hiden: Model takes no such option. Did you .*n"):
        instantiate({"_target_": "my_module.Model", "hiden": 5}, key="model")
    timer = {"_target_": "pytorch_lightning.callbacks.Timer", "duratoin": 1}
    with pytest.raises(ConfigError, match=r"callbacks\.a\.duratoin.*Did you mean duration"):
        instantiate_named({"a": timer}, "callbacks")


def test_an_option_that_the_user_has_set_is_no_leftover(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    sgd = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, "momentum": 0.9}
    lbfgs = {**sgd, "_target_": "torch.optim.LBFGS"}
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    assert instantiate(lbfgs, key="optimizer")(parameters).defaults["lr"] == 0.1
    overrides = OmegaConf.create({"hydra": {"overrides": {"task": ["++optimizer.momentum=0.9"]}}})
    monkeypatch.setattr(HydraConfig.instance(), "cfg", overrides)
    with pytest.raises(ConfigError, match=r"optimizer\.momentum: LBFGS takes no such option"):
        instantiate(lbfgs, key="optimizer")


def test_nodes_can_be_switched_off(my_module: str) -> None:
    empty = {"_target_": None, "_partial_": True}
    assert instantiate({"_target_": "my_module.Model", "optimizer": empty}).optimizer is None
    one = {"_target_": "pytorch_lightning.Callback"}
    built = instantiate_named({"a": {**one, "enabled": True}, "b": {**one, "enabled": False}})
    assert list(built) == ["a"]
    assert instantiate_named({"c": None}) == {}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("my_module.Missing", "_target_=my_module.Missing: it cannot be imported"),
        ("my_moduel.Model", "No module named"),
        ("my_module.Broken", "Broken cannot be built: ValueError: broken"),
        ("my_module.Invalid", "^No such file.$"),
    ],
)
def test_what_cannot_be_built_is_explained_in_a_line(
    my_module: str, target: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        instantiate({"_target_": target}, key="callbacks.mine")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("strategy", "dpp", "invalid strategy name"),
        ("precision", 17, "Precision 17 is invalid"),
        ("max_stepz", 1, "Did you mean max_steps"),
    ],
)
def test_what_lightning_says_of_an_option_is_passed_on(option: str, value: Any, words: str) -> None:
    trainer = {"_target_": "pytorch_lightning.Trainer", "logger": False, "log_every_n_steps": 1}
    with pytest.raises(ConfigError, match=words) as error:
        instantiate({**trainer, option: value}, "trainer")
    assert str(error.value).startswith("trainer")
    assert len(str(error.value).splitlines()) == 1


def test_a_checkpoint_may_name_classes_of_ours_and_of_lightning() -> None:
    targets = (
        *("hymenoptera.data.ImageFolderDataModule", "hymenoptera.models.ImageClassifier"),
        *("pytorch_lightning.callbacks.EarlyStopping", "torch.optim.AdamW", None),
    )
    check_targets({"a": [{"_target_": target} for target in targets]})


@pytest.mark.parametrize(
    "target",
    [
        *("os.system", "hymenoptera.files.os.system", "hymenoptera.data.datamodule.os.system"),
        *("pytorch_lightning.callbacks.os.system", "torch.optim.optimizer.Any"),
        "hymenoptera.cli.main",
    ],
)
def test_a_checkpoint_may_name_nothing_else(target: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.x\._target_="):
        check_targets(OmegaConf.create({"data": {"x": {"_target_": target}}}))
