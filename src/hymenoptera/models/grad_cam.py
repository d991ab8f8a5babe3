"""Where in an image a classifier's answer comes from: Grad-CAM, for any backbone."""

from typing import Any

import torch
from torch import Tensor, nn

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
            return held[0]

        weights = next(self._classifier.parameters())
        hook = self._classifier.get_submodule(self.layer_name).register_forward_hook(hold)
        try:
            with torch.inference_mode(mode=False), torch.no_grad():
                logits = self._classifier(images.to(weights.device, weights.dtype))  # (B, C)
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
    """The last layer whose output still has places, found by one forward pass.

    In a vision transformer it is the one whose tokens go into the last attention: behind it, the
    answer depends on the class token alone.
    """
    last = before_attention = token_layer = ""

    names = {m: n for n, m in classifier.named_modules() if n.startswith("backbone.")}

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal last, before_attention, token_layer
        if isinstance(module, nn.MultiheadAttention):
            before_attention = token_layer
        elif isinstance(output, Tensor) and output.ndim == 3:
            token_layer = names[module]
        elif isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            last = names[module]

    hooks = [module.register_forward_hook(look) for module in names]
    size_px = classifier.preprocessing.crop_px
    try:
        with torch.no_grad():
            classifier(next(classifier.parameters()).new_zeros(1, 3, size_px, size_px))
    finally:
        for handle in hooks:
            handle.remove()
    return before_attention or last


def as_maps(output: Tensor) -> Tensor:
    """(B, K, h, w) of a layer's output that has this shape, or is (B, 1 + h * w, K) tokens."""
    if output.ndim == 4:
        return output
    patches = output[:, 1:].transpose(1, 2)  # (B, K, h * w), without the class token
    side = round(patches.shape[2] ** 0.5)
    return patches.reshape(*patches.shape[:2], side, side)
