"""Invalid configs: exit status 2, one to three lines that say what to do, nothing left behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Ended
from hymenoptera.config.command import is_explained
from hymenoptera.config.validation import check
from hymenoptera.errors import ConfigError

Run = Callable[..., Ended]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["optimizer.lrr=1"], ["optimizer.lrr", "Did you mean optimizer.lr"]),
        (["lr=1e-3"], ["Did you mean optimizer.lr?"]),
        (["epochs=5"], ["Did you mean trainer.max_epochs?"]),
        (["ckpt_path=last.ckpt"], ["Did you mean resume?"]),
        (["batch_size=8"], ["Did you mean data.batch_size?"]),
        (["lr_scheduler=cosine"], ["Did you mean scheduler?"]),
        (["imgsz=224"], ["Did you mean model.image_size?"]),
        (["modle=resnet34"], ["Did you mean model?"]),
        (["callbacks.figures.enabeld=true"], ["Did you mean callbacks.figures.enabled"]),
        (["+nonsense=1"], ["nonsense", "no such key"]),
        (["+data.batchsize=1"], ["data.batchsize", "Did you mean data.batch_size"]),
        (["~seed"], ["seed"]),
        (["~callbacks"], ["callbacks is missing"]),
        (["message=null"], ["message.KEY=VALUE"]),
        (["model=resnet19"], ["model=resnet19", "resnet18"]),
        (["--multrun"], ["unrecognized arguments: --multrun", "--hydra-help"]),
        (["--config-dir", "nowhere"], ["nowhere", "not found"]),
        (["--config-name", "trian"], ["Cannot find primary config 'trian'"]),
        (["trainer.max_stepz=3"], ["trainer.max_stepz", "Did you mean trainer.max_steps"]),
        (["optimizer.lr=0"], ["optimizer.lr=0", "above 0"]),
        (["+callbacks.mine.count=1"], ["callbacks.mine._target_", "names the class"]),
        (["data=imagefolder"], ["data.root=VALUE"]),
        (["resume=/nowhere"], ["resume=/nowhere", "nothing to continue"]),
        (["resume=."], ["resume=.", "nothing to continue", "checkpoints/last.ckpt"]),
        (["-m", "resume=."], ["resume=RUN", "sweep.name"]),
        (["hydra.run.dir=/dev/null/run"], ["/dev/null"]),
        (["optimizer.lr=[1"], ["KEY=VALUE"]),
        (["sweep.name=rates"], ["sweep.name=rates", "-m"]),
        (["-m", "trainer.devices=2", "seed=1,2"], ["run the whole sweep", "ddp_spawn"]),
        (["-m", "trainer=ddp", "seed=1,2"], ["trainer.devices=auto in a sweep"]),
        (["optimizer.lr=1e-3,-1", "--multirun", "seed=1"], ["optimizer.lr=-1", "above 0"]),
        (["-m", "data.folds=3", "data.fold=range(4)"], ["data.fold=3", "folds 0 to 2"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_an_invalid_command_line_is_explained(
    tmp_path: Path, train: Run, arguments: list[str], words: list[str]
) -> None:
    ended = train(*arguments)
    assert ended.status == 2, ended.err + ended.out
    assert 1 <= len(ended.err.strip().splitlines()) <= 3, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("optimizer.lr=.nan", "above 0"),
        ("optimizer.lr=-1e-4", "above 0"),
        ("optimizer.lr=fast", "optimizer.lr=fast: it must be a number"),
        ("data.batch_size=0", "data.batch_size=0: it must be a whole number of 1 or more"),
        ("data.batch_size=2.5", "whole number"),
        ("data.batch_size=true", "whole number"),
        ("data.num_workers=many", "0 or more or auto"),
        ("data.crop_scale=[1.0,0.1]", "smaller one first"),
        ("data.on_error=ignore", "Valid: fail, skip"),
        ("data.cache=rma", "Did you mean ram"),
        ("compile=graphs", "Did you mean cuda_graphs"),
        ("data.folds=5 data.fold=5", "folds 0 to 4"),
        ("data.folds=5", r"data.fold=null and (.|\n)*: -m data.folds=5 'data.fold=range"),
        ("data.fold=1", "data.fold=1 and data.folds=null"),
        ("data.train_fraction=0", "above 0"),
        ("data.train_fraction=0.5 data.train_per_class=3", "set one of them"),
        ("data.sampler=weighted", "balanced"),
        ("data.sampler=balanced loss.class_weights=balanced", "do the same twice"),
        ("loss.class_weights=[1,-2]", "numbers above 0"),
        ("model.backbone=resnet81", "Did you mean resnet18"),
        ("transfer.bf16=maybe", "auto"),
        ("data.test_fraction=1", "below 1"),
        ("data.val_fraction=0", "above 0"),
        ("transfer.unfreeze_epochs=[2,1]", "a list of them for the topmost first"),
        ("loss.mixup=-1", "loss.mixup=-1: it must be a number of 0 or more"),
        ("trainer.max_epochs=0", "1 or more"),
        ("trainer.devices=0", "a number of devices"),
        ("trainer.accelerator=gpuu", "Did you mean gpu"),
        ("trainer.deterministic=yess", "no such value"),
        ("trainer.num_nodes=2", "torchrun --nnodes=2 .*MASTER_ADDR"),
        ("sweep.name=a/b", "a folder's name"),
        ("transfer=gradual trainer.max_epochs=4", "epoch 9 is past the last one"),
        ("transfer=head loss.cutmix=1", "mix no cached features: set transfer.cache=false"),
        ("trainer=cpu trainer.precision=16-mixed", "needs a GPU"),
        ("experiment=find_lr trainer.devices=[0,1]", "find_lr .* for one device"),
        ("experiment=find_lr find_lr.min_lr=2", "min_lr below its max_lr"),
        ("data=imagefolder data.root=/nowhere", "data.root=/nowhere: there is no such file"),
        ("data=table data.file=/nowhere.csv", "data.file=/nowhere.csv: there is no such file"),
        ("data.source=/nowhere/a.zip", "/nowhere/a.zip: there is no such file"),
        ("model.weights=/nowhere/w.pth", "no such file or folder. It takes imagenet, none"),
    ],
)
def test_an_invalid_value_is_explained(
    composed: Callable[..., Any], overrides: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        check(composed(*overrides.split()))
    assert len(str(error.value).splitlines()) <= 3


def test_an_error_below_a_folder_called_hydra_is_no_invalid_config(tmp_path: Path) -> None:
    """Fault 29."""
    script = tmp_path / "hydra" / "omegaconf" / "broken.py"
    namespace: dict[str, Callable[[], None]] = {}
    exec(compile("def broken():\n    return [][0]\n", str(script), "exec"), namespace)
    with pytest.raises(IndexError) as raised:
        namespace["broken"]()
    assert not is_explained(raised.value)


def test_a_config_file_that_is_no_yaml_is_explained(tmp_path: Path, train: Run) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "big.yaml").write_text("optimizer: {lr: 1")
    ended = train("--config-dir=mine", "experiment=big")
    assert ended.status == 2
    assert "big.yaml" in ended.err
    assert len(ended.err.splitlines()) <= 3


def test_tracebacks_are_still_to_be_had(train: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.errors import ConfigCompositionException

    monkeypatch.setenv("HYMENOPTERA_FULL_ERROR", "1")
    with pytest.raises(ConfigCompositionException):
        train("optimizer.lrr=1")
    with pytest.raises(ConfigError):
        train("optimizer.lr=0")
