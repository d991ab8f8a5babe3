"""Checks a data set before training: what is in it, and what of that would spoil a result."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.models import get_model_weights

from hymenoptera.cli.label_errors import suspected_label_errors
from hymenoptera.cli.near_duplicates import NO_HASHES, SIDE_PX, Hashes, hashes_of, near_duplicates
from hymenoptera.data.features import embed
from hymenoptera.data.folders import class_folders, find_samples, find_splits
from hymenoptera.data.images import UNREADABLE, is_hidden, open_image, upright_rgb, why_unreadable
from hymenoptera.data.manifest import in_threads
from hymenoptera.data.samples import FileSamples
from hymenoptera.errors import ConfigError
from hymenoptera.files import file_sha256
from hymenoptera.models.backbones import TIMM, build_backbone

MIN_PER_CLASS = 10  # images of a class, below which labels are not checked
SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}  # a camera's MPO is a JPEG with another behind it

Result = dict[str, Any]


@dataclass(eq=False)
class ImageFile:
    """What is known of an image's file."""

    name: str  # below the data set's folder, with slashes
    split: str  # "train", "val", "test", or "all" where the folder is not split
    label: str  # name of its class
    error: str = ""  # why it cannot be read as an image
    sha256: str = ""
    size: tuple[int, int] = (0, 0)  # width and height in pixels, as stored
    mode: str = ""  # Pillow's word for the kind of pixels, such as "RGB"
    format: str = ""  # what the file holds, such as "JPEG", whatever its name
    hashes: Hashes = field(default_factory=lambda: NO_HASHES)


def check_data_set(root: Path, weights: str = "auto", backbone: str = "resnet18") -> Result:
    """Look at all that lies in a data set's folder: no file ends the check.

    `weights` are those of the backbone that finds label errors, as `build_backbone` takes them;
    "none" for no such check, "auto" for those that are here already.

    Returns:
        What `reports.check_page.check_text` shows, in plain values.
    """
    folders = find_splits(root) or {"all": root}
    splits = list(folders)
    classes = sorted({name for folder in folders.values() for name in class_folders(folder)})
    listed = [
        ImageFile(name, split, classes[label])
        for split, folder in folders.items()
        for samples in [find_samples(root, folder, classes, Counter())]
        for name, label in zip(samples.names, samples.labels, strict=True)
    ]
    if not listed:
        raise ConfigError(
            f"{root} holds no images in class folders, or in class folders below train/."
        )
    everything = list(in_threads(lambda file: _look_at(root, file), listed, "checking images"))
    files = [file for file in everything if not file.error]
    counts = Counter((file.split, file.label) for file in everything)
    paths = [path.relative_to(root) for path in root.rglob("*") if not path.is_dir()]
    shown = {path.as_posix() for path in paths if not any(map(is_hidden, path.parts))}
    suspects, label_check = _label_errors(root, files, weights, backbone)
    result = {
        "root": str(root),
        "splits": splits,
        "classes": classes,
        "counts": {split: {name: counts[split, name] for name in classes} for split in splits},
        "images": len(everything),
        "unreadable": [{"path": f.name, "reason": f.error} for f in everything if f.error],
        "stray": sorted(shown - {file.name for file in everything}),
        "hidden": len(paths) - len(shown),
        "missing_classes": [
            {"split": s, "class": name} for s in splits for name in classes if not counts[s, name]
        ],
        "case_twins": _equal(classes, [name.casefold() for name in classes]),
        "exact_duplicates": [_group(g) for g in _equal(files, [f.sha256 for f in files])],
        "near_duplicates": _near(files),
        **_formats(files),
        "suspected_labels": suspects,
        "label_check": label_check,
    }
    return result | {"spoils": _spoils(result)}


def _look_at(root: Path, file: ImageFile) -> ImageFile:
    path = root / file.name
    try:
        file.sha256 = file_sha256(path)
        with open_image(path) as image:
            file.size, file.mode, file.format = image.size, image.mode, str(image.format)
            image.draft("RGB", (SIDE_PX, SIDE_PX))  # JPEG: reads all bytes, does less arithmetic
            file.hashes = hashes_of(upright_rgb(image))
    except UNREADABLE as error:
        file.error = why_unreadable(error, path)
    return file


def _equal(items: Sequence[Any], keys: Sequence[str]) -> list[list[Any]]:
    """Groups of two items or more whose keys are equal."""
    groups = defaultdict(list)
    for item, key in zip(items, keys, strict=True):
        groups[key].append(item)
    return [group for group in groups.values() if len(group) > 1]


def _near(files: Sequence[ImageFile]) -> list[Result]:
    return [
        _group([files[first], files[second]]) | {"similarity": round(similarity, 3)}
        for first, second, similarity in near_duplicates([file.hashes for file in files])
        if files[first].sha256 != files[second].sha256
    ]


def _group(files: Sequence[ImageFile]) -> Result:
    return {
        "paths": [file.name for file in files],
        "across": len({file.split for file in files}) > 1,
        "labels_differ": len({file.label for file in files}) > 1,
    }


def _formats(files: Sequence[ImageFile]) -> Result:
    """Sizes (smallest, median, largest), colour modes, and what the files hold."""
    sides = [sorted(file.size) for file in files] or [[0, 0]]
    sizes = np.quantile(sides, [0, 0.5, 1], axis=0)
    usual = Image.registered_extensions()
    named = [usual.get(Path(file.name).suffix.lower(), "") for file in files]
    return {
        "sizes": dict(zip(("shorter", "longer"), sizes.astype(int).T.tolist(), strict=True)),
        "modes": dict(Counter(file.mode for file in files).most_common()),
        "formats": dict(Counter(file.format for file in files).most_common()),
        "misnamed": [
            file.name
            for file, name in zip(files, named, strict=True)
            if SAME_FORMAT.get(name, name) != SAME_FORMAT.get(file.format, file.format)
        ],
    }


def _spoils(result: Result) -> list[str]:
    groups = result["exact_duplicates"] + result["near_duplicates"]
    reasons = {
        "images that cannot be read": result["unreadable"],
        "classes that a split lacks": result["missing_classes"],
        "images that more than one split has": [g for g in groups if g["across"]],
        "duplicates whose labels differ": [g for g in groups if g["labels_differ"]],
        "classes whose names differ in case alone": result["case_twins"],
    }
    return [reason for reason, found in reasons.items() if found]


def _label_errors(
    root: Path, files: list[ImageFile], weights: str, backbone: str
) -> tuple[list[Result] | None, str]:
    """Suspected label errors, and by which backbone; or None, and why there was no check."""
    counts = Counter(file.label for file in files)
    if len(counts) < 2 or min(counts.values()) < MIN_PER_CLASS:
        return None, f"a class has fewer than {MIN_PER_CLASS} images"
    if weights == "auto":
        weights = _weights_here(backbone)
    if weights == "none":
        return None, "no weights are here; name a state dict's file with --weights"
    built = build_backbone(backbone, weights)
    classes = sorted(counts)
    labels = np.array([classes.index(file.label) for file in files])
    samples = FileSamples(root, [file.name for file in files], labels)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    network = built.network.to(device).to(memory_format=torch.channels_last)
    batches = embed(network, built.preprocessing, samples)
    suspects = suspected_label_errors(torch.cat(list(batches)).double().numpy(), labels)
    found = [
        {"path": files[i].name, "label": files[i].label, "suggested": classes[c], "score": score}
        for i, c, score in suspects
    ]
    return found, f"{backbone}, weights {built.weights_id}"


def _weights_here(backbone: str) -> str:
    """A file named by the environment, or "imagenet" where torchvision's are here, or "none"."""
    named = os.environ.get("HYMENOPTERA_WEIGHTS")
    if named and Path(named).expanduser().is_file():
        return named
    if backbone.startswith(TIMM):
        return "none"
    file = get_model_weights(backbone).DEFAULT.url.rpartition("/")[2]
    return "imagenet" if (Path(torch.hub.get_dir()) / "checkpoints" / file).is_file() else "none"
