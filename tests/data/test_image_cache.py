"""Decoded images: the pixels that reading gives, cropped on the device as the CPU crops them."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor

from hymenoptera.data import ImageFolderDataModule, image_cache
from hymenoptera.data.dataset import ImageDataset
from hymenoptera.data.image_cache import CropDataset, ImageCache
from hymenoptera.data.preprocessing import Preprocessing
from hymenoptera.data.samples import FileSamples
from hymenoptera.data.sampling import EpochKeys, SampleKey
from hymenoptera.errors import ConfigError

SIDE = 48
PREPROCESSING = Preprocessing(56, SIDE, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
CPU = torch.device("cpu")


def build(
    samples: FileSamples,
    preprocessing: Preprocessing = PREPROCESSING,
    device: torch.device = CPU,
    **options: Any,
) -> ImageCache | None:
    """A cache of the same images to train and to validate on."""
    module = {
        "train": samples,
        "val": samples,
        "cache": "ram",
        "cache_size": 500,
        "augment_on": "cpu",
        "crop_scale": (0.08, 1.0),
        "flip_probability": 0.5,
        "views": None,
    }
    return image_cache.image_cache(SimpleNamespace(**module | options), preprocessing, device)


def made(*arguments: Any, **options: Any) -> ImageCache:
    cache = build(*arguments, **options)
    assert cache is not None
    return cache


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> FileSamples:
    """An image of each kind that a reader must not get wrong."""
    folder = tmp_path_factory.mktemp("kinds")
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype("uint8")
    image, turned = Image.fromarray(noise), Image.Exif()
    turned[0x0112] = 6  # shown after a quarter turn
    image.save(folder / "a.jpg")
    image.save(folder / "b.jpg", exif=turned)
    image.convert("CMYK").save(folder / "c.jpg")
    image.convert("L").save(folder / "d.png")
    image.convert("P").save(folder / "e.png", transparency=0)
    image.resize((20, 400)).save(folder / "f.jpg")
    image.save(folder / "g.tiff", exif=turned)
    names = sorted(path.name for path in folder.iterdir())
    return FileSamples(folder, names, range(len(names)))


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> FileSamples:
    """Noisy images, smaller and larger than the input, flat and tall."""
    folder = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(0)
    sizes = [(40, 60), (200, 150), (30, 400), (333, 47), (48, 48), (500, 375)]
    for number, size in enumerate(sizes):
        pixels = generator.integers(0, 256, (*size, 3)).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return FileSamples(folder, [f"{number}.png" for number in range(6)], range(6))


def batches(cache: ImageCache, epoch: int = 0, batch_size: int = 3) -> Tensor:
    """(N, 3, SIDE, SIDE) levels from 0 to 255 of an epoch's training images."""
    dataset = cache.train_dataset()
    keys = list(EpochKeys(len(dataset), epoch=epoch, shuffle=True))
    images = []
    for start in range(0, len(keys), batch_size):
        items = [dataset[key] for key in keys[start : start + batch_size]]
        images.append(cache.finish(dataset.collate(items))[0])
    return (PREPROCESSING.denormalise(torch.cat(images)) * 255).round()


def test_small_images_give_what_their_files_give(kinds: FileSamples) -> None:
    cache = made(kinds, cache_size=60)
    ours, theirs = cache.train_dataset(), ImageDataset(kinds, PREPROCESSING.train_transform())
    plain = ImageDataset(kinds, PREPROCESSING.eval_transform())
    for index in range(len(kinds)):
        key = SampleKey(index, 0, 7 * index)
        assert torch.equal(ours[key][0], theirs[key][0])
        assert torch.equal(cache.val_dataset()[key][0], plain[key][0])
        assert ours[key][1] == index


def test_larger_images_are_made_smaller_and_none_is_enlarged(kinds: FileSamples) -> None:
    cache = made(kinds, cache_size=48)
    sizes = [tuple(image.shape) for image in cache.train]
    assert sizes[0] == (3, 48, 72)
    assert sizes[1] == sizes[6] == (3, 72, 48)
    assert sizes[5] == (3, 400, 20)
    read = np.asarray(kinds.read(0), dtype=float)
    assert cache.train[0].float().mean() == pytest.approx(read.mean(), abs=1)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_device_crops_as_the_cpu_does(noise: FileSamples, interpolation: str) -> None:
    preprocessing = replace(PREPROCESSING, interpolation=interpolation)
    ours, theirs = (
        made(noise, preprocessing=preprocessing, augment_on=where) for where in ("device", "cpu")
    )
    assert isinstance(ours.train_dataset(), CropDataset)
    for epoch in range(8):
        # Pillow rounds and clamps between its two passes: noise is the worst case
        off = (batches(ours, epoch) - batches(theirs, epoch)).abs()
        assert off.max() <= (3 if interpolation == "bilinear" else 24)
        assert off.mean() < 0.3


def test_labels_follow_their_images_and_no_images_make_a_batch(noise: FileSamples) -> None:
    cache = made(noise, augment_on="device")
    assert torch.equal(batches(cache, batch_size=1), batches(cache, batch_size=6))
    dataset = cache.train_dataset()
    images, labels = cache.finish(dataset.collate([dataset[SampleKey(n, 0, 5)] for n in (4, 1)]))
    assert (images.shape, images.dtype) == ((2, 3, SIDE, SIDE), torch.float32)
    assert (labels.tolist(), labels.dtype) == ([4, 1], torch.int64)
    for empty in (dataset.collate([]), cache.val_dataset().collate([])):
        images, labels = cache.finish(empty)
        assert images.shape == (0, 3, SIDE, SIDE)
        assert (len(labels), labels.dtype) == (0, torch.int64)


def test_images_that_are_not_augmented_are_normalised_on_the_device(noise: FileSamples) -> None:
    plain = ImageDataset(noise, PREPROCESSING.eval_transform())
    for where, dtype in (("device", torch.uint8), ("cpu", torch.float32)):
        cache = made(noise, augment_on=where, views=0)
        assert cache.summary()["size_px"] is None
        for dataset in (cache.train_dataset(), cache.val_dataset()):
            batch = dataset.collate([dataset[SampleKey(3, 0, 1)]])
            assert batch[0].dtype == dtype
            images, labels = cache.finish(batch)
            assert torch.equal(images[0], plain[SampleKey(3, 0, 1)][0])
            assert labels.tolist() == [3]


@pytest.mark.parametrize(
    ("device", "free_bytes", "options", "expected"),
    [
        ("cpu", 1e12, {}, None),
        ("cuda", 1e12, {}, ("ram", "device")),
        ("cuda", 1e5, {}, None),
        ("cpu", 1e12, {"augment_on": "device"}, ("ram", "device")),
        ("cuda", 1e12, {"augment_on": "cpu"}, ("ram", "cpu")),
        ("cuda", 1e12, {"cache": "none"}, None),
        ("cpu", 1e12, {"cache": "ram"}, ("ram", "cpu")),
    ],
)
def test_auto_follows_the_device_and_its_memory(
    kinds: FileSamples,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    free_bytes: float,
    options: dict[str, str],
    expected: tuple[str, str] | None,
) -> None:
    monkeypatch.setattr(image_cache, "free_memory_bytes", lambda: free_bytes)
    auto = {"cache": "auto", "augment_on": "auto", "cache_size": "auto", **options}
    cache = build(kinds, device=torch.device(device), **auto)
    assert (cache is None) == (expected is None)
    if cache is not None:
        summary = cache.summary()
        assert (summary["cache"], summary["augment_on"]) == expected
        assert summary["size_px"] == round(SIDE * 12 / 7)


def test_what_does_not_fit_says_how_much_it_takes(
    noise: FileSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "free_memory_bytes", lambda: 1_000)
    size = sum(
        3 * h * w for h, w in ((40, 60), (200, 150), (30, 400), (333, 47), (48, 48), (500, 375))
    )
    with pytest.raises(ConfigError) as caught:
        made(noise)
    assert f"take about {size / 1e6:.1f} MB, and 0.0 MB are free" in str(caught.value)


def test_the_device_needs_decoded_images(noise: FileSamples) -> None:
    with pytest.raises(ConfigError, match=r"data\.augment_on=device needs data\.cache=ram"):
        build(noise, cache="none", augment_on="device")


class Recorder(pl.LightningModule):
    """Keeps the images that it is given to train on."""

    preprocessing = Preprocessing(36, 32, (0.5,) * 3, (0.2,) * 3)

    def __init__(self) -> None:
        super().__init__()
        self.images: list[Tensor] = []
        self.automatic_optimization = False

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.images.append(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        assert batch[0].shape[1:] == (3, 32, 32)

    def configure_optimizers(self) -> None:
        pass


def trained(root: Path, precision: Any = "32-true", **options: Any) -> list[Tensor]:
    recorder = Recorder()
    trainer = pl.Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(recorder, datamodule=ImageFolderDataModule(root=str(root), **options))
    return recorder.images


def test_a_trainer_gets_the_same_images_with_and_without_a_cache(images: Path) -> None:
    files = trained(images, num_workers=0)
    memory = trained(images, num_workers=0, cache="ram", augment_on="cpu")
    device = trained(images, num_workers=2, cache="ram", augment_on="device")
    for one, other, third in zip(files, memory, device, strict=True):
        assert torch.equal(one, other)
        assert (one - third).abs().max() < 3 / 255 / 0.2


def test_crops_keep_their_place_in_any_precision(images: Path) -> None:
    """A batch is converted to bf16 before it comes to the device: its crops must not be."""
    options = {"num_workers": 0, "cache": "ram", "augment_on": "device"}
    exact, half = trained(images, **options), trained(images, "bf16-true", **options)
    for one, other in zip(exact, half, strict=True):
        assert other.dtype == torch.bfloat16
        assert torch.equal(one.to(torch.bfloat16), other)
