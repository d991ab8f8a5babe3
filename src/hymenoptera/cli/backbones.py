"""`hymenoptera backbones`: which networks there are, of torchvision and of timm."""

import warnings
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.util import find_spec
from typing import Any

import torch
import torchvision
from torchvision.models import get_model_weights, list_models

from hymenoptera.errors import ConfigError, nearest
from hymenoptera.models.backbones import TIMM, timm_library

MAX_BUILT = 60  # of timm, which says nothing of a network's size before it is built


def find_backbones(pattern: str) -> list[dict[str, Any]]:
    """The networks whose name matches a pattern, or has it in it.

    Returns:
        For each its `name`; what the library knows of `parameters_m`, millions of them,
        `input_px`, and `licence` and `source` of the weights, or None.

    Raises:
        ConfigError: there is none.
    """
    matches = [name for name in _names() if fnmatch(name, pattern) or pattern in name]
    if not matches:
        hint = nearest(pattern.strip("*"), _names())
        raise ConfigError(f"No network is called {pattern}. {hint}".strip())
    of_timm = sum(name.startswith(TIMM) for name in matches)
    return [
        _of_timm(name, build=of_timm <= MAX_BUILT)
        if name.startswith(TIMM)
        else _of_torchvision(name)
        for name in matches
    ]


def _names() -> Iterator[str]:
    yield from list_models(module=torchvision.models)
    if find_spec("timm") is not None:
        yield from (f"{TIMM}{name}" for name in timm_library().list_models())


def _of_torchvision(name: str) -> dict[str, Any]:
    weights = get_model_weights(name).DEFAULT
    return {
        "name": name,
        "parameters_m": round(weights.meta["num_params"] / 1e6, 1),
        "input_px": weights.transforms().crop_size[0],
        "licence": None,
        "source": weights.url,
    }


def _of_timm(name: str, *, build: bool) -> dict[str, Any]:
    timm, count = timm_library(), None
    own = name.removeprefix(TIMM)
    if build:
        try:
            with warnings.catch_warnings(), torch.device("meta"):
                warnings.simplefilter("ignore")
                network = timm.create_model(own)
            count = round(sum(p.numel() for p in network.parameters()) / 1e6, 1)
        except (RuntimeError, NotImplementedError):  # it computes with numbers when it is built
            pass
    config = timm.get_pretrained_cfg(own)
    source = config and (config.hf_hub_id or config.url)
    return {
        "name": name,
        "parameters_m": count,
        "input_px": config and config.input_size[1],
        "licence": config and config.license,
        "source": source or None,
    }
