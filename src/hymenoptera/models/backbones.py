"""Backbones from torchvision, all built in one way: the last linear layer is the head."""

from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights, list_models

from hymenoptera.data.preprocessing import Preprocessing
from hymenoptera.errors import ConfigError, in_one_line, nearest
from hymenoptera.files import lock
from hymenoptera.models.weights import read_state_dict


@dataclass(frozen=True)
class Backbone:
    """A network without its head, and what goes with its weights.

    Attributes:
        network: (B, 3, H, W) -> (B, D).
        feature_count: D.
        head_weights: `weight` and `bias` of the head in the weights that were loaded, if any.
        weights_id: where the weights come from, for the record.
        preprocessing: what the weights expect of an image.
    """

    network: nn.Module
    feature_count: int
    head_weights: dict[str, Tensor]
    weights_id: str
    preprocessing: Preprocessing


def build_backbone(
    name: str, weights: str | None = "none", image_size: int | None = None
) -> Backbone:
    """Build a torchvision classifier, load its weights, and take off its head.

    Args:
        name: architecture, as `torchvision.models.get_model` knows it.
        weights: "imagenet" (torchvision's default entry, downloaded once), "none" (torchvision's
            initialisation, from torch's global generator), or a file, see `read_state_dict`. None
            for weights that are loaded afterwards: until then they are whatever is in memory.
        image_size: input side in pixels; None for what the weights were trained with.

    Raises:
        ConfigError: there is no such architecture, the weights cannot be downloaded, read or
            loaded, or the network cannot take images of that size.
    """
    known = list_models(module=torchvision.models)
    if name not in known:
        hint = nearest(name, known)
        raise ConfigError(f"model.backbone={name}: torchvision has none. {hint}".strip())
    entry = get_model_weights(name).DEFAULT
    with torch.device("cpu" if weights else "meta"):
        network = get_model(name, weights=None)
    if weights is None:  # drawing random weights takes up to seconds
        network.to_empty(device="cpu")
    preset: Any = entry.transforms()  # torchvision's ImageClassification
    preprocessing = Preprocessing(
        resize_px=preset.resize_size[0],
        crop_px=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
    if image_size is not None:
        preprocessing = preprocessing.resized(image_size)
    size_px = getattr(network, "image_size", preprocessing.crop_px)  # of a vision transformer
    if preprocessing.crop_px != size_px:
        raise ConfigError(
            f"model.image_size={image_size}: {name} takes {size_px} px images only. "
            f"Leave model.image_size out, or choose a convolutional model."
        )
    head_name, head = find_head(network)
    weights_id, state = "none", None
    if weights == "imagenet":
        weights_id, state = str(entry), _official_weights(name, entry)
    elif weights not in (None, "none"):
        state, weights_id = read_state_dict(Path(weights).expanduser())
    head_weights = {} if state is None else _load(network, state, head_name, str(weights))
    network.set_submodule(head_name, nn.Identity())
    return Backbone(network, head.in_features, head_weights, weights_id, preprocessing)


def find_head(network: nn.Module) -> tuple[str, nn.Linear]:
    """The last linear layer of a torchvision classifier, and its name in it.

    Raises:
        ConfigError: it has none.
    """
    layers = [(n, m) for n, m in network.named_modules() if type(m) is nn.Linear]
    if not layers:
        name = type(network).__name__
        raise ConfigError(f"model.backbone: {name} has no linear head to replace.")
    return layers[-1]


def _official_weights(name: str, entry: WeightsEnum) -> dict[str, Tensor]:
    path = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rsplit("/", 1)[1]
    if not path.is_file():
        sha256_prefix = path.stem.rsplit("-", 1)[1]  # part of the file's name by convention
        try:
            with lock(path):  # the processes of a run and the jobs of a sweep ask at the same time
                if not path.is_file():
                    torch.hub.download_url_to_file(entry.url, str(path), sha256_prefix)
        except (OSError, RuntimeError) as error:  # of the network, or of the file's hash
            raise ConfigError(
                f"{entry.url} cannot be downloaded: {in_one_line(error)}.\n"
                f"Put the ImageNet weights of {name} at {path}, or anywhere with "
                f"model.weights=FILE (or HYMENOPTERA_WEIGHTS=FILE);\n"
                f"model.weights=none trains without."
            ) from error
    return read_state_dict(path)[0]


def _load(
    network: nn.Module, state: dict[str, Tensor], head_name: str, source: str
) -> dict[str, Tensor]:
    """Load everything but the head, which is returned: its size need not fit."""
    if any(key.startswith("backbone.") for key in state):  # saved by this project
        renamed = {f"head.{key}": f"{head_name}.{key}" for key in ("weight", "bias")}
        state = {renamed.get(k, k.removeprefix("backbone.")): v for k, v in state.items()}
    head_keys = {f"{head_name}.weight": "weight", f"{head_name}.bias": "bias"}
    head_weights = {own: state[key] for key, own in head_keys.items() if key in state}
    own_head = {key: value for key, value in network.state_dict().items() if key in head_keys}
    try:
        network.load_state_dict(state | own_head)
    except RuntimeError as error:
        first_fault = shorten(str(error).splitlines()[1], 160)
        raise ConfigError(
            f"model.weights={source} does not fit the model: {first_fault}\n"
            f"Choose the model that the weights were trained for with model=NAME."
        ) from error
    return head_weights
