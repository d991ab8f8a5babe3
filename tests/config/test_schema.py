"""The schema knows what conf/ offers and what the Trainer takes."""

import inspect
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torchvision
import yaml
from omegaconf import OmegaConf
from torchvision.models import list_models

from command_line import ROOT
from hymenoptera.config.schema import BACKBONES, OPEN_NODES, RULES, TRAINER
from hymenoptera.config.validation import check, prepare

Compose = Callable[..., Any]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


@pytest.mark.parametrize(
    "groups",
    ["data model optimizer scheduler trainer callbacks logger sweep", "transfer", "experiment"],
)
def test_every_option_of_every_group_is_valid(
    groups: str, tmp_path: Path, composed: Compose
) -> None:
    (tmp_path / "a.csv").touch()
    place = {"root": tmp_path, "path": tmp_path, "file": tmp_path / "a.csv"}
    chosen = [[f"{group}={option}" for option in options(group)] for group in groups.split()]
    for overrides in itertools.zip_longest(*chosen):
        cfg = composed(*filter(None, overrides))
        given = {key: str(place[key]) for key in place if OmegaConf.is_missing(cfg.data, key)}
        check(OmegaConf.merge(cfg, {"data": given}))


def test_every_network_of_torchvision_may_be_named() -> None:
    assert list_models(module=torchvision.models) == BACKBONES
    assert set(options("model")) <= set(BACKBONES)


@pytest.mark.parametrize("group", ["data", "model", "transfer"])
def test_every_key_has_a_rule(group: str) -> None:
    for option in options(group):
        node = yaml.safe_load((ROOT / "conf" / group / f"{option}.yaml").read_text())
        keys = {f"{group}.{key}" for key in node if key != "defaults"}
        assert keys <= {*RULES, *OPEN_NODES}, option


def test_every_option_of_the_trainer_is_known_with_its_default() -> None:
    from pytorch_lightning import Trainer

    parameters = inspect.signature(Trainer).parameters
    assert TRAINER.keys() == parameters.keys()
    for name, kind in TRAINER.items():
        default = parameters[name].default
        assert default is None or kind.fault(default) is None, name


@pytest.mark.parametrize(
    "documented",
    [
        "max_steps: 2, max_time: '00:00:01:00', max_epochs: -1, fast_dev_run: true, devices: '0,1'",
        "max_time: {minutes: 1}, max_epochs: null, fast_dev_run: 3, devices: -1, logger: false",
        "val_check_interval: 0.5, check_val_every_n_epoch: null, devices: '1'",
        "limit_train_batches: 0.5, limit_val_batches: 0, overfit_batches: 1, devices: [1]",
        "gradient_clip_val: 1.0, num_sanity_val_steps: -1, deterministic: warn, precision: bf16",
        "profiler: {_target_: pytorch_lightning.profilers.SimpleProfiler}, devices: '0,'",
        "strategy: {_target_: pytorch_lightning.strategies.DDPStrategy}, precision: 16-true",
        "plugins: {_target_: pytorch_lightning.plugins.MixedPrecision}, default_root_dir: x",
    ],
)
def test_what_the_trainer_documents_is_valid(composed: Compose, documented: str) -> None:
    check(OmegaConf.merge(composed(), {"trainer": yaml.safe_load(f"{{{documented}}}")}))


def test_the_config_comes_back_resolved_and_in_plain_containers(composed: Compose) -> None:
    config = check(composed("seed=7", "hydra.run.dir=somewhere"))
    assert config["data"]["seed"] == config["model"]["seed"] == 7
    assert config["callbacks"]["best_checkpoint"]["dirpath"] == "somewhere/checkpoints"
    assert "hydra" not in config
    assert not OmegaConf.is_config(config["data"])
    assert prepare(composed("seed=7")).data.seed == 7


def test_keys_of_a_class_of_the_users_are_the_users_affair(composed: Compose) -> None:
    model = ("model._target_=json.JSONEncoder", "model.image_size=[64, 64]", "model.mine=1")
    data = ("data._target_=json.JSONDecoder", "data.mine=1", "data.root=nowhere")
    optimizer = ("optimizer._target_=torch.optim.LBFGS", "optimizer.history_size=3")
    config = check(composed(*model, *data, *optimizer))
    assert config["model"]["mine"] == config["data"]["mine"] == 1
