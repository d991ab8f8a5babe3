"""Crops and flips on the device are those of the CPU: picture by picture, and as distributions."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from torch import Tensor
from torch.utils.data import DataLoader

from hymenoptera.data.augmentation import Crops
from hymenoptera.data.dataset import PictureDataset
from hymenoptera.data.decoded import Decoded, file_sizes, in_memory, plan_framed, plan_whole
from hymenoptera.data.feed import Feed
from hymenoptera.data.folders import Sample
from hymenoptera.data.order import Draw, EpochSampler
from hymenoptera.preprocessing import Preprocessing

SIDE = 48
SCALE = (0.08, 1.0)


def make_feed(
    train: Decoded,
    augment_on: str,
    interpolation: str = "bilinear",
    scale: tuple[float, float] = SCALE,
    travels: bool = False,
) -> Feed:
    preprocessing = Preprocessing(56, SIDE, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), interpolation)
    return feed_of(train, augment_on, preprocessing, scale, travels)


def feed_of(
    train: Decoded,
    augment_on: str,
    preprocessing: Preprocessing,
    scale: tuple[float, float] = SCALE,
    travels: bool = False,
) -> Feed:
    crop = preprocessing.random_crop(scale)
    return Feed(train, train, preprocessing, augment_on, crop, 0.5, travels)  # type: ignore[arg-type]


def levels(feed: Feed, images: Tensor) -> Tensor:
    """Normalised images as levels from 0 to 255."""
    return (feed.preprocessing.denormalise(images) * 255).round()


def batches(feed: Feed, samples: list[Sample], batch_size: int, epoch: int = 0) -> Tensor:
    """(N, 3, SIDE, SIDE) levels of an epoch."""
    dataset = feed.train_dataset(samples)
    loader = DataLoader(
        dataset,
        batch_size,
        sampler=EpochSampler(len(samples), 0, True, epoch=epoch),
        collate_fn=getattr(dataset, "collate", None),
    )
    return torch.cat([levels(feed, feed.finish(batch)[0]) for batch in loader])


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Decoded, list[Sample]]:
    """Noisy pictures, smaller and larger than the input, flat and tall."""
    folder = tmp_path_factory.mktemp("noise")
    generator = np.random.default_rng(0)
    for number, size in enumerate(
        [(40, 60), (200, 150), (30, 400), (333, 47), (48, 48), (500, 375)]
    ):
        pixels = generator.integers(0, 256, (*size, 3)).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{number}.png")
    paths = sorted(folder.iterdir())
    samples = [Sample(path, label) for label, path in enumerate(paths)]
    return in_memory(plan_whole(paths, 500, file_sizes(paths))), samples


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_same_seed_gives_the_picture_that_the_cpu_gives(
    noise: tuple[Decoded, list[Sample]], interpolation: str
) -> None:
    decoded, samples = noise
    ours, theirs = (make_feed(decoded, where, interpolation) for where in ("device", "cpu"))
    for epoch in range(8):
        one = batches(ours, samples, 3, epoch)
        other = batches(theirs, samples, 3, epoch)
        # Pillow has fixed point weights, and rounds and clamps between its two passes, of which
        # it may take the other one first: noise is the worst case
        off = (one - other).abs()
        assert off.max() <= (2 if interpolation == "bilinear" else 16)
        assert (off > 1).float().mean() < 0.01
        assert off.mean() < 0.2
        # and Pillow from the files, without any cache
        files = PictureDataset(samples, theirs.train_dataset(samples).transform)  # type: ignore[union-attr]
        draws = list(EpochSampler(len(samples), 0, True, epoch=epoch))
        read = torch.stack([levels(theirs, files[draw][0][None])[0] for draw in draws])
        assert torch.equal(read, other)


def test_labels_follow_their_pictures(noise: tuple[Decoded, list[Sample]]) -> None:
    decoded, samples = noise
    dataset = make_feed(decoded, "device").train_dataset(samples)
    batch = dataset.collate([dataset[Draw(n, 0, 5)] for n in (4, 1, 2)])  # type: ignore[union-attr]
    assert batch.labels.tolist() == [4, 1, 2]
    assert batch.table[:, 0].tolist() == [int(decoded.starts[n]) for n in (4, 1, 2)]


def test_a_batch_that_carries_its_pixels_gives_the_same(
    noise: tuple[Decoded, list[Sample]],
) -> None:
    decoded, samples = noise
    there, carried = (make_feed(decoded, "device", travels=travels) for travels in (False, True))
    dataset = carried.train_dataset(samples)
    batch = dataset.collate([dataset[Draw(0, 0, 5)]])  # type: ignore[union-attr]
    assert isinstance(batch, Crops)
    assert batch.pixels.shape == (1, *batch.room, 3)
    assert torch.equal(batches(there, samples, 4), batches(carried, samples, 4))


def test_the_pictures_follow_their_batches_to_a_device(
    noise: tuple[Decoded, list[Sample]],
) -> None:
    """Also after a batch on the CPU, as the first pictures that are shown of a run are."""
    decoded, samples = noise
    feed = make_feed(decoded, "device")
    dataset = feed.train_dataset(samples)
    batch = dataset.collate([dataset[Draw(0, 0, 5)]])  # type: ignore[union-attr]
    for device in ("cpu", "meta"):  # the latter is no device, and keeps to the rules of one
        there = batch._replace(**{n: getattr(batch, n).to(device) for n in ("table", "labels")})
        images, labels = feed.finish(there)
        assert (images.shape, images.device.type) == ((1, 3, SIDE, SIDE), device)
        assert labels.device.type == device


def test_a_picture_does_not_depend_on_what_else_is_in_its_batch(
    noise: tuple[Decoded, list[Sample]],
) -> None:
    decoded, samples = noise
    feed = make_feed(decoded, "device")
    one, other = batches(feed, samples, 1), batches(feed, samples, 6)
    assert (one - other).abs().max() <= 1  # sums of other lengths
    assert (one != other).float().mean() < 1e-3


def test_what_is_not_augmented_is_normalised_on_the_device(
    noise: tuple[Decoded, list[Sample]],
) -> None:
    _, samples = noise
    preprocessing = make_feed(noise[0], "cpu").preprocessing
    framed = in_memory(plan_framed([sample.path for sample in samples], preprocessing))
    ours, theirs = (
        Feed(framed, framed, preprocessing, where, None, 0.5)  # type: ignore[arg-type]
        for where in ("device", "cpu")
    )
    read = PictureDataset(samples, preprocessing.transform())
    for feed, dtype in ((ours, torch.uint8), (theirs, torch.float32)):
        for dataset in (feed.train_dataset(samples), feed.val_dataset(samples)):
            image, label = dataset[Draw(3, 0, 1)]
            assert (image.dtype, label) == (dtype, 3)
            finished, labels = feed.finish((image[None], torch.tensor([label])))
            assert torch.equal(finished[0], read[Draw(3, 0, 1)][0])
            assert labels.tolist() == [3]


@pytest.mark.real_data
def test_real_pictures_come_out_as_on_the_cpu(real_archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(real_archive) as archive:
        names = [n for n in archive.namelist() if "/train/" in n and n.endswith(".jpg")][::6]
        paths = [Path(archive.extract(name, tmp_path)) for name in names]
    samples = [Sample(path, 0) for path in paths]
    decoded = in_memory(plan_whole(paths, 384, file_sizes(paths)))
    preprocessing = Preprocessing(
        232, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear"
    )
    one, other = (
        batches(feed_of(decoded, where, preprocessing), samples, 8) for where in ("device", "cpu")
    )
    assert len(one) > 30
    off = (one - other).abs()
    print(f"levels off: at most {off.max():.0f}, {off.mean():.4f} on average")
    print(f"more than one: {(off > 1).float().mean():.6f}; any: {(off > 0).float().mean():.4f}")
    assert off.max() <= 2
    assert (off > 1).float().mean() < 1e-4
    assert off.mean() < 0.2


@pytest.fixture(scope="module")
def slope(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture whose pixels say where they are: red along the width, green along the height."""
    pixels = np.zeros((600, 900, 3), dtype="uint8")
    pixels[..., 0] = np.linspace(0, 255, 900).round()
    pixels[..., 1] = np.linspace(0, 255, 600).round()[:, None]
    path = tmp_path_factory.mktemp("slope") / "slope.png"
    Image.fromarray(pixels).save(path)
    return path


def repeated(path: Path, size_px: int, count: int) -> Decoded:
    one = in_memory(plan_whole([path], size_px, file_sizes([path])))
    return Decoded(one.pixels, one.starts.repeat(count), one.sizes.repeat(count, axis=0))


def crops_of(images: Tensor) -> dict[str, NDArray[np.float64]]:
    """Where crops of the slope came from, as shares of its sides."""
    along, down = images[:, 0].mean(dim=1) / 255, images[:, 1].mean(dim=2) / 255  # (N, SIDE)
    width, height = ((line[:, -1] - line[:, 0]) * SIDE / (SIDE - 1) for line in (along, down))
    found = {
        "flip": (width < 0).double(),
        "area": width.abs() * height,
        "log aspect": (width.abs() / height).log(),
        "x": along.mean(dim=1),
        "y": down.mean(dim=1),
    }
    return {name: values.numpy() for name, values in found.items()}


def test_crops_and_flips_are_distributed_as_on_the_cpu(slope: Path) -> None:
    """The CPU's from the file of 900 x 600 px, the device's from one kept at 256 px."""
    count = 300
    samples = [Sample(slope, 0)] * count
    whole, kept = (repeated(slope, size_px, count) for size_px in (600, 256))
    assert kept.sizes[0].tolist() == [256, 384]
    cpu = crops_of(batches(make_feed(whole, "cpu"), samples, 50, epoch=1))
    device = crops_of(batches(make_feed(kept, "device"), samples, 50, epoch=7))  # other seeds
    for name in cpu:
        assert stats.ks_2samp(cpu[name], device[name]).pvalue > 0.01, name
    assert stats.binomtest(int(device["flip"].sum()), count).pvalue > 0.01
    # the test can tell other crops apart
    larger = crops_of(batches(make_feed(kept, "device", scale=(0.25, 1.0)), samples, 50, epoch=7))
    assert stats.ks_2samp(cpu["area"], larger["area"]).pvalue < 1e-4
