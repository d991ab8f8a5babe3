"""A classifier as a file that other programs run: written, compared, and a program to use it."""

import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from hymenoptera.data.preprocessing import MAX_ASPECT
from hymenoptera.errors import ConfigError, RunError, first_cause, in_one_line
from hymenoptera.files import new_file
from hymenoptera.models.backbones import TIMM, build_network, network_options
from hymenoptera.models.calibration import Calibration
from hymenoptera.models.classifier import ImageClassifier

ExportFormat = Literal["onnx", "pt2", "safetensors"]
KEY = "hymenoptera"  # of the metadata in a file
COVERAGES = (0.8, 0.9, 0.95, 0.99)  # for which a file has the least probability
LARGEST_DIFFERENCE = 1e-4  # between a logit of the file and one of the classifier

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Format:
    """A format that a classifier can be exported to."""

    suffix: str
    write: Callable[[ImageClassifier, Tensor, str, Path], None]  # example images, JSON, file
    load: Callable[[Path], Logits]  # by the format's own runtime
    packages: tuple[str, ...] = ()


def export(
    classifier: ImageClassifier,
    form: ExportFormat,
    path: Path,
    images: Tensor,
    calibration: Calibration | None = None,
) -> float:
    """Write a classifier in another format, if the file computes what the classifier does.

    The file takes images (B, 3, H, W) float32, normalised, of any number B, and gives logits
    (B, C). Its metadata has, under "hymenoptera", the result of `export_metadata` as JSON.

    Args:
        classifier: in eval mode, on the CPU.
        form: which format.
        path: where the file goes, if it is as good.
        images: (N, 3, H, W) float32, normalised, of N >= 2 real images, to compare on.
        calibration: of the checkpoint, for the metadata.

    Returns:
        The largest difference of a logit.

    Raises:
        ConfigError: the format needs packages that are not installed, or cannot hold this network.
        RunError: the file differs by more than LARGEST_DIFFERENCE.
    """
    check_packages(form)
    chosen = FORMATS[form]
    metadata = json.dumps(export_metadata(classifier, calibration), ensure_ascii=False)
    with tempfile.TemporaryDirectory(prefix="export") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about themselves
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        written = Path(folder) / f"model{chosen.suffix}"
        try:
            chosen.write(classifier, images[:2], metadata, written)
            logits_of = chosen.load(written)
        except Exception as error:  # writers raise what they like about a network
            reason = in_one_line(first_cause(error)).rstrip(".")
            raise ConfigError(
                f"{form} cannot hold this network ({reason}): take another --format."
            ) from error
        with torch.inference_mode():
            expected = classifier(images)
            found = torch.cat([logits_of(images[:1]), logits_of(images)])  # one alone, and all
        difference = float((found - torch.cat([expected[:1], expected])).abs().max())
        if not difference <= LARGEST_DIFFERENCE:  # NaN is not
            raise RunError(
                f"The {form} file computes something else than the checkpoint: its logits differ "
                f"by up to {difference:.2g}, more than {LARGEST_DIFFERENCE:g}. It was not kept."
            )
        with new_file(path) as file:
            file.write(written.read_bytes())
    return difference


def check_packages(form: ExportFormat) -> None:
    """Raise ConfigError where packages that a format needs are not installed."""
    missing = [package for package in FORMATS[form].packages if find_spec(package) is None]
    if missing:
        raise ConfigError(f"--format {form} needs {', '.join(missing)}: pip install -e '.[export]'")


def export_metadata(
    classifier: ImageClassifier, calibration: Calibration | None = None
) -> dict[str, Any]:
    """What a file says of itself: how to prepare an image, and what the logits stand for.

    `temperature` divides the logits; `least_probability` has, by coverage, the probability from
    which on a class is in the set, see `models.calibration`.
    """
    known = calibration or Calibration(1.0, torch.empty(0))
    allowed = [coverage for coverage in COVERAGES if coverage <= known.max_coverage]
    interpolation = classifier.preprocessing.interpolation.upper()
    backbone, size_px = classifier.hparams["backbone"], classifier.preprocessing.crop_px
    return {
        "backbone": backbone,
        "options": network_options(backbone, size_px) | {"num_classes": len(classifier.classes)},
        "classes": classifier.classes,
        "input": "images: (B, 3, crop_px, crop_px) float32, RGB / 255, less mean, by std",
        "output": "logits: (B, C) float32, a column a class",
        **classifier.preprocessing.to_dict(),
        "max_aspect": MAX_ASPECT,  # a longer image is cut to its middle first
        "interpolation_code": Image.Resampling[interpolation].value,  # as Pillow numbers it
        "temperature": known.temperature,
        "least_probability": {str(c): known.least_probability(c) for c in allowed},
    }


def _network(classifier: ImageClassifier) -> nn.Sequential:
    return nn.Sequential(classifier.backbone, classifier.head).eval()


def _write_onnx(classifier: ImageClassifier, images: Tensor, metadata: str, path: Path) -> None:
    with redirect_stdout(sys.stderr):  # onnxscript counts there what it has simplified
        program = torch.onnx.export(
            _network(classifier),
            (images,),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props[KEY] = metadata
    program.save(path, external_data=False)


def _load_onnx(path: Path) -> Logits:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.as_tensor(session.run(None, {"images": images.numpy()})[0])


def _write_pt2(classifier: ImageClassifier, images: Tensor, metadata: str, path: Path) -> None:
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(_network(classifier), (images,), dynamic_shapes=shapes)
    torch.export.save(program, str(path), extra_files={f"{KEY}.json": metadata})


def _load_pt2(path: Path) -> Logits:
    return torch.export.load(str(path)).module()


def _write_safetensors(
    classifier: ImageClassifier, images: Tensor, metadata: str, path: Path
) -> None:
    """As torchvision or timm names the weights, for its own network of C classes."""
    from safetensors.torch import save_file

    about = json.loads(metadata)
    _, head = build_network(about["backbone"], about["options"])
    state = {f"{head}.{name}": tensor for name, tensor in classifier.head.state_dict().items()}
    state |= classifier.backbone.state_dict()
    tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}  # not shared
    save_file(tensors, path, metadata={KEY: metadata})


def _load_safetensors(path: Path) -> Logits:
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()[KEY])
    network, _ = build_network(metadata["backbone"], metadata["options"])
    try:
        network.load_state_dict(load_file(path))
    except (RuntimeError, ValueError):  # heads of several layers, or without a bias
        name = metadata["backbone"]
        raise ConfigError(f"{name} of its own library takes other weights.") from None
    return network.eval()


FORMATS: dict[ExportFormat, Format] = {
    "onnx": Format(".onnx", _write_onnx, _load_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "pt2": Format(".pt2", _write_pt2, _load_pt2),
    "safetensors": Format(".safetensors", _write_safetensors, _load_safetensors),
}

_LOADING = {
    "onnx": """\
import onnxruntime
network = onnxruntime.InferenceSession({path!r})
about = json.loads(network.get_modelmeta().custom_metadata_map["hymenoptera"])
""",
    "pt2": """\
import torch
program = torch.export.load({path!r}, extra_files=(extra := {{"hymenoptera.json": ""}}))
network, about = program.module(), json.loads(extra["hymenoptera.json"])
""",
    "safetensors": """\
import torch, safetensors.torch as st
from {library}
about = json.loads(st.safe_open({path!r}, "pt").metadata()["hymenoptera"])
name = about["backbone"].removeprefix("timm/")
network = {function}(name, **about["options"]).eval()
network.load_state_dict(st.load_file({path!r}))
""",
}
# the same as hymenoptera.data.images.upright_rgb and Preprocessing.eval_transform
_PREPARING = """\
image = ImageOps.exif_transpose(Image.open(sys.argv[1]))
if image.mode.startswith("I"):  # 16 bit
    image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
most = about["max_aspect"] * min(image.size)
x, y = (max(0, side - most) // 2 for side in image.size)
image = image.convert("RGB").crop((x, y, x + min(most, image.width), y + min(most, image.height)))
size = [int(side * about["resize_px"] / min(image.size)) for side in image.size]
x, y, crop = *(round((side - about["crop_px"]) / 2) for side in size), about["crop_px"]
pixels = image.resize(size, about["interpolation_code"]).crop((x, y, x + crop, y + crop))
images = ((np.array(pixels) / 255 - about["mean"]) / about["std"]).transpose(2, 0, 1)[None]
"""


def snippet(form: ExportFormat, path: Path, backbone: str = "") -> str:
    """A program that prints the probabilities of the image it is given, and its set by coverage.

    Args:
        form: the file's format.
        path: the file, as the program will name it.
        backbone: the network's name, which says whose it is.
    """
    names = {"library": "torchvision.models import get_model", "function": "get_model"}
    if backbone.startswith(TIMM):
        names = {"library": "timm import create_model", "function": "create_model"}
    computing = "network(torch.tensor(images).float())[0].detach().numpy()"
    if form == "onnx":
        computing = 'network.run(None, {"images": np.float32(images)})[0][0]'
    return (
        "import json, sys, numpy as np\nfrom PIL import Image, ImageOps\n"
        f"{_LOADING[form].format(path=str(path), **names)}{_PREPARING}logits = {computing}\n"
        'weights = np.exp((np.float64(logits) - np.max(logits)) / about["temperature"])\n'
        'p = dict(zip(about["classes"], (weights / weights.sum()).tolist()))\n'
        'sets = {c: [k for k in p if p[k] >= q] for c, q in about["least_probability"].items()}\n'
        'print(p, sets, sep="\\n")'
    )
