"""Checks a data set before training: what is in it, and what of that would spoil a result."""

import os
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hymenoptera.data.inspection import Inspection, Look, inspect
from hymenoptera.data.likeness import alike, same
from hymenoptera.data.splits import Apart, fold_numbers
from hymenoptera.errors import RequestError

FOLDS = 5
FEWEST = 10  # pictures of a class, below which its labels are not doubted


def check_data_set(root: Path, weights: str = "auto", model: str = "resnet18") -> dict[str, Any]:
    """Look at all that lies in a data set's folder.

    Args:
        root: holds class folders, or `train/` with `val/` (or its like) of them.
        weights: of the backbone that labels are doubted with: a state dict's file, "imagenet"
            (downloaded once), "none" for no such check, "auto" for what is at hand.
        model: the backbone.

    Returns:
        `root`, `parts`, `classes`, `counts` by part and class, `pictures` (their number),
        `unreadable` (`path`, `reason`), `stray` (paths), `missing_classes` (`part`, `class`),
        `exact_duplicates` and `near_duplicates`, each `paths`, `across` (parts), `labels_differ`
        and, where near, `likeness`; `case_twins` (class names that differ in case alone);
        `sizes` (smallest, median and largest of the shorter and the longer side, in pixels),
        `modes` and `formats` with their counts, `misnamed` (files whose suffix is of another
        format); `doubtful_labels` (`path`, `label`, `suggested`, `probability`), or null and
        `doubted_with` says why; `spoils` what of all that spoils a result, in words.

    Raises:
        RequestError: there is no such folder, no picture in it, or no such weights.
    """
    found = inspect(root)
    readable = [look for look in found.looks if not look.fault]
    exact = [
        _group([readable[i] for i in group]) for group in same([look.sha256 for look in readable])
    ]
    near = [
        _group([readable[pair.first], readable[pair.second]]) | {"likeness": pair.likeness}
        for pair in alike(np.array([look.grey for look in readable]).reshape(-1, 32, 32))
        if readable[pair.first].sha256 != readable[pair.second].sha256
    ]
    doubts, doubted_with = _doubts(found, readable, weights, model)
    answer = {
        "root": str(root),
        "parts": found.parts,
        "classes": found.classes,
        "counts": _counts(found),
        "pictures": len(found.looks),
        "unreadable": [{"path": k.path, "reason": k.fault} for k in found.looks if k.fault],
        "stray": found.stray,
        "missing_classes": _missing(found),
        "case_twins": [
            [found.classes[i] for i in group]
            for group in same([name.casefold() for name in found.classes])
        ],
        "exact_duplicates": exact,
        "near_duplicates": near,
        **_kinds(readable),
        "doubtful_labels": doubts,
        "doubted_with": doubted_with,
    }
    return answer | {"spoils": _spoils(answer)}


def _group(looks: list[Look]) -> dict[str, Any]:
    return {
        "paths": [look.path for look in looks],
        "across": len({look.part for look in looks}) > 1,
        "labels_differ": len({look.label for look in looks}) > 1,
    }


def _counts(found: Inspection) -> dict[str, dict[str, int]]:
    seen = Counter((look.part, look.label) for look in found.looks)
    return {
        part: {name: seen[part, label] for label, name in enumerate(found.classes)}
        for part in found.parts
    }


def _missing(found: Inspection) -> list[dict[str, str]]:
    return [
        {"part": part, "class": name}
        for part, counts in _counts(found).items()
        for name, count in counts.items()
        if not count
    ]


def _kinds(readable: list[Look]) -> dict[str, Any]:
    """Sizes, colour modes, and what the files hold."""
    sides = np.array([sorted(look.size) for look in readable]).reshape(-1, 2)
    names = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "pgm": "PPM"}
    suffixes = [Path(look.path).suffix[1:].lower() for look in readable]
    return {
        "sizes": {
            side: [int(sides[:, k].min()), int(np.median(sides[:, k])), int(sides[:, k].max())]
            for k, side in enumerate(("shorter", "longer"))
            if len(sides)
        },
        "modes": dict(Counter(look.mode for look in readable).most_common()),
        "formats": dict(Counter(look.form for look in readable).most_common()),
        "misnamed": [
            look.path
            for look, suffix in zip(readable, suffixes, strict=True)
            if names.get(suffix, suffix.upper()) != look.form
        ],
    }


def _spoils(answer: dict[str, Any]) -> list[str]:
    leaks = [g for kind in ("exact", "near") for g in answer[f"{kind}_duplicates"]]
    across = sum(group["across"] for group in leaks)
    differ = sum(group["labels_differ"] for group in leaks)
    return [
        words
        for count, words in (
            (len(answer["unreadable"]), "pictures that cannot be read"),
            (len(answer["missing_classes"]), "classes that a part lacks"),
            (across, "pictures that more than one part has"),
            (differ, "duplicates whose labels differ"),
            (len(answer["case_twins"]), "classes whose names differ in case alone"),
        )
        if count
    ]


def _doubts(
    found: Inspection, readable: list[Look], weights: str, model: str
) -> tuple[list[dict[str, Any]] | None, str]:
    """Pictures whose labels are likely wrong, and with which backbone; or None, and why."""
    counts = Counter(look.label for look in readable)
    if len(counts) < 2 or min(counts.values()) < FEWEST:
        return None, f"a class has fewer than {FEWEST} pictures"
    source = _weights_at_hand(model) if weights == "auto" else weights
    if source is None or source == "none":
        return None, "no weights are at hand; name a state dict's file with --weights"
    from hymenoptera.results.doubts import doubtful, out_of_fold

    features, weights_id = _features(found, readable, source, model)
    names, labels = [look.path for look in readable], [look.label for look in readable]
    classes = [found.classes[label] for label in sorted(counts)]
    dense = {label: number for number, label in enumerate(sorted(counts))}
    own = [dense[label] for label in labels]
    fold_of = fold_numbers(names, own, classes, Apart(folds=FOLDS))
    shares = out_of_fold(features, own, [fold_of[name] for name in names], len(classes))
    return [
        {
            "path": names[doubt.position],
            "label": classes[own[doubt.position]],
            "suggested": classes[doubt.suggested],
            "probability": round(doubt.probability, 4),
        }
        for doubt in doubtful(shares, own)
    ], f"{model}, weights {weights_id}"


def _weights_at_hand(model: str) -> str | None:
    """A file named by the environment, or one that torchvision or a run has downloaded."""
    named = os.environ.get("HYMENOPTERA_WEIGHTS")
    if named and Path(named).expanduser().is_file():
        return named
    import torch
    from torchvision.models import get_model_weights

    entry = get_model_weights(model).DEFAULT
    path = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rsplit("/", 1)[1]
    return "imagenet" if path.is_file() else None


def _features(
    found: Inspection, readable: list[Look], weights: str, model: str
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], str]:
    """What a backbone gives for each picture, (N, D), from the cache or computed; its weights."""
    from torch import Tensor

    from hymenoptera.data.features import cached
    from hymenoptera.data.folders import Sample
    from hymenoptera.data.loading import load_in_order
    from hymenoptera.device import resolve_device
    from hymenoptera.models.backbone import build_backbone
    from hymenoptera.models.inference import outputs, weights_hash

    backbone = build_backbone(model, weights)
    samples = [Sample(found.root / look.path, look.label) for look in readable]
    loader = load_in_order(samples, backbone.preprocessing.transform())
    device = resolve_device("auto", "auto", "32-true")

    def compute() -> Iterator[Tensor]:
        for batch, _ in outputs(backbone.features, loader, "features", **device.trainer_options()):
            yield batch.flatten(1)

    facts = {
        "check": [[look.path, look.sha256] for look in readable],
        "weights": weights_hash(backbone.features),
        "preprocessing": backbone.preprocessing.to_dict(),
        "accelerator": device.accelerator,
        "versions": {package: version(package) for package in ("torch", "torchvision", "pillow")},
    }
    folder = Path(os.environ.get("HYMENOPTERA_CACHE", "data/features")).expanduser()
    try:
        features, _ = cached(folder, facts, len(samples), compute)
    except RequestError as error:
        raise RequestError(
            f"{folder}: features cannot be kept there. Name another folder with HYMENOPTERA_CACHE, "
            f"or leave labels unchecked with --weights none."
        ) from error
    return features.numpy().astype(np.float64), backbone.weights_id
