"""Backbones from torchvision, all through one mechanism: the last linear layer is the head."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights

from hymenoptera.download import DownloadError, download
from hymenoptera.errors import RequestError
from hymenoptera.models.weights import read_state_dict
from hymenoptera.preprocessing import Preprocessing


@dataclass(frozen=True)
class Backbone:
    """A network without its head, and what goes with its weights.

    Attributes:
        name: torchvision's name of the architecture.
        features: (B, 3, H, W) -> (B, D).
        feature_count: D.
        head_weights: `weight` and `bias` of the head in the weights that were loaded, if any.
        weights_id: where the weights come from, for the record.
        preprocessing: what the weights expect of a picture.
    """

    name: str
    features: nn.Module
    feature_count: int
    head_weights: dict[str, Tensor]
    weights_id: str
    preprocessing: Preprocessing


def build_backbone(name: str, weights: str = "none", image_size: int | None = None) -> Backbone:
    """Build a torchvision classifier, load its weights, and take off its head.

    Args:
        name: architecture, as `torchvision.models.get_model` knows it.
        weights: "imagenet" (torchvision's default entry, downloaded once), "none" (torchvision's
            initialisation, from torch's global generator), or a state dict's file.
        image_size: input side in pixels; None for what the weights were trained with.

    Raises:
        RequestError: the weights cannot be had, read or loaded, or the network cannot take
            pictures of that size.
    """
    entry = get_model_weights(name).DEFAULT
    preprocessing = _preprocessing(entry, image_size)
    network = get_model(name, weights=None)
    size_px = getattr(network, "image_size", preprocessing.crop_px)  # of a vision transformer
    if preprocessing.crop_px != size_px:
        raise RequestError(
            f"model.image_size={image_size}: {name} takes {size_px} px pictures only. "
            f"Leave model.image_size out, or choose a convolutional model."
        )
    head_name, head = find_head(network)
    match weights:
        case "none":
            state, weights_id = None, "none"
        case "imagenet":
            state, weights_id = _official_weights(name, entry), str(entry)
        case _:
            path = Path(weights).expanduser()
            state, weights_id = read_state_dict(path)
    head_weights = _load(network, state, head_name, weights) if state is not None else {}
    network.set_submodule(head_name, nn.Identity())
    return Backbone(name, network, head.in_features, head_weights, weights_id, preprocessing)


def _preprocessing(entry: WeightsEnum, image_size: int | None) -> Preprocessing:
    # torchvision's entries carry transforms.ImageClassification with these facts
    facts: Any = entry.transforms()
    found = Preprocessing(
        resize_px=facts.resize_size[0],
        crop_px=facts.crop_size[0],
        mean=tuple(facts.mean),
        std=tuple(facts.std),
        interpolation=facts.interpolation.value,
    )
    return found if image_size is None else found.resized(image_size)


def find_head(network: nn.Module) -> tuple[str, nn.Linear]:
    """The last linear layer of a torchvision classifier, and its name in it."""
    layers = [(n, m) for n, m in network.named_modules() if type(m) is nn.Linear]
    return layers[-1]


def _official_weights(name: str, entry: WeightsEnum) -> dict[str, Tensor]:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / entry.url.rsplit("/", 1)[1]
    if not path.is_file():
        sha256_prefix = path.stem.rsplit("-", 1)[1]  # part of the file's name by convention
        try:
            download(entry.url, path, sha256_prefix=sha256_prefix)
        except DownloadError as error:
            raise RequestError(
                f"{error}\nThe ImageNet weights of {name} can be put by hand at {path}, or "
                f"anywhere with model.weights=FILE (or HYMENOPTERA_WEIGHTS=FILE); "
                f"model.weights=none trains without."
            ) from error
    return read_state_dict(path)[0]


def _load(
    network: nn.Module, state: dict[str, Tensor], head_name: str, source: str
) -> dict[str, Tensor]:
    """Load everything but the head, which is returned: its size need not fit."""
    head_keys = {f"{head_name}.weight": "weight", f"{head_name}.bias": "bias"}
    head_weights = {head_keys[key]: state[key] for key in head_keys if key in state}
    expected = {k: v.shape for k, v in network.state_dict().items() if k not in head_keys}
    given = {k: v.shape for k, v in state.items() if k not in head_keys}
    missing = [k for k in expected if k not in given]
    strange = [k for k in given if k not in expected]
    shapes = [k for k in expected if k in given and expected[k] != given[k]]
    if missing or strange or shapes:
        faults = [
            f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for what, keys in (
                ("keys are missing", missing),
                ("keys are not the model's", strange),
                ("tensors have another shape", shapes),
            )
            if keys
        ]
        raise RequestError(
            f"model.weights={source} does not fit the model: {'; '.join(faults)}. "
            f"Choose the model that the weights were trained for with model=NAME."
        )
    network.load_state_dict({k: v for k, v in state.items() if k not in head_keys}, strict=False)
    return head_weights
