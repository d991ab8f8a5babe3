"""Classes of the user's own: with a plain Trainer, and by `_target_` on the command line."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from command_line import ROOT
from conftest import LEAN, Ended
from hymenoptera.data import ImageFolderDataModule
from hymenoptera.models import ImageClassifier

MODULE = (ROOT / "tests" / "my_module.py").read_text()


@pytest.fixture
def mine(tmp_path: Path) -> None:
    (tmp_path / "my_module.py").write_text(MODULE)


@pytest.mark.usefixtures("mine")
def test_a_callback_a_logger_and_an_optimizer_of_ones_own(
    tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str]
) -> None:
    ended = run_train(
        *tiny,
        *LEAN,
        "+callbacks.mine._target_=my_module.MyCallback",
        "+logger.x._target_=my_module.MyLogger",
        "optimizer._target_=torch.optim.RMSprop",
    )
    assert ended.status == 0, ended.err
    assert "MyCallback was here" in ended.out
    assert "val/accuracy" in (tmp_path / "logged.txt").read_text()


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    "overrides",
    [
        ["model._target_=my_module.MyModule"],
        ["data._target_=my_module.MyDataModule"],
    ],
)
def test_a_model_and_a_data_module_of_ones_own(
    tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str], overrides: list[str]
) -> None:
    replaced = {override.split(".")[0] for override in overrides}
    kept = [o for o in tiny if o.split(".")[0].split("=")[0] not in replaced]
    ended = run_train(*kept, *overrides, "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    assert ended.err == ""
    if "model" in replaced:  # the keys of conf/ that the class does not take
        assert "left out: backbone" in ended.out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert summary["best"]["monitor"] == "val/accuracy"
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.parametrize(
    "scheduler",
    [
        ["ReduceLROnPlateau", "+scheduler.patience=0", "+scheduler.factor=0.5"],
        ["StepLR", "+scheduler.step_size=1", "+scheduler.gamma=0.5"],
    ],
)
def test_a_scheduler_of_torch(
    tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str], scheduler: list[str]
) -> None:
    """Once an epoch, as Lightning does by itself; the learning rate never rises."""
    name, *options = scheduler
    options += [f"scheduler._target_=torch.optim.lr_scheduler.{name}", "trainer.max_epochs=3"]
    ended = run_train(*tiny, *LEAN, *options, "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    header, *lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("lr/all")
    rates = [float(line.split(",")[column]) for line in lines]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] <= 1e-4
    if name == "StepLR":
        assert rates[1] == pytest.approx(rates[0] / 2)


class OtherModel(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.mean(dim=(2, 3)))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self(batch[0]).softmax(dim=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def plain_trainer(tmp_path: Path) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, enable_progress_bar=False
    )


def test_the_data_module_with_another_model(tmp_path: Path, images: Path) -> None:
    datamodule = ImageFolderDataModule(root=str(images), batch_size=8, num_workers=0)
    trainer = plain_trainer(tmp_path)
    model = OtherModel()
    trainer.fit(model, datamodule=datamodule)
    assert trainer.global_step == 3
    assert trainer.validate(model, datamodule=datamodule, verbose=False)[0]["val_loss"] > 0
    predicted = trainer.predict(model, datamodule=datamodule)
    assert sum(len(batch) for batch in predicted) == 12


def test_the_model_with_another_data_module(tmp_path: Path) -> None:
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    loader = DataLoader(TensorDataset(images, labels), batch_size=4)
    model = ImageClassifier(classes=["a", "b", "c"], weights="none", image_size=32)
    trainer = plain_trainer(tmp_path)
    trainer.fit(model, loader, loader)
    assert set(trainer.callback_metrics) >= {"train/loss", "val/loss", "val/accuracy"}
    (found,) = trainer.test(model, loader, verbose=False)
    assert 0 <= found["test/accuracy"] <= 1
    probabilities = torch.cat(trainer.predict(model, loader))
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(8))
    path = trainer.checkpoint_callback.best_model_path
    again = ImageClassifier.load_from_checkpoint(path)
    assert again.classes == ["a", "b", "c"]
    with torch.no_grad():
        assert torch.equal(again.eval()(images), model.eval()(images))
        model.head.bias += 1
        model.backbone.conv1.weight.zero_()  # what it computes follows its weights
        assert torch.equal(model(images)[0], model(images)[1])


def test_the_script_of_the_readme_runs(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands there, but for the data, the weights and their size."""
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        if "trainer.fit" in block
    ]
    assert len(code.strip().splitlines()) <= 14
    for theirs, own in (
        ("HymenopteraDataModule", "ImageFolderDataModule"),
        ('source="hymenoptera_data.zip"', f'root="{images}", num_workers=0'),
        ('weights="imagenet"', 'weights="none", image_size=32'),
        ('classes=["ants", "bees"]', 'classes=["ash", "birch", "cedar"]'),
    ):
        assert theirs in code
        code = code.replace(theirs, own)
    (tmp_path / "script.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path("script.py")
    assert found["model"].classes == ["ash", "birch", "cedar"]
    assert found["trainer"].global_step == 3 * 6
