"""Where in an image a classifier's answer comes from: Grad-CAM, for any backbone."""

from collections.abc import Callable
from functools import partial
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from hymenoptera.errors import ConfigError
from hymenoptera.models.classifier import ImageClassifier


class GradCam:
    """Heat maps of a classifier in eval mode.

    Source: Selvaraju et al., "Grad-CAM", 2017, eq. 1 and 2.

    Attributes:
        layer_name: of the layer whose maps are weighted, found by `target_layer`.
    """

    def __init__(self, classifier: ImageClassifier) -> None:
        self._classifier = classifier
        self.layer_name = target_layer(classifier)

    def __call__(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The heat map of each image, for its predicted class or a given one.

        Args:
            images: (B, 3, H, W) float32, normalised as the classifier expects.
            labels: (B,) int64, the classes to explain; None for the predicted ones.

        Returns:
            (B, H, W) float32 on the CPU, from 0 to 1, the largest value of each image 1; all 0
            where nothing speaks for the class.
        """
        held: list[Tensor] = []

        def hold(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            torch.set_grad_enabled(True)  # from here on: no gradient is needed before
            held.append(output.detach().requires_grad_())
            return held[0].clone()  # what follows may change it in its place

        weights = next(self._classifier.parameters())
        hook = self._classifier.get_submodule(self.layer_name).register_forward_hook(hold)
        try:
            with torch.inference_mode(mode=False), torch.no_grad():
                features = self._classifier.backbone(images.to(weights.device, weights.dtype))
                logits = self._classifier.head(features)  # (B, C)
                wanted = logits.argmax(dim=1) if labels is None else labels.to(logits.device)
                score = logits.gather(1, wanted[:, None]).sum()
                (gradient,) = torch.autograd.grad(score, held[0])
        finally:
            hook.remove()
        maps, slopes = as_maps(held[0].detach()), as_maps(gradient)  # (B, K, h, w)
        heat = (maps * slopes.mean(dim=(2, 3), keepdim=True)).sum(dim=1, keepdim=True).relu()
        heat = nn.functional.interpolate(heat.float(), images.shape[2:], mode="bilinear")
        heat = heat.squeeze(1).cpu()
        peak = heat.amax(dim=(1, 2), keepdim=True)
        return heat / torch.where(peak > 0, peak, 1)


def target_layer(classifier: ImageClassifier) -> str:
    """The last layer of whose output more than one place has a part in the answer.

    It is found by one pass forwards and backwards. Behind the last attention of a vision
    transformer the class token alone may count: there it is the layer before it.

    Raises:
        ConfigError: the backbone has no such layer.
    """
    size_px = classifier.preprocessing.crop_px
    weights = next(classifier.parameters())
    order: list[str] = []  # of the layers as they ran
    counted: set[str] = set()

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.requires_grad and has_places(output):
                order.append(name)
                output.register_hook(partial(count, name))  # type: ignore[no-untyped-call]

        return hook

    def count(name: str, gradient: Tensor) -> None:
        if has_places(gradient) and (as_maps(gradient) != 0).any(dim=1).sum() > 1:
            counted.add(name)

    within = [n for n, m in classifier.named_modules() if "attention" in type(m).__name__.lower()]
    hooks = [
        module.register_forward_hook(look(name))
        for name, module in classifier.named_modules()
        if name.startswith("backbone.") and not name.startswith(tuple(within))
    ]
    try:
        with torch.inference_mode(mode=False), torch.enable_grad():
            noise = torch.randn(1, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
            images = noise.to(weights.device, weights.dtype).requires_grad_()
            logits = classifier.head(classifier.backbone(images))
            torch.autograd.grad(logits.max(), images)
    finally:
        for handle in hooks:
            handle.remove()
    found = [name for name in order if name in counted]
    if not found:
        raise ConfigError(f"{classifier.hparams['backbone']} has no layer for Grad-CAM.")
    return found[-1]


def has_places(output: Tensor) -> bool:
    """Whether a layer's output is maps or tokens of several places."""
    if output.ndim == 4:
        return output.shape[2] > 1 and output.shape[2] in (output.shape[1], output.shape[3])
    return output.ndim == 3 and output.shape[1] > 1


def as_maps(output: Tensor) -> Tensor:
    """(B, K, h, w) of (B, K, h, w), (B, h, w, K), or (B, P + h * w, K) tokens, P without place."""
    if output.ndim == 3:
        side = isqrt(output.shape[1])
        output = output[:, -side * side :].reshape(len(output), side, side, -1)
    elif output.shape[2] == output.shape[3]:
        return output
    return output.permute(0, 3, 1, 2)
