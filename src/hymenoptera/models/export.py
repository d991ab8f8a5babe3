"""A classifier as a file that other programs run: written, loaded by its own runtime, compared."""

import json
import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import get_model

from hymenoptera.errors import RequestError, RunError
from hymenoptera.models.backbone import find_head
from hymenoptera.models.checkpoint import LoadedCheckpoint
from hymenoptera.models.classifier import Classifier

ExportFormat = Literal["onnx", "torchscript", "pt2", "safetensors"]
KEY = "hymenoptera"  # of the facts in a file's metadata
LARGEST_DIFFERENCE = 1e-4  # between a logit of the file and one of the classifier

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Format:
    """A format.

    Attributes:
        suffix: of its files.
        write: (classifier, example images, facts as JSON, path).
        load: from a path to what computes logits, by the format's own runtime.
        packages: that must be there.
    """

    suffix: str
    write: Callable[[Classifier, Tensor, str, Path], None]
    load: Callable[[Path], Logits]
    packages: tuple[str, ...] = ()


def export(checkpoint: LoadedCheckpoint, form: ExportFormat, path: Path, images: Tensor) -> float:
    """Write a classifier in another format, if the file computes what the classifier does.

    The file takes images (B, 3, H, W) float32, normalised, of any number B, and gives logits
    (B, C). Its metadata has, under "hymenoptera", the facts of `export_facts` as JSON.

    Args:
        checkpoint: what is exported.
        form: which format.
        path: where the file goes; there is none where this raises.
        images: (N, 3, H, W) float32, normalised, of N >= 2 real pictures, to compare on.

    Returns:
        The largest difference of a logit.

    Raises:
        RequestError: the format needs packages that are not installed.
        RunError: the file differs by more than LARGEST_DIFFERENCE.
    """
    check_packages(form)
    chosen = FORMATS[form]
    facts = json.dumps(export_facts(checkpoint), ensure_ascii=False)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export") as folder:
        made = Path(folder) / path.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporters, about themselves
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            chosen.write(checkpoint.classifier, images[:2], facts, made)
            difference = largest_difference(checkpoint.classifier, chosen.load(made), images)
        if not difference <= LARGEST_DIFFERENCE:  # so that NaN is refused too
            raise RunError(
                f"The {form} file computes something else than the checkpoint: its logits differ "
                f"by up to {difference:.2g}, more than {LARGEST_DIFFERENCE:g}. It was not kept."
            )
        made.replace(path)
    return difference


def check_packages(form: ExportFormat) -> None:
    """Refuse a format whose packages are not installed.

    Raises:
        RequestError: naming them, and the extra that brings them.
    """
    missing = [package for package in FORMATS[form].packages if find_spec(package) is None]
    if missing:
        raise RequestError(
            f"--format {form} needs {', '.join(missing)}: pip install -e '.[export]'"
        )


def largest_difference(classifier: Classifier, logits_of: Logits, images: Tensor) -> float:
    """Between logits of a classifier and of a file, over all pictures at once and a single one."""
    with torch.inference_mode():
        expected = classifier(images)
    alone, together = logits_of(images[:1]), logits_of(images)
    return max(float((alone - expected[:1]).abs().max()), float((together - expected).abs().max()))


def export_facts(checkpoint: LoadedCheckpoint) -> dict[str, Any]:
    """What a file says of itself: how to prepare a picture, and what the logits stand for."""
    interpolation = checkpoint.preprocessing.interpolation.upper()
    return {
        "backbone": checkpoint.classifier.backbone_name,
        "classes": checkpoint.classes,
        "input": "images: (B, 3, crop_px, crop_px) float32, RGB / 255, less mean, by std",
        "output": "logits: (B, C) float32, a column a class",
        **checkpoint.preprocessing.to_dict(),
        "interpolation_code": Image.Resampling[interpolation].value,  # as Pillow numbers it
    }


def _write_onnx(classifier: Classifier, images: Tensor, facts: str, path: Path) -> None:
    program = torch.onnx.export(
        classifier,
        (images,),
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props[KEY] = facts
    program.save(path, external_data=False)


def _load_onnx(path: Path) -> Logits:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(
        np.asarray(session.run(None, {"images": images.numpy()})[0])
    )


def _write_torchscript(classifier: Classifier, images: Tensor, facts: str, path: Path) -> None:
    with torch.inference_mode():
        traced = torch.jit.trace(classifier, images)  # type: ignore[no-untyped-call]
    torch.jit.save(traced, str(path), _extra_files={f"{KEY}.json": facts})


def _load_torchscript(path: Path) -> Logits:
    return _computing(torch.jit.load(str(path)))  # type: ignore[no-untyped-call]


def _write_pt2(classifier: Classifier, images: Tensor, facts: str, path: Path) -> None:
    program = torch.export.export(
        classifier, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, str(path), extra_files={f"{KEY}.json": facts})


def _write_safetensors(classifier: Classifier, images: Tensor, facts: str, path: Path) -> None:
    """As torchvision names the weights, for `get_model(backbone, num_classes=C)`."""
    from safetensors.torch import save_file

    network = get_model(classifier.backbone_name, num_classes=len(classifier.classes))
    head = find_head(network)[0]
    state = {f"{head}.{name}": tensor for name, tensor in classifier.head.state_dict().items()}
    state |= classifier.backbone.state_dict()
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(tensors, path, metadata={KEY: facts})


def _load_safetensors(path: Path) -> Logits:
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()[KEY])
    network = get_model(facts["backbone"], num_classes=len(facts["classes"]))
    network.load_state_dict(load_file(path))
    return _computing(network.eval())


def _computing(network: nn.Module) -> Logits:
    def logits_of(images: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = network(images)
        return logits

    return logits_of


FORMATS: dict[ExportFormat, _Format] = {
    "onnx": _Format(".onnx", _write_onnx, _load_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "torchscript": _Format(".pt", _write_torchscript, _load_torchscript),
    "pt2": _Format(
        ".pt2", _write_pt2, lambda path: _computing(torch.export.load(str(path)).module())
    ),
    "safetensors": _Format(".safetensors", _write_safetensors, _load_safetensors),
}
