"""The images of a split: names, labels, and a way to read each. The one way samples are held."""

import copy
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from hymenoptera.data import images
from hymenoptera.data.manifest import Entry, entry_of, in_threads, manifest_hash

MAX_HASHED = 20_000
"""Of more images in a split than these, none is decoded before training, and sizes of files stand
for their contents: reading a million takes longer than an epoch."""


class Samples(ABC):
    """N images. A subclass says what each is read from.

    Attributes:
        names: (N,) of strings, as records and predictions.csv have them: "train/ants/1.jpg". In
            an array, since every worker process would copy a million Python objects.
        labels: (N,) int64, indices into the class names.
    """

    def __init__(self, names: Iterable[str] | NDArray[Any], labels: ArrayLike) -> None:
        if not isinstance(names, np.ndarray):
            names = np.array(list(names), np.dtypes.StringDType())
        self.names: NDArray[Any] = names
        self.labels: NDArray[np.int64] = np.asarray(labels, np.int64)

    @abstractmethod
    def source(self, index: int) -> Path | bytes:
        """The file of an image, or its encoded bytes where it has no file."""

    @abstractmethod
    def sizes(self) -> NDArray[np.int64]:
        """(N,) of the images' files, in bytes."""

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: ArrayLike) -> Self:
        """Some of the images, in the order of the indices (M,)."""
        at, chosen = np.asarray(indices, np.int64), copy.copy(self)
        chosen.names, chosen.labels = self.names[at], self.labels[at]
        return chosen

    def name(self, index: int) -> str:
        """The name of an image."""
        return str(self.names[index])

    def path(self, index: int) -> Path | None:
        """The file of an image; None where it has none."""
        source = self.source(index)
        return source if isinstance(source, Path) else None

    def read(self, index: int) -> Image.Image:
        """An image as upright RGB; RunError where it cannot be read."""
        source = self.source(index)
        return images.read_image(source, "" if isinstance(source, Path) else self.name(index))

    def manifest(self) -> dict[str, Entry]:
        """The images by name: size and SHA-256 of each file; of very many, the sizes alone."""
        names = self.names.tolist()
        if len(self) > MAX_HASHED:
            entries: Iterable[Entry] = (Entry(size, "") for size in self.sizes().tolist())
        else:
            entries = in_threads(lambda i: entry_of(self.source(i)), range(len(self)))
        return dict(zip(names, entries, strict=True))


class FileSamples(Samples):
    """Images in files below a folder; their names are the files' paths, with slashes."""

    def __init__(self, root: Path, names: Iterable[str] | NDArray[Any], labels: ArrayLike) -> None:
        super().__init__(names, labels)
        self.root = root

    def source(self, index: int) -> Path:
        """The file of an image."""
        return self.root / self.name(index)

    def sizes(self) -> NDArray[np.int64]:
        """(N,) of the images' files, in bytes."""
        root = str(self.root)
        sizes = (os.stat(f"{root}/{name}").st_size for name in self.names)  # noqa: PTH116 # faster
        return np.fromiter(sizes, np.int64, len(self))


@dataclass(frozen=True)
class Found:
    """What a source of images holds, before it is split and checked."""

    root: Path | None  # the folder that names are relative to
    classes: list[str]  # names by label
    train: Samples
    val: Samples | None = None
    test: Samples | None = None
    ignored: dict[str, int] = field(default_factory=dict)  # how many files are no images, by type
    is_verified: bool = False  # all images are known to be readable


def hash_of(*splits: Samples) -> str:
    """Identify the images of some splits: the hash of their manifest.

    Of very many, whose manifest would take more memory than they do, it is that of their names and
    sizes, in their order.
    """
    if all(len(samples) <= MAX_HASHED for samples in splits):
        return manifest_hash({n: e for samples in splits for n, e in samples.manifest().items()})
    digest = hashlib.sha256()
    for samples in splits:
        digest.update(samples.sizes().tobytes())
        for start in range(0, len(samples), MAX_HASHED):  # a million in one text take 100 MB
            names = samples.names[start : start + MAX_HASHED].tolist()
            digest.update("\n".join([*names, ""]).encode())
    return digest.hexdigest()


def without_unreadable(splits: Sequence[Samples]) -> tuple[list[Samples], dict[str, str]]:
    """The images of some splits that can be read; and why, by name, of the others."""
    readable, faults = [], dict[str, str]()
    for samples in splits:
        sources = map(samples.source, range(len(samples) if len(samples) <= MAX_HASHED else 0))
        reasons = in_threads(images.fault, sources, "checking images")
        bad = {index: why for index, why in enumerate(reasons) if why}
        faults |= {samples.name(index): why for index, why in bad.items()}
        good = np.delete(np.arange(len(samples)), list(bad))
        readable.append(samples.select(good) if bad else samples)
    return readable, faults
