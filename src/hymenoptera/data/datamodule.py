"""LightningDataModules: a source of pictures each, one way of loading them for all."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from numpy import unique
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from hymenoptera.data.augmentation import CropDataset
from hymenoptera.data.dataset import FeatureDataset, PictureDataset, collate
from hymenoptera.data.dividing import divide
from hymenoptera.data.drawn import draw_data_set
from hymenoptera.data.facts import facts_of, manifest_of
from hymenoptera.data.feed import Feed, FeedOptions, Finished
from hymenoptera.data.folders import Index, Sample, index_folder
from hymenoptera.data.hymenoptera import fetch
from hymenoptera.data.manifest import Entry
from hymenoptera.data.mapping import holds, mapped_table
from hymenoptera.data.order import Batches, Draw, EpochSampler
from hymenoptera.data.pictures import refuse_unreadable, unreadable_pictures
from hymenoptera.data.splits import Apart
from hymenoptera.data.table import Samples, labels_of, positions, together, without
from hymenoptera.errors import RequestError
from hymenoptera.preprocessing import Preprocessing

AnyDataset = PictureDataset | CropDataset | FeatureDataset


class PictureDataModule(pl.LightningDataModule):
    """Loads a folder of class folders; a subclass says where that folder is.

    `setup` makes the index, from which the class names flow to the model; `use` then tells how
    the model wants its pictures; the loaders work after both. `use_features` has them give what
    a network's lower part computed in place of pictures. A run that is resumed sets
    `first_epoch`, from 0, and `first_batch` in it, so that it goes on with the order it would have
    had. One of several processes sets `rank` and `world_size` for its part of each epoch, and
    `known_faults` where another one has looked for unreadable pictures.

    Args:
        batch_size: pictures a training step.
        eval_batch_size: pictures a validation step.
        num_workers: processes that read pictures; "auto" for one a core, 8 at the most.
        on_error: refuse a data set with an unreadable picture, or skip the picture.
        crop_scale: share of a picture's area that RandomResizedCrop keeps, from and to.
        flip_probability: how often a training picture is mirrored.
        cache: where decoded pictures are kept; "none" to decode each anew, "auto" by the device.
        cache_size: length of the shorter side at which training pictures are kept, in pixels;
            "auto" by the network's input.
        cache_folder: for those that are kept on disk.
        augment_on: where crops and flips are computed; "device" needs decoded pictures.
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
        batch_size: int = 4,
        eval_batch_size: int = 32,
        num_workers: int | Literal["auto"] = "auto",
        on_error: Literal["fail", "skip"] = "fail",
        crop_scale: tuple[float, float] = (0.08, 1.0),
        flip_probability: float = 0.5,
        cache: Literal["auto", "none", "ram", "disk"] = "none",
        cache_size: int | Literal["auto"] = "auto",
        cache_folder: str = "data/decoded",
        augment_on: Literal["auto", "cpu", "device"] = "cpu",
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
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = cores() if num_workers == "auto" else num_workers
        self.seed = seed
        self.skipped: Mapping[Path, str] = {}
        self.first_epoch, self.first_batch = 0, 0
        self.rank, self.world_size = 0, 1
        self.known_faults: Mapping[Path, str] | None = None
        self.indexed: dict[str, Any] | None = None
        self._map_from = map_from
        self._index_folder = Path(index_folder).expanduser()
        self._contents = contents
        self.feed_options = FeedOptions(
            cache, cache_size, Path(cache_folder).expanduser(), augment_on
        )
        self._on_error = on_error
        self._crop_scale = (crop_scale[0], crop_scale[1])
        self.flip_probability = flip_probability
        self._val_fraction = val_fraction
        self._apart = Apart(test_fraction, folds, fold, split_seed)
        self._index: Index | None = None
        self._preprocessing: Preprocessing | None = None
        self._views: int | None = None
        self._features: dict[str, Tensor] = {}
        self._feed: Feed | None = None

    def locate(self) -> Path:
        """Where the pictures are; fetches or makes them first, where that is the source's way."""
        raise NotImplementedError

    def find(self) -> Index:
        """Locate and index the pictures, without a look into them.

        Raises:
            RequestError: they cannot be had, or not be divided as they should.
        """
        root = self.locate()
        split: Any = {"val_fraction": self._val_fraction, "seed": self.seed, "apart": self._apart}
        if self._map_from is None or not holds(root, self._map_from):
            return index_folder(root, **split)
        table, self.indexed = mapped_table(root, self._index_folder, self._contents)
        return divide(root, table, **split)

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
        train, val, test = (without(p, faults) for p in (index.train, index.val, index.test))
        for part, samples in (("training", train), ("validation", val)):
            if not samples:
                raise RequestError(f"{index.root}: none of the {part} pictures can be read.")
        labels = {
            label for part in (train, val, test) for label in unique(labels_of(part)).tolist()
        }
        if not labels <= set(range(len(index.classes))):
            strange = sorted(labels - set(range(len(index.classes))))[0]
            raise RequestError(
                f"{index.root}: a picture has the label {strange}, and the {len(index.classes)} "
                f"classes have the labels 0 to {len(index.classes) - 1}."
            )
        self._index = Index(index.root, index.classes, train, val, index.ignored, test)

    def use(self, preprocessing: Preprocessing, views: int | None = None) -> None:
        """Load pictures as the model's weights expect them.

        Args:
            preprocessing: of the weights.
            views: how many augmented views of each training picture there are; 0 for the picture
                as validation has it, None for a new augmentation in every epoch.
        """
        self._preprocessing = preprocessing
        self._views = views

    def use_features(self, plain: Tensor, augmented: Tensor | None) -> None:
        """Load features in place of pictures.

        Args:
            plain: (R, ...) float32, of `plain_loader`'s pictures.
            augmented: (V * N, ...) float32, of `augmented_loader`'s; None where there are none.
        """
        self._features = {"plain": plain}
        if augmented is not None:
            self._features["augmented"] = augmented

    def use_decoded(self, feed: Feed) -> None:
        """Load decoded pictures to train and validate, in place of files."""
        self._feed = feed

    def random_crop(self) -> v2.RandomResizedCrop | None:
        """What training pictures are cropped with; None where they are not augmented."""
        return None if self._views == 0 else self._known.random_crop(self._crop_scale)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Finish on the device what the loaders have left to it; called by the Trainer."""
        if self._feed is None or self._features:
            return batch
        finished = self._feed.finish(batch)
        # the Trainer converts a batch to its precision before this
        return self.trainer.precision_plugin.convert_input(finished) if self.trainer else finished

    def validation_batches(self) -> "DataLoader[Any] | Finished":
        """The batches of `val_dataloader` as the Trainer gives them to the model."""
        loader = self.val_dataloader()
        return loader if self._feed is None or self._features else Finished(loader, self._feed)

    def plain_loader(self) -> DataLoader[Any]:
        """All pictures as validation has them, each once, sorted by path."""
        dataset = PictureDataset(self._all_samples(), self._known.transform())
        return self._loader(dataset, self.eval_batch_size)

    def plain_rows(self, samples: Sequence[Sample]) -> Sequence[int]:
        """Where samples stand among the pictures of `plain_loader`."""
        return positions(samples, among=self._all_samples())

    def augmented_loader(self) -> DataLoader[Any]:
        """All views of all training pictures: the first view of each, the second of each, ..."""
        dataset = self.train_pictures()
        draws = [
            draw
            for view in range(self._views or 0)
            for draw in EpochSampler(len(dataset), self.seed, False, self._views, view)
        ]
        return self._loader(dataset, self.eval_batch_size, draws)

    @property
    def index(self) -> Index:
        """Classes and samples, after `setup`."""
        if self._index is None:
            raise RuntimeError("setup() comes before the index")
        return self._index

    def facts(self) -> dict[str, Any]:
        """What the record says of the data: manifest hash, classes, counts, skipped files."""
        return facts_of(self.index, self.skipped, self._apart, self.indexed)

    def augmentation(self) -> dict[str, Any]:
        """What determines the augmented views, beside the pictures and the preprocessing."""
        return {
            "views": self._views,
            "crop_scale": list(self._crop_scale),
            "flip_probability": self.flip_probability,
            "seed": self.seed,
        }

    def test_manifest(self) -> dict[str, Entry]:
        """The test set's pictures: path below the data set's folder, size and SHA-256."""
        return manifest_of(self.index, self.index.test)

    def train_pictures(self) -> PictureDataset:
        """The training pictures, augmented where they are to be."""
        transform = (
            self._known.transform()
            if self._views == 0
            else self._known.train_transform(self._crop_scale, self.flip_probability)
        )
        return PictureDataset(self.index.train, transform)

    def show_training(self, count: int) -> tuple[Tensor, list[str]]:
        """The first training pictures of the first epoch, as the network will see them.

        Returns:
            (N, 3, H, W) float32, normalised, N at most `count`; and their class names.
        """
        dataset = self._train_dataset()
        sampler = self.sampler(len(dataset), shuffle=True, views=self._sampler_views)
        sampler.rewind()
        batch: Any = _collate(dataset)([dataset[draw] for draw in sampler.draws()[:count]])
        images, labels = batch if self._feed is None else self._feed.finish(batch)
        return images, [self.index.classes[label] for label in labels]

    def train_dataloader(self) -> DataLoader[Any]:
        """Training batches: images (B, 3, H, W) float32, labels (B,) int64; shuffled."""
        dataset: AnyDataset = self._train_dataset()
        if self._features:
            name = "augmented" if self._views else "plain"
            dataset = self._feature_dataset(name, self.index.train)
        return self._shared_loader(dataset, self.batch_size, train=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation batches, in the order of `index.val`."""
        dataset: AnyDataset = PictureDataset(self.index.val, self._known.transform())
        if self._features:
            dataset = self._feature_dataset("plain", self.index.val)
        elif self._feed is not None:
            dataset = self._feed.val_dataset(self.index.val)
        return self._shared_loader(dataset, self.eval_batch_size, train=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """Test batches, in the order of `index.test`; neither training nor selection uses them."""
        dataset = PictureDataset(self.index.test, self._known.transform())
        return self._loader(dataset, self.eval_batch_size)

    def sampler(self, count: int, *, shuffle: bool, views: int | None) -> EpochSampler:
        """The order of training samples, shuffled, or of others; from the run's first epoch on."""
        return EpochSampler(
            count,
            self.seed,
            shuffle,
            views,
            self.first_epoch,
            skip=self.first_batch * self.batch_size * self.world_size if shuffle else 0,
        )

    @property
    def _known(self) -> Preprocessing:
        if self._preprocessing is None:
            raise RuntimeError("use() comes before the loaders")
        return self._preprocessing

    @property
    def _sampler_views(self) -> int | None:
        return None if self._views is None else max(1, self._views)

    def _train_dataset(self) -> PictureDataset | CropDataset:
        if self._feed is None:
            return self.train_pictures()
        return self._feed.train_dataset(self.index.train)

    def _all_samples(self) -> Sequence[Sample]:
        return together(self.index.train, self.index.val)

    def _feature_dataset(self, name: str, samples: Sequence[Sample]) -> FeatureDataset:
        rows = range(len(samples)) if name == "augmented" else self.plain_rows(samples)
        labels = labels_of(samples).tolist()
        return FeatureDataset(self._features[name], rows, labels)

    def _shared_loader(
        self, dataset: AnyDataset, batch_size: int, *, train: bool
    ) -> DataLoader[Any]:
        """This process's batches of each epoch."""
        views = self._sampler_views if train else 1
        sampler = self.sampler(len(dataset), shuffle=train, views=views)
        return DataLoader(
            dataset,
            batch_sampler=Batches(
                sampler, batch_size, train=train, rank=self.rank, world_size=self.world_size
            ),
            collate_fn=_collate(dataset),
            pin_memory=self._feed is not None and self._feed.pinned,
            **self._readers(dataset),
        )

    def _loader(
        self, dataset: PictureDataset, batch_size: int, draws: list[Draw] | None = None
    ) -> DataLoader[Any]:
        """All batches: of all pictures, or of some draws."""
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=draws or self.sampler(len(dataset), shuffle=False, views=1),
            **self._readers(dataset, persistent=draws is None),
        )

    def _readers(self, dataset: AnyDataset, *, persistent: bool = True) -> dict[str, Any]:
        workers = 0 if isinstance(dataset, FeatureDataset) else self.num_workers
        return {
            "num_workers": workers,
            "persistent_workers": persistent and workers > 0,
            "worker_init_fn": _leave_signals_alone,
        }


class HymenopteraDataModule(PictureDataModule):
    """Ants and bees: the official archive, downloaded or given, checked against its manifest.

    Args:
        source: a URL, a zip file or a folder.
        folder: where an archive is kept unpacked.
        options: as of `PictureDataModule`.
    """

    def __init__(self, *, source: str, folder: str, **options: Any) -> None:
        super().__init__(**options)
        self._source = source
        self._folder = Path(folder).expanduser()

    def locate(self) -> Path:
        """Fetch, unpack and verify, once."""
        return fetch(self._source, self._folder)

    def unreadable(self, paths: list[Path]) -> dict[Path, str]:
        """None: each has just been compared with the manifest, byte for byte."""
        return {}


class ImageFolderDataModule(PictureDataModule):
    """Any folder of class folders.

    Args:
        root: as `folders.index_folder` reads it.
        options: as of `PictureDataModule`.
    """

    def __init__(self, *, root: str, **options: Any) -> None:
        super().__init__(**options)
        self._root = Path(root).expanduser()

    def locate(self) -> Path:
        """The folder itself."""
        return self._root


class DrawnDataModule(PictureDataModule):
    """Ants and bees that the project draws itself: no download.

    Args:
        folder: where the pictures are kept.
        drawing_seed: which pictures are drawn.
        train_per_class: how many to train on.
        val_per_class: how many to validate.
        size_px: side of a picture in pixels.
        options: as of `PictureDataModule`.
    """

    def __init__(
        self,
        *,
        folder: str,
        drawing_seed: int,
        train_per_class: int,
        val_per_class: int,
        size_px: int,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._folder = Path(folder).expanduser()
        self._drawing = {
            "seed": drawing_seed,
            "train_per_class": train_per_class,
            "val_per_class": val_per_class,
            "size_px": size_px,
        }

    def locate(self) -> Path:
        """Draw, once; the folder's name says what is in it."""
        name = "drawn_" + "_".join(str(value) for value in self._drawing.values())
        return draw_data_set(self._folder / name, **self._drawing)


def _collate(dataset: AnyDataset) -> Callable[[list[Any]], Any]:
    return dataset.collate if isinstance(dataset, CropDataset) else collate


def _leave_signals_alone(worker: int) -> None:
    """Ctrl-C goes to all processes: those that read pictures go on, the run's own decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def cores() -> int:
    """How many processes read pictures where nobody says: one a core, 8 at the most."""
    return min(8, all_cores())


def all_cores() -> int:
    """How many cores this process may use."""
    # where a process may not be tied to cores (macOS), it may use all of them
    affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return len(affinity(0))
