"""Backbones from torchvision and timm: a network, its linear head taken off, and its weights."""

from collections import OrderedDict
from dataclasses import dataclass
from math import floor
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

TIMM = "timm/"  # begins the names of timm's networks
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # heads that Inceptions were once trained with


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
    """Build a classifier of torchvision or timm, load its weights, and take off its head.

    Args:
        name: as `torchvision.models.get_model` knows it; or "timm/" and timm's name, with or
            without the tag of its weights: "timm/vit_small_patch14_dinov2.lvd142m".
        weights: "imagenet" (the library's default or tagged weights, downloaded once), "none" (the
            library's initialisation, from torch's global generator), or a file, see
            `read_state_dict`. None for weights that are loaded afterwards: until then they are
            whatever is in memory.
        image_size: input side in pixels; None for what the weights were trained with.

    Raises:
        ConfigError: there is no such architecture, timm is not installed, the weights cannot be
            downloaded, read or loaded, or the network cannot take images of that size.
    """
    if name.startswith(TIMM):
        return _from_timm(name, weights, image_size)
    check_name(name)
    entry = get_model_weights(name).DEFAULT
    preset: Any = entry.transforms()  # torchvision's ImageClassification
    preprocessing = Preprocessing(
        resize_px=preset.resize_size[0],
        crop_px=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
    network = _torchvision_network(name, preprocessing.crop_px, is_drawn=weights is not None)
    if image_size is not None:
        preprocessing = preprocessing.resized(image_size)
    size_px = getattr(network, "image_size", preprocessing.crop_px)  # of a vision transformer
    if preprocessing.crop_px != size_px:
        raise ConfigError(
            f"model.image_size={image_size}: {name} takes {size_px} px images only. "
            f"Leave model.image_size out, or choose a convolutional model."
        )
    head_name, head = find_head(network, name)
    weights_id, state = "none", None
    if weights == "imagenet":
        weights_id, state = str(entry), _official_weights(name, entry)
    elif weights not in (None, "none"):
        state, weights_id = read_state_dict(Path(weights).expanduser())
    network.set_submodule(head_name, nn.Identity())
    head_weights = {} if state is None else _load(network, state, head_name, str(weights))
    return Backbone(network, head.in_features, head_weights, weights_id, preprocessing)


def build_network(name: str, options: dict[str, Any]) -> tuple[nn.Module, str]:
    """The library's own network with a head, of random weights, and the head's name in it.

    Raises:
        ConfigError: it has no linear head, or more than one.
    """
    if name.startswith(TIMM):
        network = timm_library().create_model(name.removeprefix(TIMM), **options)
        linear = [n for n, m in network.named_modules() if isinstance(m, nn.Linear)]
        if (head_name := network.pretrained_cfg.get("classifier")) not in linear:
            raise ConfigError(f"{name} has no single linear head.")
        return network, head_name
    network = get_model(name, **options)
    return network, find_head(network, name)[0]


def network_options(name: str, size_px: int | None) -> dict[str, Any]:
    """What the library's own function is given to build a network for images of some size."""
    if name in ("googlenet", "inception_v3"):  # as its weights were trained
        return {"aux_logits": False, "transform_input": True, "init_weights": True}
    if name.startswith(TIMM) and size_px:
        config = timm_library().get_pretrained_cfg(name.removeprefix(TIMM))
        return {"img_size": size_px} if config is not None and config.fixed_input_size else {}
    return {"image_size": size_px} if name.startswith("vit_") and size_px else {}


def check_name(name: str) -> None:
    """Raise ConfigError where neither library has a network of that name."""
    where, own, tags, tag = "torchvision", name, [""], ""
    if name.startswith(TIMM):
        where, (own, _, tag) = "timm", name.removeprefix(TIMM).partition(".")
        known = timm_library().list_models()
        tags += [one.partition(".")[2] for one in timm_library().list_pretrained(f"{own}.*")]
    else:
        known = list_models(module=torchvision.models)
    if own not in known:
        hint = nearest(own, known)
        raise ConfigError(f"model.backbone={name}: {where} has none. {hint}".strip())
    if tag not in tags:
        hint = nearest(tag, tags)
        raise ConfigError(f"model.backbone={name}: timm has no such weights. {hint}".strip())


def timm_library() -> Any:
    """The module `timm`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise ConfigError(
            "model.backbone=timm/... needs the extra timm: pip install 'hymenoptera[timm]'."
        ) from error
    return timm


def find_head(network: nn.Module, name: str) -> tuple[str, nn.Linear]:
    """The last linear layer of a torchvision classifier, and its name in it.

    Raises:
        ConfigError: it has none.
    """
    layers = [(n, m) for n, m in network.named_modules() if type(m) is nn.Linear]
    if not layers:
        raise ConfigError(f"model.backbone={name} has no linear head to replace: take another.")
    return layers[-1]


def _torchvision_network(name: str, size_px: int, *, is_drawn: bool) -> nn.Module:
    options = network_options(name, size_px)
    if not is_drawn:  # drawing random weights takes up to seconds
        try:
            with torch.device("meta"):
                network: nn.Module = get_model(name, weights=None, **options)
            return network.to_empty(device="cpu")
        except NotImplementedError:  # a RegNet computes its widths with tensors
            pass
    return get_model(name, weights=None, **options)  # type: ignore[no-any-return]


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


def _from_timm(name: str, weights: str | None, image_size: int | None) -> Backbone:
    check_name(name)
    timm, own = timm_library(), name.removeprefix(TIMM)
    options = network_options(name, image_size) | {"num_classes": 0}
    try:
        network = timm.create_model(own, weights == "imagenet", **options)
    except Exception as error:  # the hub's client raises what it likes
        raise ConfigError(
            f"model.backbone={name} cannot be built: {in_one_line(error)}.\n"
            f"model.weights=FILE takes its weights from a file, model.weights=none has none."
        ) from error
    head_names = network.pretrained_cfg.get("classifier") or ()
    head_names = (head_names,) if isinstance(head_names, str) else tuple(head_names)
    preset = timm.data.resolve_model_data_config(network)
    crop_px = preset["input_size"][1]
    interpolation = preset["interpolation"]
    preprocessing = Preprocessing(
        resize_px=floor(crop_px / preset["crop_pct"]),
        crop_px=crop_px,
        mean=tuple(preset["mean"]),
        std=tuple(preset["std"]),
        interpolation="bilinear" if interpolation == "random" else interpolation,
    )
    if image_size is not None:
        preprocessing = preprocessing.resized(image_size)
    weights_id, head_weights = "none", dict[str, Tensor]()
    if weights == "imagenet":
        found = network.pretrained_cfg
        weights_id = f"{TIMM}{found['architecture']}.{found['tag']}".rstrip(".")
    elif weights not in (None, "none"):
        state, weights_id = read_state_dict(Path(weights).expanduser())
        head_weights = _load(network, state, head_names[0], str(weights), head_names[1:])
    feature_count = getattr(network, "head_hidden_size", None) or network.num_features
    return Backbone(network, feature_count, head_weights, weights_id, preprocessing)


def _load(
    network: nn.Module,
    state: dict[str, Tensor],
    head_name: str,
    source: str,
    ignored: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Load everything but the head, which is returned: its size need not fit."""
    if any(key.startswith("backbone.") for key in state):  # saved by this project
        renamed = {f"head.{key}": f"{head_name}.{key}" for key in ("weight", "bias")}
        state = {renamed.get(k, k.removeprefix("backbone.")): v for k, v in state.items()}
    names = network.state_dict()
    left_out = (f"{head_name}.", *(f"{name}." for name in ignored), *AUXILIARY)
    head = {k: v for k, v in state.items() if k.startswith(left_out) and k not in names}
    given: Any = OrderedDict((k, v) for k, v in state.items() if k not in head)
    given._metadata = names._metadata  # type: ignore[attr-defined] # MNASNet asks for its version
    try:
        network.load_state_dict(given)
    except RuntimeError as error:
        first_fault = shorten(str(error).splitlines()[1], 160)
        raise ConfigError(
            f"model.weights={source} does not fit the model: {first_fault}\n"
            f"Choose the model that the weights were trained for with model=NAME."
        ) from error
    own = {key: head.get(f"{head_name}.{key}") for key in ("weight", "bias")}
    return {key: tensor for key, tensor in own.items() if tensor is not None}
