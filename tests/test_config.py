"""The rules know every key that conf/ offers, and building stays inside the whitelist."""

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from conftest import ROOT
from hymenoptera.config import OPEN_NODES, build, build_named, check, flatten
from hymenoptera.errors import RequestError
from hymenoptera.rules import BACKBONES, RULES


def composed(*overrides: str) -> object:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", overrides=list(overrides))
    for node in (*cfg.callbacks.values(), *cfg.logger.values()):
        for key in ("dirpath", "save_dir"):
            if key in node:
                node[key] = "run"
    return cfg


def test_every_option_of_every_group_passes_its_own_check(tmp_path: Path) -> None:
    groups = [p for p in (ROOT / "conf").iterdir() if p.is_dir() and p.name != "hydra"]
    assert len(groups) == 10
    for group in groups:
        for option in group.glob("*.yaml"):
            if option.stem == "slurm":
                continue  # needs a plugin that may not be there
            override = f"{group.name}={option.stem}"
            needs_root = option.stem in ("imagefolder", "stream")
            more = [f"data.root={tmp_path}"] if needs_root else []
            check(composed(override, *more))


def test_every_key_of_data_and_model_has_a_rule(tmp_path: Path) -> None:
    for group in ("data", "model"):
        for option in (ROOT / "conf" / group).glob("*.yaml"):
            for key in yaml.safe_load(option.read_text()):
                assert f"{group}.{key}" in RULES or group in OPEN_NODES
    assert {p.stem for p in (ROOT / "conf" / "model").glob("*.yaml")} == set(BACKBONES)


def test_every_config_file_opens_with_what_it_is_for() -> None:
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert path.read_text().startswith("# "), path


def test_build_refuses_what_is_not_whitelisted() -> None:
    with pytest.raises(RequestError, match="may be built"):
        build({"_target_": "os.system", "command": "true"})


def test_build_names_a_wrong_option() -> None:
    with pytest.raises(RequestError, match="patiense"):
        build({"_target_": "pytorch_lightning.callbacks.EarlyStopping", "patiense": 1})


def test_build_named_leaves_out_what_is_off() -> None:
    node = {"_target_": "pytorch_lightning.Callback"}
    assert list(build_named({"a": node, "b": {**node, "enabled": False}, "c": None})) == ["a"]


def test_flatten_joins_keys_with_dots() -> None:
    assert flatten({"a": {"b": 1, "c": [2]}, "d": None}) == {"a.b": 1, "a.c": [2], "d": None}


def test_check_resolves_interpolations() -> None:
    config = check(composed("seed=7"))
    assert config["data"]["seed"] == 7
    assert not OmegaConf.is_config(config["data"])
