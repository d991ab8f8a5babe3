"""`hymenoptera export`: a checkpoint written in another format, compared on real images."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hymenoptera.data.images import find_images
from hymenoptera.errors import ConfigError
from hymenoptera.models import Predictor
from hymenoptera.models.checkpoint import load_classifier
from hymenoptera.models.export import FORMATS, ExportFormat, check_packages, export, snippet

MAX_IMAGES = 8  # that a file is compared on


def export_checkpoint(
    path: Path, form: ExportFormat, output: Path | None, folder: Path | None
) -> dict[str, Any]:
    """Write a checkpoint in another format, if the file computes the same on a folder's images.

    Returns:
        `file`, `format`, `size_bytes`, `largest_difference` between logits, on how many
        `images`, and `snippet`, a program that uses the file without this project.
    """
    check_packages(form)
    suffix = FORMATS[form].suffix
    file = output or path.with_suffix(suffix)
    # a device such as /dev/null has no suffix; elsewhere torch, for one, goes by it
    if file.suffix != suffix and (file.is_file() or not file.exists()):
        raise ConfigError(f"--output {file}: the name of a file in that format ends in {suffix}.")
    predictor = Predictor(path, "cpu")
    root = folder or predictor.metadata.get("data", {}).get("root")
    images = _real_images(predictor, Path(root).expanduser() if root else None)
    difference = export(load_classifier(path), form, file, images, predictor.calibration)
    return {
        "file": str(file),
        "format": form,
        "size_bytes": file.stat().st_size,
        "largest_difference": difference,
        "images": len(images),
        "snippet": snippet(form, file, predictor.classifier.hparams["backbone"]),
    }


def _real_images(predictor: Predictor, folder: Path | None) -> Tensor:
    """Two to MAX_IMAGES images from all over a folder: (N, 3, H, W) float32, normalised."""
    paths = list(find_images([str(folder)])) if folder is not None and folder.is_dir() else []
    chosen = paths[:: max(1, len(paths) // MAX_IMAGES)][:MAX_IMAGES]
    images = torch.cat([batch.images for batch in predictor.batches(chosen)] or [torch.empty(0)])
    if len(images) < 2:
        where = f"{folder}: there are no images" if folder is not None else "There are no images"
        raise ConfigError(
            f"{where} to compare the file on. Name a folder of some with --compare-on FOLDER."
        )
    return images
