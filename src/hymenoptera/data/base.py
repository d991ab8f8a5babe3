"""How pictures are loaded, whatever their source."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from hymenoptera.cores import reader_count
from hymenoptera.data.augmentation import CropDataset
from hymenoptera.data.dataset import FeatureDataset, PictureDataset
from hymenoptera.data.feed import Feed, FeedOptions, Finished
from hymenoptera.data.folders import Sample
from hymenoptera.data.indexed import IndexedDataModule
from hymenoptera.data.loading import AnyDataset, collate_for, make_loader
from hymenoptera.data.order import Batches, Draw, EpochSampler
from hymenoptera.data.table import labels_of, positions, together
from hymenoptera.preprocessing import Preprocessing


class PictureDataModule(IndexedDataModule):
    """Loads the pictures of a source, which a subclass is.

    `setup` makes the index, from which the class names flow to the model; `use` then tells how
    the model wants its pictures; the loaders work after both. `use_features` has them give what
    a network's lower part computed in place of pictures. A run that is resumed sets
    `first_epoch`, from 0, and `first_batch` in it, so that it goes on with the order it would have
    had. One of several processes sets `rank` and `world_size` for its part of each epoch.

    Args:
        batch_size: pictures a training step.
        eval_batch_size: pictures a validation step.
        num_workers: processes that read pictures; "auto" for one a core, 8 at the most.
        crop_scale: share of a picture's area that RandomResizedCrop keeps, from and to.
        flip_probability: how often a training picture is mirrored.
        cache: where decoded pictures are kept; "none" to decode each anew, "auto" by the device.
        cache_size: length of the shorter side at which training pictures are kept, in pixels;
            "auto" by the network's input.
        cache_folder: for those that are kept on disk.
        augment_on: where crops and flips are computed; "device" needs decoded pictures.
        options: as of `IndexedDataModule`.
    """

    def __init__(
        self,
        *,
        batch_size: int = 4,
        eval_batch_size: int = 32,
        num_workers: int | Literal["auto"] = "auto",
        crop_scale: tuple[float, float] = (0.08, 1.0),
        flip_probability: float = 0.5,
        cache: Literal["auto", "none", "ram", "disk"] = "none",
        cache_size: int | Literal["auto"] = "auto",
        cache_folder: str = "data/decoded",
        augment_on: Literal["auto", "cpu", "device"] = "cpu",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = reader_count() if num_workers == "auto" else num_workers
        self.first_epoch, self.first_batch = 0, 0
        self.rank, self.world_size = 0, 1
        self.feed_options = FeedOptions(
            cache, cache_size, Path(cache_folder).expanduser(), augment_on
        )
        self._crop_scale = (crop_scale[0], crop_scale[1])
        self.flip_probability = flip_probability
        self._preprocessing: Preprocessing | None = None
        self._views: int | None = None
        self._features: dict[str, Tensor] = {}
        self._feed: Feed | None = None

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
        if self._feed is None:
            return batch
        finished = self._feed.finish(batch)
        # the Trainer converts a batch to its precision before this
        return self.trainer.precision_plugin.convert_input(finished) if self.trainer else finished

    def validation_batches(self) -> "DataLoader[Any] | Finished":
        """The batches of `val_dataloader` as the Trainer gives them to the model."""
        loader = self.val_dataloader()
        return loader if self._feed is None else Finished(loader, self._feed)

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

    def augmentation(self) -> dict[str, Any]:
        """What determines the augmented views, beside the pictures and the preprocessing."""
        return {
            "views": self._views,
            "crop_scale": list(self._crop_scale),
            "flip_probability": self.flip_probability,
            "seed": self.seed,
        }

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
        batch: Any = collate_for(dataset)([dataset[draw] for draw in sampler.draws()[:count]])
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
        share: Any = {"train": train, "rank": self.rank, "world_size": self.world_size}
        return make_loader(
            dataset,
            self.num_workers,
            batch_sampler=Batches(sampler, batch_size, **share),
            pin_memory=self._feed is not None and self._feed.pinned,
        )

    def _loader(
        self, dataset: PictureDataset, batch_size: int, draws: list[Draw] | None = None
    ) -> DataLoader[Any]:
        """All batches: of all pictures, or of some draws."""
        return make_loader(
            dataset,
            self.num_workers,
            persistent=draws is None,
            batch_size=batch_size,
            sampler=draws or self.sampler(len(dataset), shuffle=False, views=1),
        )
