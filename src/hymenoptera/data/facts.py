"""What a run's record says of its pictures."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hymenoptera.data.folders import Index, Sample
from hymenoptera.data.manifest import Entry, fingerprint, manifest_hash
from hymenoptera.data.splits import Apart
from hymenoptera.data.table import Samples, labels_of, together


def facts_of(
    index: Index, skipped: Mapping[Path, str], apart: Apart, indexed: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Manifest hashes, classes, counts, skipped files.

    Args:
        index: of the pictures.
        skipped: why, by path, of those that were left out.
        apart: what is kept apart from training and validation.
        indexed: of a large folder, how its index was had; see `mapping.mapped_table`.
    """
    ignored = [str(p.relative_to(index.root)) for p in index.ignored]
    return {
        "root": str(index.root.resolve()),
        "manifest_hash": hash_of(index, together(index.train, index.val)),
        "val_manifest_hash": hash_of(index, index.val),
        "classes": index.classes,
        "train_count": len(index.train),
        "val_count": len(index.val),
        "train_count_by_class": _count(index.train, index.classes),
        "val_count_by_class": _count(index.val, index.classes),
        "test_count": len(index.test),
        "test_count_by_class": _count(index.test, index.classes),
        "test_manifest_hash": manifest_hash(manifest_of(index, index.test)) if index.test else None,
        "apart": asdict(apart),
        "ignored_files": ignored,
        "skipped_pictures": {str(p.relative_to(index.root)): why for p, why in skipped.items()},
        "index": None if indexed is None else dict(indexed),
    }


def manifest_of(index: Index, samples: Sequence[Sample]) -> dict[str, Entry]:
    """Samples by their paths below the data set's folder: size and SHA-256."""
    if isinstance(samples, Samples) and samples.table.facts["contents"]:
        entries = samples.table.entries(samples.rows)
        return {os.fsdecode(name): Entry(size, content) for name, size, content in entries}
    root = index.root
    return fingerprint(root, [s.path.relative_to(root).as_posix() for s in samples])


def hash_of(index: Index, samples: Sequence[Sample]) -> str:
    """The manifest hash of samples."""
    if isinstance(samples, Samples):
        return samples.table.manifest_hash(samples.rows)
    return manifest_hash(manifest_of(index, samples))


def _count(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(labels_of(samples), minlength=len(classes))
    return dict(zip(classes, counts.tolist(), strict=True))
