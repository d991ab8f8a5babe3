"""The LightningDataModule that all sources of images share: split, check, load, resume."""

import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from hymenoptera.data.dataset import FeatureDataset, ImageDataset, make_loader
from hymenoptera.data.image_cache import ImageCache, image_cache
from hymenoptera.data.manifest import write_manifest
from hymenoptera.data.preprocessing import IMAGENET, Preprocessing
from hymenoptera.data.samples import MAX_HASHED, Found, Samples, hash_of, without_unreadable
from hymenoptera.data.sampling import EpochBatches, EpochKeys
from hymenoptera.data.splits import divide, fewer
from hymenoptera.errors import ConfigError


class ImageDataModule(pl.LightningDataModule):
    """Finds, splits, checks and loads images; a subclass says where they come from.

    A subclass implements `find`, and `prepare_data` where something is to be downloaded or made.
    Batches are images (B, 3, H, W) float32, normalised as the model's weights expect, and labels
    (B,) int64. The same seed gives the same batches, whatever the number of workers, in one
    process or dealt out to several, resumed or not.

    Args:
        preprocessing: what the network expects of an image; by default what the LightningModule's
            `preprocessing` says, and `IMAGENET` where it has none.
        batch_size: images a training step.
        eval_batch_size: images a validation step; changes its speed, not its result.
        num_workers: processes that read images; "auto" for one a core, 8 at the most.
        val_fraction: share of each class that validates, where the source has no such split.
        test_fraction: share of each class's training images that is the held-out test set.
        folds: into how many parts the training images are split; None for none.
        fold: which of them validates, from 0.
        split_seed: of all splits, which do not follow `seed`.
        train_fraction: share of each class's training images that are used; a smaller part lies in
            every larger one.
        train_per_class: how many images of each class, in place of a share.
        sampler: "shuffle" for each training image once an epoch; "balanced" for as many of each
            class, those of a small class several times and some of a large one not at all.
        on_error: "fail" at an unreadable image, before the run begins; or "skip" the image.
        crop_scale: share of an image's area that RandomResizedCrop keeps, from and to.
        flip_probability: how often a training image is mirrored.
        views: how many augmented views of each training image there are; 0 for the image as
            validation has it, None for a new augmentation in every epoch.
        cache: "ram" to keep decoded images, "none" to decode each anew, "auto" by the device.
        cache_size: length of the shorter side at which training images are kept, in pixels;
            "auto" by the network's input.
        augment_on: where crops and flips are computed; "device" needs decoded images.
        seed: of the order and the augmentation.
    """

    # what `setup` finds
    root: Path | None  # the folder that names are relative to
    classes: list[str]  # names by label
    train: Samples
    val: Samples
    test: Samples  # held out; there may be none
    ignored: dict[str, int]  # how many files were passed over, by type
    skipped: dict[str, str]  # why, by name, of images that cannot be read and were left out

    def __init__(
        self,
        *,
        preprocessing: Preprocessing | None = None,
        batch_size: int = 4,
        eval_batch_size: int = 32,
        num_workers: int | Literal["auto"] = "auto",
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        folds: int | None = None,
        fold: int | None = None,
        split_seed: int = 0,
        train_fraction: float = 1.0,
        train_per_class: int | None = None,
        sampler: Literal["shuffle", "balanced"] = "shuffle",
        on_error: Literal["fail", "skip"] = "fail",
        crop_scale: Sequence[float] = (0.08, 1.0),
        flip_probability: float = 0.5,
        views: int | None = None,
        cache: Literal["auto", "none", "ram"] = "none",
        cache_size: int | Literal["auto"] = "auto",
        augment_on: Literal["auto", "cpu", "device"] = "cpu",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.crop_scale = (crop_scale[0], crop_scale[1])
        self.flip_probability, self.views = flip_probability, views
        self.cache, self.cache_size, self.augment_on = cache, cache_size, augment_on
        self.skipped = {}
        self._split: dict[str, Any] = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        self._split |= {"folds": folds, "fold": fold, "split_seed": split_seed}
        self._fewer = {"fraction": train_fraction, "per_class": train_per_class}
        self._on_error, self._num_workers, self._sampler = on_error, num_workers, sampler
        self._preprocessing = preprocessing
        # how many views the epochs take turns with; the plain image counts as one
        self._turns = None if views is None else max(1, views)
        self._is_set_up = False
        self._features: dict[str, ImageDataset] = {}
        self.train_features: Tensor | None = None
        self._image_cache: ImageCache | None = None
        self._cached_for: Preprocessing | None = None
        self._resumed: dict[str, Any] = {}

    def find(self) -> Found:
        """Find classes and images, without a look into the images; ConfigError without any."""
        raise NotImplementedError

    def setup(self, stage: str = "fit") -> None:
        """Find, split and check the images, once; ConfigError where they cannot be trained on."""
        self._resumed = {}  # of an earlier fit; Lightning calls load_state_dict after this
        if self._is_set_up:
            return
        found = self.find()
        self.root, self.classes, self.ignored = found.root, found.classes, found.ignored
        splits = divide(found, **self._split)
        if not found.is_verified:
            splits, self.skipped = without_unreadable(splits)
        self.train, self.val, self.test = splits
        self._left_out = self.train.select([])
        if self._fewer != {"fraction": 1.0, "per_class": None}:
            own: dict[str, Any] = {**self._fewer, "split_seed": self._split["split_seed"]}
            self.train, self._left_out = fewer(self.train, self.classes, **own)
        place = self.root or "The data set"
        if self.skipped and self._on_error == "fail":
            named = [f"{name} ({why})" for name, why in self.skipped.items()]
            raise ConfigError(
                f"{place}: {len(named)} of the images cannot be read: "
                f"{'; '.join(named[:3])}{'; ...' * (len(named) > 3)}.\n"
                "Repair or remove them, or leave them out with data.on_error=skip."
            )
        if not len(self.train) or not len(self.val):
            raise ConfigError(f"{place}: there is no image to train or to validate on.")
        self._is_set_up = True

    def summary(self) -> dict[str, Any]:
        """What a run's record says of the data, in plain values."""
        counts: dict[str, Any] = {}
        for name, samples in (("train", self.train), ("val", self.val), ("test", self.test)):
            by_class = np.bincount(samples.labels, minlength=len(self.classes)).tolist()
            counts[f"{name}_count"] = len(samples)
            counts[f"{name}_count_by_class"] = dict(zip(self.classes, by_class, strict=True))
        validated = counts["val_count_by_class"]
        return {
            "root": None if self.root is None else str(self.root.resolve()),
            **self._hashes,
            "all_manifest_hash": self.all_manifest_hash,
            "test_manifest_hash": hash_of(self.test) if len(self.test) else None,
            "classes": self.classes,
            **counts,
            "classes_missing_in_val": [name for name in self.classes if not validated[name]],
            "split": self._split,
            "train_left_out": len(self._left_out),
            "ignored": self.ignored,
            "skipped": self.skipped,
        }

    def image_cache_summary(self) -> dict[str, Any] | None:
        """What a run's record says of the decoded images that are kept; None where none are."""
        return None if self._image_cache is None else self._image_cache.summary()

    def write_test_manifest(self, path: Path) -> None:
        """Write which images the held-out test set consists of."""
        write_manifest(path, self.test.manifest())

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become tensors: as given, or as the LightningModule's weights expect it."""
        module = None if self.trainer is None else self.trainer.lightning_module
        return self._preprocessing or getattr(module, "preprocessing", None) or IMAGENET

    @property
    def num_workers(self) -> int:
        """Processes that read images, for each process of the run."""
        if self._num_workers != "auto":
            return self._num_workers
        # where a process cannot be tied to cores (macOS), it may use all of them
        affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
        processes = 1 if self.trainer is None else self.trainer.num_devices
        return max(1, min(8, len(affinity(0)) // processes))

    def augmentation(self) -> dict[str, Any]:
        """What determines the augmented views, beside the images and the preprocessing."""
        names = ("views", "crop_scale", "flip_probability", "seed")
        return {name: getattr(self, name) for name in names}

    def use_features(self, plain: Tensor, augmented: Tensor | None) -> None:
        """Load features in place of images, to train and to validate.

        Args:
            plain: (R, D) float32, of `plain_loader`'s images.
            augmented: (V * N, D) float32, of `augmented_loader`'s; None where there are none.
        """
        ends = np.cumsum([len(self.train), len(self.val)])
        train_rows, val_rows, _ = np.split(self._by_name.argsort(), ends)
        self.train_features = plain[train_rows]
        train = FeatureDataset(plain, train_rows, self.train.labels)
        if augmented is not None:
            train = FeatureDataset(augmented, np.arange(len(self.train)), self.train.labels)
        self._features = {"train": train, "val": FeatureDataset(plain, val_rows, self.val.labels)}
        self._image_cache = self._cached_for = None

    def train_dataloader(self) -> DataLoader[Any]:
        """Training batches, shuffled anew in every epoch; ConfigError where resuming is invalid."""
        self._check_resumed()
        return self._loader(self._dataset("train"), self.batch_size, train=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation batches, in the order of `val`."""
        return self._loader(self._dataset("val"), self.eval_batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        """Batches of the held-out test set, in its order."""
        return self._loader(self._plain(self.test), self.eval_batch_size)

    def predict_dataloader(self) -> DataLoader[Any]:
        """The validation images, in a plain loader: Lightning puts its own sampler into it."""
        return self._plain_loader(self._plain(self.val))

    def plain_loader(self) -> DataLoader[Any]:
        """All images to train and validate on as validation has them, each once, by name.

        Those that a smaller training set leaves out are among them, if there are not very many.
        """
        both: Dataset[Any] = ConcatDataset([self._plain(part) for part in self._computed])
        order: Any = self._by_name
        return self._plain_loader(Subset(both, order))

    def augmented_loader(self) -> DataLoader[Any]:
        """All views of all training images: the first view of each, the second of each, ..."""
        dataset, count, views = self._augmented(), len(self.train), self.views or 0
        keys: list[Any] = [EpochKeys(count, self.seed, view, views=views) for view in range(views)]
        return self._plain_loader(ConcatDataset([Subset(dataset, of_view) for of_view in keys]))

    def sample_grid(self, count: int) -> tuple[Tensor, list[str]]:
        """The first training images, (N, 3, H, W) float32, normalised; and their class names."""
        dataset, size = self._augmented(), len(self.train)
        order = EpochBatches(size, count, train=True, seed=self.seed, views=self._turns)
        images, labels = dataset.collate(dataset[next(iter(order))])
        return images, [self.classes[label] for label in labels]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Finish on the device what the loaders have left to it; called by the Trainer."""
        assert self.trainer is not None
        if self._image_cache is not None:  # the Trainer has converted the batch before this
            finished = self._image_cache.finish(batch)
            batch = self.trainer.precision_plugin.convert_input(finished)
        # Lightning calls this hook of the data module in place of the model's own
        return self.trainer.lightning_module.on_after_batch_transfer(batch, dataloader_idx)

    def state_dict(self) -> dict[str, Any]:
        """Which batch of which epoch comes next, and what the batches of an epoch follow from."""
        assert self.trainer is not None
        loop: Any = self.trainer.fit_loop
        epochs, batches = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current
        epoch, batch = epochs.processed, batches.processed
        if epochs.started == epochs.processed:  # between two epochs
            batch = 0
        elif batch >= self.trainer.num_training_batches:  # in the validation at an epoch's end
            epoch, batch = epoch + 1, 0
        return {"epoch": epoch, "batch": batch, **self._order()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where a checkpoint stands; called by the Trainer before the loaders."""
        self._resumed = state_dict

    def _check_resumed(self) -> None:
        if not (then := self._resumed):
            return
        changed = [name for name, now in self._order().items() if then.get(name, now) != now]
        if "manifest_hash" in changed or "val_manifest_hash" in changed:
            raise ConfigError(
                f"{self.root or 'The data set'}: these are not the images of the run that is "
                "resumed, or they are split otherwise. Put them back, or begin a new run."
            )
        if then["batch"] and changed:
            raise ConfigError(
                "The run stopped in the middle of an epoch, whose batches follow from "
                f"{', '.join(f'{name}={then[name]}' for name in changed)}. Resume it with the same."
            )
        # Lightning cannot know that the sampler skips what was done, and warns
        message = "You're resuming from a checkpoint that ended before the epoch ended"
        warnings.filterwarnings("ignore", message=message)

    def _order(self) -> dict[str, Any]:
        order = {"batch_size": self.batch_size, "world_size": self._rank_and_size[1]}
        return {**order, "seed": self.seed, "sampler": self._sampler, **self._hashes}

    @cached_property
    def _hashes(self) -> dict[str, str]:
        """The manifest hashes of all images to train and validate on, and of the latter."""
        both = hash_of(self.train, self.val)
        return {"manifest_hash": both, "val_manifest_hash": hash_of(self.val)}

    @cached_property
    def all_manifest_hash(self) -> str:
        """The manifest hash of all images that `plain_loader` has, used in this run or not."""
        is_all = not len(self._left_out)
        return self._hashes["manifest_hash"] if is_all else hash_of(*self._computed)

    @cached_property
    def _by_name(self) -> NDArray[np.int64]:
        """(R,) which of the images of `_computed`, one after the other, comes first, ..."""
        return np.concatenate([part.names for part in self._computed]).argsort(kind="stable")

    @property
    def _computed(self) -> list[Samples]:
        """The images whose features are computed: for training sets of all sizes at once."""
        parts = [self.train, self.val, self._left_out]
        return parts if len(self._left_out) <= MAX_HASHED else parts[:2]

    @property
    def _rank_and_size(self) -> tuple[int, int]:
        """The rank of this process, and how many there are."""
        options = {} if self.trainer is None else self.trainer.distributed_sampler_kwargs or {}
        return options.get("rank", 0), options.get("num_replicas", 1)

    def _plain(self, samples: Samples) -> ImageDataset:
        return ImageDataset(samples, self.preprocessing.eval_transform())

    def _augmented(self) -> ImageDataset:
        if self.views == 0:
            return self._plain(self.train)
        transform = self.preprocessing.train_transform(self.crop_scale, self.flip_probability)
        return ImageDataset(self.train, transform)

    def _dataset(self, split: Literal["train", "val"]) -> ImageDataset:
        """Features, decoded images, or files; images are decoded when a fit begins."""
        if self._features:
            return self._features[split]
        wanted, trainer = self.preprocessing, self.trainer
        if wanted != self._cached_for and trainer is not None and trainer.state.fn == "fit":
            self._image_cache = image_cache(self, wanted, trainer.strategy.root_device)
            self._cached_for = wanted
        if self._image_cache is None or self._cached_for != wanted:
            return self._augmented() if split == "train" else self._plain(self.val)
        cache = self._image_cache
        return cache.train_dataset() if split == "train" else cache.val_dataset()

    def _loader(
        self, dataset: ImageDataset, batch_size: int, *, train: bool = False
    ) -> DataLoader[Any]:
        count = len(dataset)
        order: dict[str, Any] = {"seed": self.seed, "views": self._turns if train else 1}
        if train and self._sampler == "balanced":
            order["labels"] = torch.as_tensor(self.train.labels)
            if 0 in (counts := np.bincount(self.train.labels, minlength=len(self.classes))):
                name = self.classes[int(counts.argmin())]
                raise ConfigError(f"data.sampler=balanced: there is no training image of {name}.")
        workers = 0 if self._features else self.num_workers
        options: dict[str, Any] = {"workers": workers, "collate_fn": dataset.collate}
        if getattr(self.trainer, "overfit_batches", 0) > 0:
            # Lightning takes the first batches of a plain loader: here those of the first epoch
            keys: Any = EpochKeys(count, shuffle=train, **order)
            return make_loader(Subset(dataset, keys), batch_size=batch_size, **options)
        rank, world_size = self._rank_and_size
        if train and count < world_size:
            raise ConfigError(f"{count} images cannot be dealt out to {world_size} processes.")
        if train:
            order |= {f"first_{name}": self._resumed.get(name, 0) for name in ("epoch", "batch")}
        order |= {"train": train, "rank": rank, "world_size": world_size}
        sampler = EpochBatches(count, batch_size, **order)
        return make_loader(dataset, batch_size=None, sampler=sampler, **options)

    def _plain_loader(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        return make_loader(dataset, self.num_workers, batch_size=self.eval_batch_size)
