"""Where in a picture a classifier's answer comes from: Grad-CAM, for any backbone."""

from typing import Any

import torch
from torch import Tensor, nn

from hymenoptera.models.classifier import Classifier


class GradCam:
    """Heat maps of a classifier.

    Source: Selvaraju et al., "Grad-CAM", 2017, eq. 1 and 2.

    Attributes:
        layer_name: of the layer whose maps are weighted, found by `target_layer`.

    Args:
        classifier: in eval mode, on its device.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.layer_name = target_layer(classifier)
        self._layer = classifier.get_submodule(self.layer_name)

    def __call__(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Heat of each picture, for its predicted class or a given one.

        Args:
            images: (B, 3, H, W) float32, normalised as the classifier expects.
            labels: (B,) int64, the classes to explain; None for the predicted ones.

        Returns:
            (B, H, W) float32 on the CPU, from 0 to 1, the hottest place of each picture 1; all 0
            where nothing speaks for the class.
        """
        weights = next(self._classifier.parameters())
        held: list[Tensor] = []

        def hold(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            torch.set_grad_enabled(True)  # from here on: nothing before it has to be known
            held.append(output.detach().requires_grad_())
            return held[0]

        hook = self._layer.register_forward_hook(hold)
        try:
            with torch.inference_mode(mode=False), torch.no_grad():
                logits = self._classifier(images.to(weights.device, weights.dtype))  # (B, C)
                wanted = logits.argmax(dim=1) if labels is None else labels.to(logits.device)
                score = logits.gather(1, wanted[:, None]).sum()
                (gradient,) = torch.autograd.grad(score, held[0])
        finally:
            hook.remove()
        maps, slopes = _as_maps(held[0].detach()), _as_maps(gradient)  # (B, K, h, w)
        heat = (maps * slopes.mean(dim=(2, 3), keepdim=True)).sum(dim=1, keepdim=True).relu()
        heat = nn.functional.interpolate(
            heat.float(), images.shape[2:], mode="bilinear", align_corners=False
        )
        heat = heat.squeeze(1).cpu()
        peak = heat.amax(dim=(1, 2), keepdim=True)
        return heat / torch.where(peak > 0, peak, 1)


def target_layer(classifier: Classifier) -> str:
    """The last layer that still has places, by one look at what each layer gives.

    In a convolutional network that is the last one whose output has more than one place. In a
    vision transformer it is the one whose tokens go into the last attention: behind it, the
    answer hangs on the class token alone.
    """
    size_px = classifier.preprocessing.crop_px
    last = before_attention = token_layer = ""
    hooks = []

    def look(name: str, module: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            nonlocal last, before_attention, token_layer
            if isinstance(module, nn.MultiheadAttention):
                before_attention = token_layer
            elif isinstance(output, Tensor) and output.ndim == 3:
                token_layer = name
            elif isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
                last = name

        return hook

    for name, module in classifier.named_modules():
        if name:
            hooks.append(module.register_forward_hook(look(name, module)))
    try:
        with torch.no_grad():
            weights = next(classifier.parameters())
            classifier(weights.new_zeros(1, 3, size_px, size_px))
    finally:
        for handle in hooks:
            handle.remove()
    return before_attention or last


def _as_maps(output: Tensor) -> Tensor:
    """(B, K, h, w) of an output that is so already, or of (B, 1 + h * w, K) tokens."""
    if output.ndim == 4:
        return output
    patches = output[:, 1:]  # less the class token
    side = round(patches.shape[1] ** 0.5)
    return patches.transpose(1, 2).reshape(len(patches), -1, side, side)
