"""Which pictures a LightningDataModule of this project has: to train on, to validate, to test."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from numpy import unique

from hymenoptera.data.dividing import divide
from hymenoptera.data.facts import facts_of, manifest_of
from hymenoptera.data.folders import Index, index_folder
from hymenoptera.data.manifest import Entry
from hymenoptera.data.mapping import holds, mapped_table
from hymenoptera.data.pictures import refuse_unreadable, unreadable_pictures
from hymenoptera.data.splits import Apart
from hymenoptera.data.table import Samples, labels_of, together, without
from hymenoptera.errors import RequestError


class IndexedDataModule(pl.LightningDataModule):
    """Finds, divides and checks a folder of class folders; a subclass says where that folder is.

    `setup` does all of it. One of several processes sets `known_faults` where another one has
    looked for unreadable pictures.

    Attributes:
        skipped: why, by path, of the pictures that were left out.
        indexed: of a large folder, how its index was had; see `mapping.mapped_table`.

    Args:
        on_error: refuse a data set with an unreadable picture, or skip the picture.
        seed: of the order and the augmentation, and of a split where one is made.
        val_fraction: share of each class that validates, where the folder has no such part.
        test_fraction: share of each class's training pictures that is kept apart as a test set.
        folds: into how many parts the training pictures are divided; None for none.
        fold: which of them validates, from 0.
        split_seed: of the test set and the folds.
        map_from: of as many files an index is kept and mapped; None for never.
        index_folder: where it is kept.
        contents: such an index knows what is in the files; otherwise their sizes and times alone.
    """

    def __init__(
        self,
        *,
        on_error: Literal["fail", "skip"] = "fail",
        seed: int = 0,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        folds: int | None = None,
        fold: int | None = None,
        split_seed: int = 0,
        map_from: int | None = None,
        index_folder: str = "data/index",
        contents: bool = True,
    ) -> None:
        super().__init__()
        self.seed = seed
        self.skipped: Mapping[Path, str] = {}
        self.known_faults: Mapping[Path, str] | None = None
        self.indexed: dict[str, Any] | None = None
        self._on_error = on_error
        self._apart = Apart(test_fraction, folds, fold, split_seed)
        self._split: Any = {"val_fraction": val_fraction, "seed": seed, "apart": self._apart}
        self._map_from = map_from
        self._index_folder = Path(index_folder).expanduser()
        self._contents = contents
        self._index: Index | None = None

    def locate(self) -> Path:
        """Where the pictures are; fetches or makes them first, where that is the source's way."""
        raise NotImplementedError

    def find(self) -> Index:
        """Locate and index the pictures, without a look into them.

        Raises:
            RequestError: they cannot be had, or not be divided as they should.
        """
        root = self.locate()
        if self._map_from is None or not holds(root, self._map_from):
            return index_folder(root, **self._split)
        table, self.indexed = mapped_table(root, self._index_folder, self._contents)
        return divide(root, table, **self._split)

    def unreadable(self, paths: list[Path]) -> dict[Path, str]:
        """Why, by path, of the pictures that cannot be read."""
        return unreadable_pictures(paths)

    def faults(self, index: Index) -> Mapping[Path, str]:
        """Why, by path, of an index's pictures that cannot be read."""
        everything = together(index.train, index.val, index.test)
        if not isinstance(everything, Samples):
            return self.unreadable([sample.path for sample in everything])
        return everything.faults()

    def setup(self, stage: str = "fit") -> None:
        """Locate, index and check the pictures; the second call does nothing.

        Raises:
            RequestError: the pictures cannot be had, or not be trained on.
        """
        if self._index is not None:
            return
        index = self.find()
        faults = self.faults(index) if self.known_faults is None else self.known_faults
        if self._on_error == "fail":
            refuse_unreadable(faults)
        self.skipped = faults
        self._index = _readable(index, faults)

    @property
    def index(self) -> Index:
        """Classes and samples, after `setup`."""
        if self._index is None:
            raise RuntimeError("setup() comes before the index")
        return self._index

    def facts(self) -> dict[str, Any]:
        """What the record says of the data: manifest hash, classes, counts, skipped files."""
        return facts_of(self.index, self.skipped, self._apart, self.indexed)

    def test_manifest(self) -> dict[str, Entry]:
        """The test set's pictures: path below the data set's folder, size and SHA-256."""
        return manifest_of(self.index, self.index.test)


def _readable(index: Index, faults: Iterable[Path]) -> Index:
    """An index less the pictures that cannot be read.

    Raises:
        RequestError: none is left to train on or to validate, or a label is of no class.
    """
    train, val, test = (without(p, faults) for p in (index.train, index.val, index.test))
    for part, samples in (("training", train), ("validation", val)):
        if not samples:
            raise RequestError(f"{index.root}: none of the {part} pictures can be read.")
    labels = {label for part in (train, val, test) for label in unique(labels_of(part)).tolist()}
    strange = sorted(labels - set(range(len(index.classes))))
    if strange:
        raise RequestError(
            f"{index.root}: a picture has the label {strange[0]}, and the {len(index.classes)} "
            f"classes have the labels 0 to {len(index.classes) - 1}."
        )
    return replace(index, train=train, val=val, test=test)
