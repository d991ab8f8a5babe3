"""Bad requests: exit status 2, one to three lines that say what to do, nothing left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import Ended, write_pictures

Run = Callable[..., Ended]


def refused(tmp_path: Path, ended: Ended, *words: str, left: tuple[str, ...] = ()) -> None:
    """The command was refused in a few lines that hold the words, and left nothing but `left`."""
    assert ended.status == 2, ended.err + ended.out
    lines = ended.err.strip().splitlines()
    assert 1 <= len(lines) <= 3, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err
    assert {p.name for p in tmp_path.iterdir()} == {"out.txt", "err.txt", *left}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (["optimizer.lrr=1"], ["optimizer.lrr", "Did you mean optimizer.lr"]),
        (["lr=1e-3"], ["Did you mean optimizer.lr?"]),
        (["optimzer.lr=1"], ["Did you mean optimizer"]),
        (["modle=resnet34"], ["Did you mean model?"]),
        (["+nonsense=1"], ["nonsense", "no such key"]),
        (["model=resnet19"], ["model=resnet19", "resnet18"]),
        (["experiment=artcile"], ["Did you mean article"]),
        (["--multrun"], ["Did you mean --multirun"]),
        (["optimizer.lr=0"], ["optimizer.lr=0", "above 0"]),
        (["optimizer.lr=-1e-4"], ["above 0"]),
        (["optimizer.lr=nan"], ["above 0"]),
        (["optimizer.lr=fast"], ["optimizer.lr=fast", "a number"]),
        (["data.batch_size=0"], ["data.batch_size=0", "1 or more"]),
        (["data.batch_size=2.5"], ["whole number"]),
        (["data.crop_scale=[1.0,0.1]"], ["smaller one first"]),
        (["data.on_error=ignore"], ["fail, skip"]),
        (["data.cache=gpu"], ["data.cache=gpu", "auto, none, ram, disk"]),
        (["data.cache_size=16"], ["data.cache_size=16", "32 or more", "auto"]),
        (["data.augment_on=device", "data.cache=none"], ["keeps none", "data.cache=ram"]),
        (["compile=graphs"], ["compile=graphs", "false, true, cuda_graphs"]),
        (["data.folds=5", "data.fold=5"], ["data.fold=5", "folds 0 to 4"]),
        (["data.folds=5"], ["data.fold=null", "data.folds=5 'data.fold=range(5)'"]),
        (["data.fold=1"], ["data.fold=1", "data.folds=5"]),
        (["data.folds=1", "data.fold=0"], ["data.folds=1", "2 or more"]),
        (["data.test_fraction=1"], ["data.test_fraction=1", "below 1"]),
        (["-m", "data.folds=3", "data.fold=range(4)"], ["data.fold=3", "folds 0 to 2"]),
        (["transfer=gradual", "trainer.max_epochs=4"], ["epoch 9 is past the last one"]),
        (["transfer.unfreeze_epochs=[2,1]"], ["a list of them for the topmost first"]),
        (
            [
                "transfer=head",
                "transfer.views=4",
                "data.crop_scale=[1,1]",
                "data.flip_probability=0",
            ],
            ["without augmentation", "transfer.views=0"],
        ),
        (["loss.label_smoothing=1"], ["below 1"]),
        (["loss.mixup=-1"], ["loss.mixup=-1", "0 or more"]),
        (["loss.cutmix=1", "transfer=head"], ["pictures are mixed", "transfer.cache=false"]),
        (["trainer.max_epochs=0"], ["trainer.max_epochs=0", "1 or more"]),
        (["trainer.devices=0"], ["trainer.devices=0", "a number of devices"]),
        (["trainer.devices=[1,1]"], ["trainer.devices=[1, 1]", "indices such as [0,1]"]),
        (["trainer.strategy=dpp"], ["trainer.strategy=dpp", "Did you mean ddp"]),
        (["trainer.num_nodes=2"], ["trainer.num_nodes=2", "torchrun --nnodes=2", "MASTER_ADDR"]),
        (["trainer=fsdp", "trainer.accelerator=cpu"], ["fsdp", "CUDA GPUs", "trainer=ddp"]),
        (["trainer.sync_batchnorm=true", "trainer.accelerator=cpu"], ["needs CUDA GPUs"]),
        (["out_of_memory=halve", "trainer.devices=2"], ["for a run on one device"]),
        (["experiment=find_lr", "trainer.devices=2"], ["The search for a rate", "one device"]),
        (["-m", "trainer.devices=2", "seed=1,2"], ["run the whole sweep", "sweep=joblib"]),
        (["trainer.precision=16-mixed", "trainer=cpu"], ["needs a GPU"]),
        (["callbacks.last_checkpoint=null"], ["stays on"]),
        (["data.source=/nowhere/ants.zip"], ["/nowhere/ants.zip", "no such file or folder"]),
        (["data=imagefolder"], ["data.root=VALUE"]),
        (["data=imagefolder", "data.root=/nowhere"], ["/nowhere", "no such folder"]),
        (["model.weights=/nowhere/w.pth"], ["/nowhere/w.pth", "no such file"]),
        (["resume=/nowhere"], ["resume=/nowhere", "no such run folder"]),
        (["hydra.run.dir=/dev/null/run"], ["/dev/null"]),
        (["optimizer.lr=[1"], ["KEY=VALUE"]),
        (["-m", "optimizer.lr=1e-3,-1"], ["optimizer.lr=-1", "above 0"]),
        (["-m", "model=resnet18,resnet19"], ["resnet19"]),
        (["-m", "optimizer.lrr=1e-3,1e-4"], ["Did you mean optimizer.lr"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_bad_value_is_refused(
    tmp_path: Path, run_train: Run, request_: list[str], words: list[str]
) -> None:
    refused(tmp_path, run_train(*request_), *words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    refused(tmp_path, run_train(*tiny, "trainer=gpu"), "no such device here", "trainer=cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_fsdp_where_there_is_no_gpu(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    refused(tmp_path, run_train(*tiny, "trainer=fsdp"), "trainer.strategy=fsdp", "trainer=ddp")


def test_more_stages_than_there_are(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    ended = run_train(*tiny, "transfer.unfreeze_epochs=[1,1,1,1,1]")
    refused(tmp_path, ended, "resnet18 has 4 stages", "Give 4 or fewer")


def test_a_cache_folder_that_cannot_be_written(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    ended = run_train("experiment=head", *tiny, "transfer.cache_folder=/dev/null/features")
    refused(tmp_path, ended, "transfer.cache_folder=/dev/null/features", "transfer.cache=false")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            ["data.cache=ram", "data.cache_size=48", "model.image_size=64"],
            ["data.cache_size=48", "64 px", "Take 64 or more, 110"],
        ),
        (["data.cache=disk", "data.cache_folder=/dev/null/d"], ["data.cache_folder=/dev/null/d"]),
        (["compile=cuda_graphs"], ["CUDA GPU", "uses CPU", "compile=true"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_a_device_or_a_network_rules_out(
    tmp_path: Path, run_train: Run, tiny: list[str], request_: list[str], words: list[str]
) -> None:
    refused(tmp_path, run_train(*tiny, "trainer=cpu", *request_), *words)


def test_a_trainer_option_that_does_not_exist(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    refused(tmp_path, run_train(*tiny, "+trainer.max_stepz=3"), "max_stepz")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, ["no class folders"]),
        ({"train": {"ash": 0, "birch": 0}}, ["no pictures"]),
        ({"train": {"ash": 3}, "val": {"ash": 3}}, ["one class only (ash)"]),
        (
            {"train": {"ash": 3, "birch": 3}, "val": {"ash": 1, "brich": 1}},
            ["brich", "Did you mean birch?"],
        ),
        ({"": {"ash": 3, "birch": 1}}, ["birch", "single picture"]),
    ],
    ids=["empty", "no pictures", "one class", "strange class", "one picture"],
)
def test_a_folder_that_cannot_be_trained_on(
    tmp_path: Path, run_train: Run, parts: dict[str, dict[str, int]], words: list[str]
) -> None:
    root = write_pictures(tmp_path / "pictures", parts)
    root.mkdir(exist_ok=True)
    ended = run_train("data=imagefolder", f"data.root={root}", "model.weights=none")
    refused(tmp_path, ended, *words, left=("pictures",))


def test_a_test_share_that_leaves_a_class_empty(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    refused(tmp_path, run_train(*tiny, "data.test_fraction=0.01"), "takes 0 of the 8", "ash")


def test_a_picture_that_cannot_be_read(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    trees = {"ash": 3, "birch": 3}
    root = write_pictures(tmp_path / "pictures", {"train": trees, "val": trees})
    whole = (root / "train/ash/001.png").read_bytes()
    (root / "train/ash/001.png").write_bytes(whole[: len(whole) // 2])
    ended = run_train(*tiny, f"data.root={root}")
    refused(tmp_path, ended, "train/ash/001.png", "data.on_error=skip", left=("pictures",))


@pytest.mark.parametrize("source", ["text", "cut short"])
def test_a_source_that_is_no_archive(tmp_path: Path, run_train: Run, source: str) -> None:
    path = tmp_path / "ants.zip"
    path.write_bytes(b"PK\x03\x04" + b"\0" * 100 if source == "cut short" else b"ants and bees")
    ended = run_train(f"data.source={path}", "model.weights=none")
    refused(tmp_path, ended, str(path), "zip", left=("ants.zip",))


def test_a_folder_that_fails_the_manifest(tmp_path: Path, run_train: Run) -> None:
    root = write_pictures(tmp_path / "ants", {"train": {"ants": 2, "bees": 2}, "val": {"ants": 1}})
    ended = run_train(f"data.source={root}", "model.weights=none")
    refused(tmp_path, ended, "train/ants/", "data.source", left=("ants",))


def test_no_network_for_the_pictures(tmp_path: Path, run_train: Run) -> None:
    ended = run_train("data.source=http://127.0.0.1:9/ants.zip", "model.weights=none")
    refused(tmp_path, ended, "127.0.0.1:9", "data.source=", "HYMENOPTERA_SOURCE")


def test_no_network_for_the_weights(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    nothing = "http://127.0.0.1:9"
    ended = run_train(
        *tiny,
        "model.weights=imagenet",
        https_proxy=nothing,
        HTTPS_PROXY=nothing,
        TORCH_HOME=str(tmp_path / "torch"),
    )
    refused(tmp_path, ended, "resnet18-f37072fd.pth", "model.weights=FILE")


@pytest.mark.parametrize("kind", ["text", "other network", "checkpoint", "not tensors"])
def test_weights_that_do_not_fit(
    tmp_path: Path, run_train: Run, tiny: list[str], kind: str
) -> None:
    from torchvision.models import mobilenet_v3_small

    path = tmp_path / "weights.pth"
    contents = {
        "other network": lambda: mobilenet_v3_small().state_dict(),
        "checkpoint": lambda: {"pytorch-lightning_version": "2.6.6", "state_dict": {}},
        "not tensors": lambda: {"a": 1},
    }
    if kind == "text":
        path.write_text("weights")
    else:
        torch.save(contents[kind](), path)
    ended = run_train(*tiny, f"model.weights={path}")
    words = {
        "text": ["not a state dict"],
        "other network": ["keys are missing (conv1.weight, bn1.weight, bn1.bias, ...)"],
        "checkpoint": [f"resume={path}"],
        "not tensors": ["not a state dict"],
    }[kind]
    refused(tmp_path, ended, *words, left=("weights.pth",))


def test_weights_that_would_run_code_do_not(
    tmp_path: Path, run_train: Run, tiny: list[str]
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            import os

            return os.system, (f"touch {tmp_path}/code_ran",)

    path = tmp_path / "weights.pth"
    torch.save({"a": Trap()}, path)
    ended = run_train(*tiny, f"model.weights={path}")
    refused(tmp_path, ended, "not a state dict", left=("weights.pth",))


def test_a_target_outside_the_project(tmp_path: Path, run_train: Run, tiny: list[str]) -> None:
    ended = run_train(*tiny, "optimizer._target_=os.system")
    assert ended.status == 2
    assert "os.system" in ended.err
