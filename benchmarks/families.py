"""What of this project works with which family of networks.

python benchmarks/families.py [--only NAME,NAME] checks a small network of each, with random
weights, and writes the table of docs/backbones.md; with --only it prints rows and writes nothing.
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hymenoptera.errors import HymenopteraError
from hymenoptera.models import ImageClassifier
from hymenoptera.models.checkpoint import classifier_from
from hymenoptera.models.export import export
from hymenoptera.models.grad_cam import GradCam
from hymenoptera.models.inference import InferenceNetwork
from hymenoptera.models.stages import find_stages

CLASSES = ["ash", "birch", "cedar"]
# name: input side in px, None for what the weights were trained with
FAMILIES: dict[str, int | None] = {
    "resnet18": 64,
    "convnext_tiny": 64,
    "vit_b_32": None,
    "swin_t": 64,
    "efficientnet_b0": 64,
    "mobilenet_v3_small": 64,
    "regnet_y_400mf": 64,
    "vgg11_bn": 32,
    "densenet121": 64,
    "maxvit_t": None,
    "shufflenet_v2_x0_5": 64,
    "mnasnet0_5": 64,
    "googlenet": 64,
    "timm/convnextv2_atto": 64,
    "timm/vit_tiny_patch16_224": 64,
    "timm/eva02_tiny_patch14_224": 56,
    "timm/vit_small_patch14_reg4_dinov2": 56,
    "timm/mobilenetv4_conv_small": 64,
    "timm/hiera_tiny_224": None,
    "timm/swin_tiny_patch4_window7_224": None,
    "timm/efficientformer_l1": None,
    "timm/levit_128s": None,
    "timm/mixer_s32_224": None,
    "timm/resnet10t": 64,
}
MORE: dict[str, int | None] = {  # slow on a CPU
    "alexnet": 64,
    "resnext50_32x4d": 64,
    "swin_v2_t": 64,
    "efficientnet_v2_s": 64,
    "timm/caformer_s18": 64,
    "timm/mvitv2_tiny": None,
    "timm/fastvit_t8": 64,
    "timm/edgenext_xx_small": 64,
    "timm/repvgg_a0": 64,
    "timm/nfnet_f0": 64,
    "timm/ghostnet_100": 64,
    "timm/xcit_nano_12_p16_224": None,
    "timm/pvt_v2_b0": 64,
    "timm/poolformer_s12": 64,
    "timm/davit_tiny": 64,
    "timm/coatnet_nano_rw_224": None,
    "timm/tiny_vit_5m_224": None,
}


def build(name: str, size_px: int | None, **options: Any) -> ImageClassifier:
    """A classifier of random weights whose batch norms have seen something."""
    torch.manual_seed(0)
    classifier = ImageClassifier(CLASSES, name, "none", size_px, **options)
    for layer in classifier.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return classifier.eval()


def noise(classifier: ImageClassifier, count: int = 2) -> torch.Tensor:
    """(N, 3, H, W)."""
    side, generator = classifier.preprocessing.crop_px, torch.Generator().manual_seed(0)
    return torch.randn(count, 3, side, side, generator=generator)


def check_stages(name: str, size_px: int | None) -> str:
    """Every parameter is in one stage; how many stages there are."""
    classifier = build(name, size_px)
    stages = find_stages(classifier.backbone, classifier.preprocessing.crop_px)
    parameters = [parameter for stage in stages for parameter in stage.parameters]
    assert sorted(parameters) == sorted(n for n, _ in classifier.backbone.named_parameters())
    return str(len(stages))


def check_freezing(name: str, size_px: int | None) -> str:
    """A step trains the last stage and the head, and leaves the rest as it was, to the bit."""
    classifier = build(name, size_px, unfreeze_epochs=[1])
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    batch = TensorDataset(noise(classifier), torch.tensor([0, 1]))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, enable_model_summary=False, log_every_n_steps=1, **quiet
    )
    trainer.fit(classifier, DataLoader(batch, batch_size=2))
    changed = {k for k, v in classifier.state_dict().items() if not torch.equal(v, before[k])}
    stages = find_stages(classifier.backbone, classifier.preprocessing.crop_px)
    last = tuple(f"backbone.{module}." for module in stages[-1].modules)
    allowed = {f"backbone.{parameter}" for parameter in stages[-1].parameters}
    extra = {k for k in changed - allowed if not k.startswith((*last, "head.", "_"))}
    assert not extra, sorted(extra)[:3]
    assert changed & allowed
    return "yes"


def check_inference(name: str, size_px: int | None) -> str:
    """The network for inference gives what the network does, and so do cached features."""
    classifier = build(name, size_px)
    images = noise(classifier)
    with torch.inference_mode():
        expected = classifier.features(images)
        found = InferenceNetwork(classifier.backbone)(images)
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
        torch.testing.assert_close(classifier(found), classifier(images), atol=1e-5, rtol=1e-4)
    norms, left = (
        sum("BatchNorm" in type(layer).__name__ for layer in network.modules())
        for network in (classifier.backbone, InferenceNetwork(classifier.backbone))
    )
    return f"yes, {norms - left} of {norms} folded" if norms else "yes"


def check_rebuilding(name: str, size_px: int | None) -> str:
    """A checkpoint alone gives the classifier; a file of its weights fits the same network."""
    classifier = build(name, size_px)
    images = noise(classifier)
    hparams = dict(classifier.hparams)
    state = classifier.state_dict()
    again = classifier_from({"hyper_parameters": hparams, "state_dict": state}, Path("it"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(classifier.state_dict(), path)
        loaded = ImageClassifier(CLASSES, name, str(path), size_px).eval()
    with torch.inference_mode():
        for other in (again, loaded):
            torch.testing.assert_close(other(images), classifier(images))
    return "yes"


def check_grad_cam(name: str, size_px: int | None) -> str:
    """A heat map of the right size; the layer that it is taken from."""
    classifier = build(name, size_px)
    cam = GradCam(classifier)
    images = noise(classifier)
    heats = [cam(images, torch.tensor([0, 1]))]
    classifier.head.weight.data *= -1  # what spoke against a class speaks for it
    heats.append(cam(images, torch.tensor([0, 1])))
    assert heats[0].shape == images[:, 0].shape
    assert max(heat.amax() for heat in heats) == 1
    return cam.layer_name.removeprefix("backbone.")


def check_export(form: Any) -> Callable[[str, int | None], str]:
    """An export that its own runtime loads, and that computes the same."""

    def check(name: str, size_px: int | None) -> str:
        classifier = build(name, size_px)
        with tempfile.TemporaryDirectory() as folder:
            export(classifier, form, Path(folder) / "model", noise(classifier, 3))
        return "yes"

    return check


CHECKS: dict[str, Callable[[str, int | None], str]] = {
    "stages": check_stages,
    "frozen to the bit": check_freezing,
    "folded, cached": check_inference,
    "rebuilt": check_rebuilding,
    "Grad-CAM layer": check_grad_cam,
    "onnx": check_export("onnx"),
    "pt2": check_export("pt2"),
    "safetensors": check_export("safetensors"),
}


def main() -> None:
    """Print a row of a Markdown table for each network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="NAME,NAME", help="networks of the table")
    only = parser.parse_args().only
    networks = FAMILIES | MORE
    names = only.split(",") if only else list(networks)
    if unknown := [name for name in names if name not in networks]:
        parser.error(f"not in the table: {', '.join(unknown)}")
    warnings.simplefilter("ignore")
    rows = [["network", *CHECKS], ["---"] * (len(CHECKS) + 1)]
    for name in names:
        size_px = networks[name]
        cells = []
        for check in CHECKS.values():
            try:
                cells.append(check(name, size_px))
            except HymenopteraError as error:
                cells.append(f"no: {str(error).partition('(')[2].partition(')')[0] or error}")
            except Exception as error:  # a table of what works has what does not
                cells.append(f"no ({type(error).__name__})")
        rows.append([name, *cells])
        print(" | ".join(rows[-1]), flush=True)
    if only:
        return
    page = Path(__file__).parent.parent / "docs" / "backbones.md"
    begin, end = "<!-- families -->\n", "<!-- end of families -->"
    before, _, rest = page.read_text().partition(begin)
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    page.write_text(before + begin + table + end + rest.partition(end)[2])


if __name__ == "__main__":
    main()
