"""The data modules with a plain Trainer, and a model that is not ours."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from conftest import write_images
from hymenoptera.data import HymenopteraDataModule, ImageDataModule, ImageFolderDataModule
from hymenoptera.data.preprocessing import IMAGENET, Preprocessing
from hymenoptera.errors import ConfigError

SMALL = Preprocessing(10, 8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
Batch = tuple[Tensor, Tensor]


class Means(pl.LightningModule):
    """A linear layer on the images' mean colours, which remembers the batches it was given.

    Args:
        folder: where each process writes what it was given, by stage.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)
        self.batches: dict[str, list[Batch]] = {"train": [], "val": [], "test": []}
        self.folder = folder

    def step(self, stage: str, batch: Batch) -> Tensor:
        images, labels = batch
        self.batches[stage].append((images.clone(), labels.clone()))
        return torch.nn.functional.cross_entropy(self.layer(images.mean((2, 3))), labels)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        return self.step("train", batch)

    def validation_step(self, batch: Batch, _: int) -> None:
        self.step("val", batch)

    def test_step(self, batch: Batch, _: int) -> None:
        self.step("test", batch)

    def predict_step(self, batch: Batch, _: int) -> Tensor:
        return self.layer(batch[0].mean((2, 3))).softmax(1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_fit_end(self) -> None:
        if self.folder is not None:
            torch.save(self.batches, self.folder / f"{self.global_rank}.pt")


class OutOfPowerError(Exception):
    """Ends a fit in its middle."""


class Stop(pl.Callback):
    """Writes a checkpoint after a number of steps, and ends the fit without warning."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            raise OutOfPowerError


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    """11 training images, 7 to validate, 3 to test, of three classes."""
    return write_images(
        tmp_path / "trees",
        {
            "train": {"ash": 4, "birch": 4, "cedar": 3},
            "val": {"ash": 3, "birch": 2, "cedar": 2},
            "test": {"ash": 1, "birch": 1, "cedar": 1},
        },
        side_px=12,
    )


def make(root: Path, **options: Any) -> ImageFolderDataModule:
    defaults = {"batch_size": 4, "eval_batch_size": 3, "num_workers": 0, "preprocessing": SMALL}
    return ImageFolderDataModule(root=str(root), **{**defaults, **options})


def trainer_of(tmp_path: Path, **options: Any) -> pl.Trainer:
    defaults = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": tmp_path,
    }
    return pl.Trainer(**{**defaults, **options})


def fit(datamodule: ImageDataModule, tmp_path: Path, **options: Any) -> Means:
    model = Means()
    trainer_of(tmp_path, **options).fit(model, datamodule=datamodule)
    return model


def labels_of(batches: list[Batch]) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches]


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert labels_of(first) == labels_of(second)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=True))


def test_fit_validate_test_and_predict_with_a_plain_trainer(trees: Path, tmp_path: Path) -> None:
    model, datamodule, trainer = Means(), make(trees), trainer_of(tmp_path)
    trainer.fit(model, datamodule=datamodule)
    assert [len(labels) for labels in labels_of(model.batches["train"])] == [4, 4, 3] * 2
    first, second = model.batches["train"][:3], model.batches["train"][3:]
    assert labels_of(first) != labels_of(second)  # shuffled anew
    assert (
        sorted(label for labels in labels_of(first) for label in labels)
        == [0] * 4 + [1] * 4 + [2] * 3
    )
    assert labels_of(model.batches["val"]) == [[0, 0, 0], [1, 1, 2], [2]] * 2
    images, _ = model.batches["train"][0]
    assert (images.shape, images.dtype) == ((4, 3, 8, 8), torch.float32)
    trainer.validate(model, datamodule=datamodule, verbose=False)
    assert_same(model.batches["val"][:3], model.batches["val"][6:])
    trainer.test(model, datamodule=datamodule, verbose=False)
    assert labels_of(model.batches["test"]) == [[0, 1, 2]]
    predicted = trainer.predict(model, datamodule=datamodule)
    assert torch.cat(predicted).shape == (7, 3)  # the validation images


def test_preprocessing_is_what_the_models_weights_expect(trees: Path, tmp_path: Path) -> None:
    datamodule = make(trees, preprocessing=None)
    assert datamodule.preprocessing == IMAGENET
    model = Means()
    model.preprocessing = SMALL
    trainer_of(tmp_path).fit(model, datamodule=datamodule)
    assert datamodule.preprocessing == SMALL
    assert model.batches["train"][0][0].shape[2:] == (8, 8)


def test_the_seed_alone_determines_order_and_augmentation(trees: Path, tmp_path: Path) -> None:
    """Not the number of workers, and not torch's own state."""
    models = []
    for workers, seed in ((0, 0), (2, 0), (0, 1)):
        torch.manual_seed(workers)
        models.append(fit(make(trees, num_workers=workers, seed=seed), tmp_path))
    one, same, other = models
    assert_same(one.batches["train"], same.batches["train"])
    assert_same(one.batches["val"], same.batches["val"])
    assert labels_of(one.batches["train"]) != labels_of(other.batches["train"])


@pytest.mark.parametrize(("step", "workers"), [(2, 2), (3, 0)])
def test_a_resumed_fit_continues_with_the_remaining_batches(
    trees: Path, tmp_path: Path, step: int, workers: int
) -> None:
    """In the middle of an epoch and after its last batch; the weights are the same to the bit."""
    torch.manual_seed(0)
    whole = fit(make(trees, num_workers=workers), tmp_path)
    torch.manual_seed(0)
    stopped, resumed = Means(), Means()
    path = tmp_path / "last.ckpt"
    with pytest.raises(OutOfPowerError):
        trainer_of(tmp_path, callbacks=[Stop(path, step)]).fit(stopped, datamodule=make(trees))
    trainer = trainer_of(tmp_path)
    datamodule = make(trees, num_workers=workers)
    trainer.fit(resumed, datamodule=datamodule, ckpt_path=path, weights_only=True)
    assert_same(stopped.batches["train"] + resumed.batches["train"], whole.batches["train"])
    assert torch.equal(resumed.layer.weight, whole.layer.weight)
    assert trainer.global_step == 6
    again = fit(datamodule, tmp_path)  # a new fit begins at the beginning
    assert_same(again.batches["train"], whole.batches["train"])


@pytest.mark.parametrize("hook", ["on_validation_end", "on_train_epoch_end", "on_exception"])
def test_a_checkpoint_of_any_hook_resumes(trees: Path, tmp_path: Path, hook: str) -> None:
    """Also of a validation in the middle of an epoch."""

    class Save(pl.Callback):
        count = 0

        def save(self, trainer: pl.Trainer, *_: object) -> None:
            self.count += 1
            if self.count == 2 or hook == "on_exception":
                trainer.save_checkpoint(tmp_path / "x.ckpt")

        def on_before_optimizer_step(self, trainer: pl.Trainer, *_: object) -> None:
            if hook == "on_exception" and trainer.global_step == 4:
                raise OutOfPowerError

    options: dict[str, Any] = {"max_epochs": 3, "val_check_interval": 1}
    torch.manual_seed(0)
    whole = fit(make(trees), tmp_path, **options)
    torch.manual_seed(0)
    first, second, save = Means(), Means(), Save()
    setattr(save, hook, save.save)
    done = {"on_validation_end": 2, "on_train_epoch_end": 6, "on_exception": 4}[hook]
    trainer = trainer_of(tmp_path, callbacks=[save], **options)
    try:
        trainer.fit(first, datamodule=make(trees))
    except OutOfPowerError:
        assert hook == "on_exception"
    trainer = trainer_of(tmp_path, **options)
    trainer.fit(second, datamodule=make(trees), ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    both = first.batches["train"][:done] + second.batches["train"]
    assert_same(both, whole.batches["train"])


def test_a_resumed_fit_wants_the_same_batches_and_the_same_images(
    trees: Path, tmp_path: Path
) -> None:
    path = tmp_path / "last.ckpt"
    with pytest.raises(OutOfPowerError):
        trainer_of(tmp_path, callbacks=[Stop(path, 2)]).fit(Means(), datamodule=make(trees))

    def resume(**options: Any) -> None:
        model, datamodule = Means(), make(trees, **options)
        trainer_of(tmp_path).fit(model, datamodule=datamodule, ckpt_path=path, weights_only=True)

    with pytest.raises(ConfigError, match=r"middle of an epoch.*batch_size=4"):
        resume(batch_size=2)
    resume(eval_batch_size=7, num_workers=2)
    (trees / "train/ash/000.png").unlink()
    with pytest.raises(ConfigError, match="not the images of the run"):
        resume()


def test_overfit_batches_are_the_same_in_every_epoch(trees: Path, tmp_path: Path) -> None:
    """Fault 12: those that the first epoch would begin with, augmentation and all."""
    model = fit(make(trees), tmp_path, overfit_batches=2, max_epochs=3)
    batches = model.batches["train"]
    assert len(batches) == 6
    for epoch in (1, 2):
        assert_same(batches[:2], batches[2 * epoch : 2 * epoch + 2])
    assert_same(batches[:2], fit(make(trees), tmp_path, max_epochs=1).batches["train"][:2])
    assert len({label for labels in labels_of(batches[:2]) for label in labels}) > 1


def test_two_processes_take_the_steps_of_one_and_validate_each_image_once(
    trees: Path, tmp_path: Path
) -> None:
    """The validation batches are those of one process, dealt out; the last one may be empty."""
    single = fit(make(trees, batch_size=4, eval_batch_size=2), tmp_path)
    options = {"devices": 2, "strategy": "ddp_fork"}
    for folder, eval_batch_size in (("even", 2), ("uneven", 3)):
        place = tmp_path / folder
        place.mkdir()
        datamodule = make(trees, batch_size=2, eval_batch_size=eval_batch_size)
        trainer_of(place, **options).fit(Means(place), datamodule=datamodule)
        ranks = [torch.load(place / f"{rank}.pt", weights_only=True) for rank in range(2)]
        steps = list(zip(ranks[0]["train"], ranks[1]["train"], strict=True))
        dealt = [sorted(a[1].tolist() + b[1].tolist()) for a, b in steps[:3]]
        expected = labels_of(single.batches["train"])[:2]  # the last step lacks the eleventh image
        assert dealt[:2] == [sorted(labels) for labels in expected]
        images = torch.cat([batch[0] for step in steps[:3] for batch in step])
        assert len({tuple(image.flatten().tolist()) for image in images}) == 10
        pairs = list(zip(ranks[0]["val"], ranks[1]["val"], strict=True))
        batches = [batch for pair in pairs[: len(pairs) // 2] for batch in pair]
        whole = torch.cat([image for image, _ in single.batches["val"][:4]])
        assert torch.equal(torch.cat([images for images, _ in batches]), whole)
        assert sum(len(labels) for _, labels in batches) == 7
        assert all(images.shape[1:] == (3, 8, 8) for images, _ in batches)
        assert (len(batches[-1][1]) == 0) == (folder == "uneven")


def test_more_processes_than_images_are_invalid(tmp_path: Path) -> None:
    root = write_images(tmp_path / "x", {"train": {"a": 1, "b": 1}, "val": {"a": 1, "b": 1}})
    datamodule = make(root)
    datamodule.trainer = trainer_of(tmp_path, devices=3, strategy="ddp")
    datamodule.setup()
    with pytest.raises(ConfigError, match="2 images cannot be dealt out to 3 processes"):
        datamodule.train_dataloader()


def test_features_take_the_place_of_images(trees: Path, tmp_path: Path) -> None:
    """Each sample gets its own row, and each epoch its own view."""

    def feature(images: Tensor) -> Tensor:
        return images.mean((2, 3))

    class Direct(Means):
        def step(self, stage: str, batch: Batch) -> Tensor:
            inputs, labels = batch
            features = inputs if inputs.ndim == 2 else feature(inputs)
            self.batches[stage].append((features.clone(), labels))
            return self.layer(features).sum()

    for views in (0, 2):
        models = [Direct(), Direct()]
        trainer_of(tmp_path).fit(models[0], datamodule=make(trees, views=views))
        datamodule = make(trees, views=views)
        datamodule.setup()
        plain = torch.cat([feature(images) for images, _ in datamodule.plain_loader()])
        augmented = None
        if views:
            loader = datamodule.augmented_loader()
            augmented = torch.cat([feature(images) for images, _ in loader])
            assert len(augmented) == 22
            turns = [{tuple(row) for row in augmented[at : at + 11].tolist()} for at in (0, 11)]
            assert not turns[0] & turns[1]
        datamodule.use_features(plain, augmented)
        trainer_of(tmp_path).fit(models[1], datamodule=datamodule)
        for stage in ("train", "val"):
            assert_same(models[0].batches[stage], models[1].batches[stage])


def test_the_sample_grid_shows_the_first_batch(trees: Path, tmp_path: Path) -> None:
    datamodule = make(trees)
    images, labels = fit(datamodule, tmp_path).batches["train"][0]
    shown, names = datamodule.sample_grid(4)
    assert torch.equal(shown, images)
    assert names == [datamodule.classes[label] for label in labels]


def test_a_hook_of_the_model_is_still_called(trees: Path, tmp_path: Path) -> None:
    class Doubled(Means):
        def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
            return batch[0] * 2, batch[1]

    doubled = Doubled()
    trainer_of(tmp_path).fit(doubled, datamodule=make(trees))
    plain = fit(make(trees), tmp_path)
    assert torch.equal(doubled.batches["train"][0][0], 2 * plain.batches["train"][0][0])


@pytest.mark.real_data
def test_the_numbers_of_the_real_data_set(real_archive: Path, tmp_path: Path) -> None:
    datamodule = HymenopteraDataModule(source=str(real_archive), folder=str(tmp_path))
    datamodule.prepare_data()
    datamodule.setup()
    summary = datamodule.summary()
    assert (summary["train_count"], summary["val_count"]) == (244, 153)
    assert summary["manifest_hash"].startswith("0d61170f2e1348122cd3505fb704a4c3")
    assert summary["val_manifest_hash"].startswith("69ac6f2cff381b66f78d6c60fab9745d")
    _, labels = next(iter(datamodule.train_dataloader()))
    assert labels.tolist() == [0, 0, 1, 1]
