"""`hymenoptera export`: a checkpoint written in another format, compared on real pictures."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hymenoptera.data.pictures import UNREADABLE, find_pictures, upright_rgb
from hymenoptera.errors import RequestError
from hymenoptera.models.checkpoint import LoadedCheckpoint, load_checkpoint
from hymenoptera.models.export import FORMATS, ExportFormat, check_packages, export
from hymenoptera.models.snippets import snippet

PICTURES = 8  # that a file is compared on, at the most


def export_checkpoint(
    path: Path, form: ExportFormat, output: Path | None, folder: Path | None
) -> dict[str, Any]:
    """Write a checkpoint in another format, if the file computes what the checkpoint does.

    Args:
        path: the checkpoint.
        form: which format.
        output: the file; None for one beside the checkpoint.
        folder: of pictures to compare on, at any depth; None for the run's own.

    Returns:
        `file`, `format`, `size_bytes`, `largest_difference` between logits, on how many
        `pictures`, and `snippet`, ten lines that use the file without this project.

    Raises:
        RequestError: no such checkpoint, there are no pictures, packages are missing, or the
            output's name has another suffix.
        RunError: the file computes something else; it is not kept.
    """
    check_packages(form)
    suffix = FORMATS[form].suffix
    file = output or path.with_suffix(suffix)
    if file.suffix != suffix:  # by which torch, for one, tells what it is given
        raise RequestError(f"--output {file}: the name of a file in that format ends in {suffix}.")
    checkpoint = load_checkpoint(path)
    images = real_images(checkpoint, folder)
    difference = export(checkpoint, form, file, images)
    return {
        "file": str(file),
        "format": form,
        "size_bytes": file.stat().st_size,
        "largest_difference": difference,
        "pictures": len(images),
        "snippet": snippet(form, file),
    }


def real_images(checkpoint: LoadedCheckpoint, folder: Path | None) -> Tensor:
    """Some pictures from all over a folder, as the network sees them.

    Returns:
        (N, 3, H, W) float32, normalised, 2 <= N <= PICTURES.

    Raises:
        RequestError: there are fewer than two pictures.
    """
    root = checkpoint.facts.get("data", {}).get("root", "")
    place = folder.expanduser() if folder else Path(root)
    paths = list(find_pictures([str(place)])) if (folder or root) and place.is_dir() else []
    transform = checkpoint.preprocessing.transform()
    images: list[Tensor] = []
    for path in paths[:: max(1, len(paths) // PICTURES)][:PICTURES]:
        try:
            with Image.open(path) as picture:
                images.append(transform(upright_rgb(picture)))
        except UNREADABLE:
            continue
    if len(images) < 2:
        where = f"{place}: there are no pictures" if folder or root else "There are no pictures"
        raise RequestError(
            f"{where} to compare the file on. Name a folder of some with --compare-on FOLDER."
        )
    return torch.stack(images)
