"""Runs on decoded pictures: the run that it would have been, and what is refused."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import Ended
from hymenoptera import feeding
from hymenoptera.data.datamodule import ImageFolderDataModule
from hymenoptera.device import Device, resolve_device
from hymenoptera.errors import RequestError
from hymenoptera.preprocessing import Preprocessing

Run = Callable[..., Ended]
FILES = ("metrics.csv", "predictions.csv")


def feed_of(run: Path) -> dict[str, object]:
    return json.loads((run / "summary.json").read_text())["feed"]


def same_bytes(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in FILES)


def numbers(path: Path) -> list[float]:
    return [float(cell) for row in list(csv.reader(path.open()))[1:] for cell in row]


def test_nothing_is_kept_on_a_cpu_unless_it_is_asked_for(finished_run: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU has it otherwise")
    assert feed_of(finished_run) == {"cache": "none", "augment_on": "cpu"}
    assert "processes read and augment pictures" in (finished_run / "train.log").read_text()


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_run_on_decoded_pictures_is_the_run_on_files(
    tmp_path: Path, run_train: Run, tiny: list[str], finished_run: Path, cache: str
) -> None:
    """The small pictures are kept as they are."""
    command = [*tiny, "trainer=cpu", f"data.cache={cache}", "data.augment_on=cpu"]
    ended = run_train(*command, "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    assert ended.err == ""
    where = "in memory" if cache == "ram" else "on disk (0 were there)"
    size = "175 kB, 55 px at the shorter side"
    assert f"decoded    36 pictures {where}, {size}; augmented on the CPU" in ended.out
    assert same_bytes(tmp_path / "run", finished_run)
    assert feed_of(tmp_path / "run") == {
        "cache": cache,
        "augment_on": "cpu",
        "size_px": 55,
        "size_bytes": 24 * 40 * 48 * 3 + 12 * 32 * 32 * 3,
        "decoded": 36,
        "kept": 0,
        "on_device": False,
    }


@pytest.mark.torture
def test_a_run_augmented_on_the_device_goes_on_to_the_same_bytes(
    tmp_path: Path, run_train: Run, tiny: list[str], finished_run: Path
) -> None:
    command = [*tiny, "trainer=cpu", "data.augment_on=device", "data.cache=disk"]
    assert run_train(*command, "hydra.run.dir=whole").status == 0
    assert run_train(*command, "hydra.run.dir=parts", "trainer.max_epochs=1").status == 0
    ended = run_train("resume=parts", "trainer.max_epochs=2")
    assert ended.status == 0, ended.err
    assert "on disk (36 were there)" in ended.out
    assert "augmented on the device, which holds them" in ended.out
    whole = tmp_path / "whole"
    assert same_bytes(whole, tmp_path / "parts")
    assert (whole / "pictures" / "augmented.png").is_file()
    # the same crops as on the CPU, to one level of 255; training amplifies that
    for name in FILES[:1]:
        assert numbers(whole / name) == pytest.approx(numbers(finished_run / name), abs=0.1)


def test_crops_keep_their_place_in_any_precision(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    """A batch is converted to bf16 before it comes to the device: a crop's numbers must not be."""
    command = [*tiny, "trainer=cpu", "data.augment_on=device", "trainer.max_epochs=1"]
    ended = run_train(*command, "trainer.precision=bf16-true", "channels_last=true")
    assert ended.status == 0, ended.err
    assert "precision bf16-true, channels last" in ended.out


@pytest.fixture
def data(pictures: Path, tmp_path: Path) -> ImageFolderDataModule:
    folder = str(tmp_path / "cache")
    module = ImageFolderDataModule(
        root=str(pictures), cache="ram", cache_folder=folder, augment_on="auto", num_workers=0
    )
    module.setup()
    return module


def fed(data: ImageFolderDataModule, device: Device | None = None, crop_px: int = 32) -> dict:
    preprocessing = Preprocessing(36, crop_px, (0.5,) * 3, (0.2,) * 3, "bilinear")
    data.use(preprocessing)
    return feeding.feed_decoded(
        data, preprocessing, device or resolve_device("cpu", "auto", "auto"), "manifest"
    )


def test_what_does_not_fit_into_memory_says_how_much_it_takes(
    data: ImageFolderDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding.room, "free_memory_bytes", lambda: 100_000)
    with pytest.raises(RequestError) as caught:
        fed(data)
    assert str(caught.value) == (
        "data.cache=ram: 36 decoded pictures take 175 kB at data.cache_size=55, and 100 kB of "
        "memory are free. Take data.cache=disk, or a smaller data.cache_size."
    )


GPU = Device("cuda", 0, [0], "a GPU", "bf16-mixed", 1)


@pytest.mark.parametrize(
    ("host_bytes", "device_bytes", "cache", "augment_on", "on_device"),
    [
        (1e9, 1e9, "ram", "device", True),
        (1e9, 1e5, "ram", "device", False),  # batches carry the pixels
        (1e5, 1e9, "none", "cpu", None),
    ],
)
def test_a_gpu_gets_decoded_pictures_where_they_fit(
    data: ImageFolderDataModule,
    monkeypatch: pytest.MonkeyPatch,
    host_bytes: float,
    device_bytes: float,
    cache: str,
    augment_on: str,
    on_device: bool | None,
) -> None:
    data.feed_options = feeding.FeedOptions("auto", "auto", Path("unused"), "auto")
    monkeypatch.setattr(feeding.room, "free_memory_bytes", lambda: host_bytes)
    monkeypatch.setattr(Device, "free_bytes", lambda self: device_bytes)
    facts = fed(data, GPU)
    assert (facts["cache"], facts["augment_on"]) == (cache, augment_on)
    assert facts.get("on_device") == on_device


def test_a_gpu_s_defaults_do_not_override_what_is_asked_for(data: ImageFolderDataModule) -> None:
    data.feed_options = feeding.FeedOptions("ram", 40, Path("unused"), "cpu")
    facts = fed(data, GPU)
    assert (facts["cache"], facts["augment_on"], facts["size_px"]) == ("ram", "cpu", 40)


def test_batches_of_the_loaders_are_finished_by_the_hook(data: ImageFolderDataModule) -> None:
    data.feed_options = feeding.FeedOptions("ram", "auto", Path("unused"), "device")
    fed(data)
    (batch, *_) = data.train_dataloader()
    images, labels = data.on_after_batch_transfer(batch, 0)
    assert (images.shape, images.dtype, len(labels)) == ((4, 3, 32, 32), torch.float32, 4)
    for images, _ in data.validation_batches():
        assert images.dtype == torch.float32
    shown, names = data.show_training(5)
    assert shown.shape == (5, 3, 32, 32)
    assert set(names) <= set(data.index.classes)
