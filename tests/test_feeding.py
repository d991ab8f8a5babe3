"""Runs on decoded pictures: the run that it would have been, and what is refused."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from conftest import Ended
from hymenoptera import feeding
from hymenoptera.data.datamodule import ImageFolderDataModule
from hymenoptera.device import Device, resolve_device
from hymenoptera.errors import RequestError
from hymenoptera.preprocessing import Preprocessing
from hymenoptera.sweeps.engines import Task
from hymenoptera.sweeps.processes import Processes

Run = Callable[..., Ended]
FILES = ("metrics.csv", "predictions.csv")


def feed_of(run: Path) -> dict[str, object]:
    return json.loads((run / "summary.json").read_text())["feed"]


def same_bytes(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in FILES)


def losses(run: Path) -> list[float]:
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    return [float(row[f"{part}/loss"]) for row in rows for part in ("train", "val")]


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
    tmp_path: Path, run_train: Run, hymenoptera: Run, tiny: list[str], finished_run: Path
) -> None:
    command = [*tiny, "trainer=cpu", "data.augment_on=device", "data.cache=disk"]
    assert run_train(*command, "data.cache=ram", "hydra.run.dir=whole").status == 0
    assert run_train(*command, "hydra.run.dir=parts", "trainer.max_epochs=1").status == 0
    ended = run_train("resume=parts", "trainer.max_epochs=2")
    assert ended.status == 0, ended.err
    assert "on disk (36 were there)" in ended.out
    assert "augmented on the device, which holds them" in ended.out
    whole = tmp_path / "whole"
    assert same_bytes(whole, tmp_path / "parts")
    assert (whole / "pictures" / "augmented.png").is_file()
    assert "recorded  the same\n" in hymenoptera("evaluate", "whole").out
    # the same crops as on the CPU, to one level of 255; training amplifies that, to 0.006 here
    assert losses(whole) == pytest.approx(losses(finished_run), abs=0.02)


@pytest.fixture
def data(pictures: Path, tmp_path: Path) -> ImageFolderDataModule:
    folder = str(tmp_path / "cache")
    module = ImageFolderDataModule(
        root=str(pictures), cache="ram", cache_folder=folder, augment_on="auto", num_workers=0
    )
    module.setup()
    return module


def fed(data: ImageFolderDataModule, device: Device | None = None, **place: int) -> dict:
    preprocessing = Preprocessing(36, 32, (0.5,) * 3, (0.2,) * 3, "bilinear")
    data.use(preprocessing)
    device = device or resolve_device("cpu", "auto", "auto")
    return feeding.feed_decoded(data, preprocessing, device, "manifest", **place)


class Seen(pl.LightningModule):
    """Keeps the pictures that it is given to train on."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[torch.Tensor] = []
        self.automatic_optimization = False

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        self.images.append(batch[0])

    def configure_optimizers(self) -> None:
        pass


def test_crops_keep_their_place_in_any_precision(data: ImageFolderDataModule) -> None:
    """A batch is converted to bf16 before it comes to the device: a crop's numbers must not be."""
    data.feed_options = feeding.FeedOptions("ram", "auto", Path("unused"), "device")
    fed(data)
    expected = [data.on_after_batch_transfer(batch, 0)[0] for batch in data.train_dataloader()]
    seen = Seen()
    trainer = pl.Trainer(
        accelerator="cpu",
        precision="bf16-true",
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(seen, datamodule=data)
    assert len(seen.images) == len(expected) == 6
    for images, wanted in zip(seen.images, expected, strict=True):
        assert images.dtype == torch.bfloat16
        assert torch.equal(images, wanted.to(torch.bfloat16))


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
    monkeypatch.setattr(Device, "free_bytes", lambda self, local_rank: device_bytes)
    facts = fed(data, GPU)
    assert (facts["cache"], facts["augment_on"]) == (cache, augment_on)
    assert facts.get("on_device") == on_device


def test_each_process_asks_its_own_gpu(
    data: ImageFolderDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {4: (1e5, 1e9), 6: (1e9, 1e9)}  # bytes, by the GPU's number
    monkeypatch.setattr(torch.cuda, "mem_get_info", free.__getitem__)
    data.feed_options = feeding.FeedOptions("ram", "auto", Path("unused"), "device")
    several = replace(GPU, index=4, indices=[4, 6])
    found = [fed(data, several, processes=2, local_rank=rank)["on_device"] for rank in (0, 1)]
    assert found == [False, True]


def test_jobs_beside_each_other_divide_the_memory(
    data: ImageFolderDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("joblib")
    processes = Processes(Task(*[None] * 3, folder=tmp_path), 3, [])
    monkeypatch.setattr(processes, "_make_executor", dict)
    auto = feeding.FeedOptions("auto", "auto", Path("unused"), "auto")
    monkeypatch.setattr(feeding.room, "free_memory_bytes", lambda: 1_000_000)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (1e9, 1e9))
    data.feed_options = auto
    assert fed(data, GPU)["cache"] == "ram"  # for which there are 500 kB
    for name, value in processes._worker(2)["env"].items():
        monkeypatch.setenv(name, value)
    assert fed(data, GPU)["cache"] == "none"
    monkeypatch.setattr(feeding.room, "free_memory_bytes", lambda: 300_000)
    data.feed_options = replace(auto, cache="ram")
    with pytest.raises(RequestError, match=r"take 175 kB .*, and 100 kB of memory are free"):
        fed(data, GPU)


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
