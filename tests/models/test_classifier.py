"""What a step computes, what is logged, and the classifier with a plain Trainer."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import DataLoader, TensorDataset

from hymenoptera.errors import ConfigError
from hymenoptera.models import ImageClassifier

pytestmark = pytest.mark.filterwarnings("ignore")
NOTHING = partial(torch.optim.SGD, lr=0.0)


class Known(ImageClassifier):
    """Computes what it is told to, in place of a network."""

    compute = staticmethod(lambda images: images.mean(dim=(2, 3)))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.compute(inputs) + 0 * self.head.bias


def known(**options: float) -> Known:
    names = ["ash", "birch", "cedar"]
    return Known(names, optimizer=NOTHING, unfreeze_epochs=[], weights_id="any", seed=1, **options)


def test_it_works_with_a_plain_trainer(tmp_path: Path, classifier, trainer, noise) -> None:
    """fit, validate, test, predict, and loading from the checkpoint that the fit left."""
    data = noise()
    run = trainer(max_epochs=2, enable_checkpointing=True, default_root_dir=tmp_path)
    model = classifier(weights="none", channels_last="auto")
    run.fit(model, datamodule=data)
    path = run.checkpoint_callback.best_model_path
    loaded = ImageClassifier.load_from_checkpoint(path)
    assert loaded.classes == ["ash", "birch", "cedar"]
    assert loaded.preprocessing == model.preprocessing
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert all(name.startswith(("backbone.", "head.")) for name in loaded.state_dict())
    (found,) = run.validate(loaded, datamodule=data, verbose=False)
    assert found == run.validate(model, datamodule=data, verbose=False)[0]
    (tested,) = run.test(loaded, datamodule=data, verbose=False)
    assert tested["test/loss"] == found["val/loss"]
    images, labels = data.val.tensors
    probabilities = torch.cat(run.predict(loaded, DataLoader(data.val, batch_size=5)))
    alone = torch.cat(run.predict(loaded, DataLoader(images, batch_size=5)))
    assert torch.equal(probabilities, alone)
    assert probabilities.sum(dim=1).tolist() == pytest.approx([1] * 6)
    accuracy = (probabilities.argmax(dim=1) == labels).float().mean()
    assert float(accuracy) == pytest.approx(found["val/accuracy"])


def test_metrics_are_those_of_the_whole_epoch(trainer, features, head, steps) -> None:
    """Fault 11: a validation in mid-epoch does not cut the training metrics in two."""
    for interval in (1.0, 0.4):
        steps.losses.clear()
        run = trainer(max_epochs=2, val_check_interval=interval, callbacks=[steps])
        run.fit(head(), datamodule=features(9, 2))
        sizes = [2, 2, 2, 2, 1]
        expected = math.fsum(a * b for a, b in zip(steps.losses[5:], sizes, strict=True)) / 9
        assert steps.epochs[-1]["train/loss"] == pytest.approx(expected)
        assert set(steps.epochs[-1]) == {
            *("train/loss", "train/accuracy", "val/loss", "val/accuracy")
        }


def test_a_validation_alone_logs_nothing_else(tmp_path: Path, trainer, features, head) -> None:
    (found,) = trainer().validate(head(), datamodule=features(), verbose=False)
    assert set(found) == {"val/loss", "val/accuracy"}
    logger = CSVLogger(tmp_path, name="", version="")
    run, model = trainer(max_epochs=1, logger=logger, log_every_n_steps=1), head()
    run.fit(model, datamodule=features())
    text = (tmp_path / "metrics.csv").read_text()
    assert {"train/loss_step", "train/loss", "train/accuracy"} < set(text.split("\n")[0].split(","))
    model.logs_evaluation = False
    run.validate(model, datamodule=features(), verbose=False)
    assert (tmp_path / "metrics.csv").read_text() == text
    assert not any(math.isnan(float(value)) for value in run.callback_metrics.values())


def test_an_empty_batch_changes_nothing(trainer, head) -> None:
    full = [torch.randn(4, 1024), torch.arange(4) % 3]
    empty = [torch.empty(0), torch.empty(0, dtype=torch.int64)]
    model = head()
    alone, together = (
        trainer().validate(model, DataLoader(batches, batch_size=None), verbose=False)
        for batches in ([full], [full, empty])
    )
    assert alone == together
    assert model.validation_step(empty, 0)["logits"].shape == (0, 3)
    assert model.predict_step(empty, 0).shape == (0, 3)


def test_each_batch_has_its_own_random_numbers_however_many_make_a_step(trainer) -> None:
    images = TensorDataset(torch.zeros(5, 3, 1, 1), torch.zeros(5, dtype=torch.int64))

    def drawn(accumulated: int) -> list[float]:
        numbers: list[float] = []
        model = known()
        model.compute = lambda x: numbers.append(float(torch.rand(()))) or x.mean(dim=(2, 3))
        run = trainer(max_epochs=1, accumulate_grad_batches=accumulated)
        run.fit(model, DataLoader(images, batch_size=1))
        return numbers

    alone, in_pairs = drawn(1), drawn(2)
    assert len(set(alone)) == len(set(in_pairs)) == 5
    assert in_pairs[::2] == alone[:3]  # the first of each step


@pytest.mark.parametrize("mix", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}])
def test_labels_are_mixed_as_the_images_are(mix: dict[str, float], trainer, steps) -> None:
    labels = torch.arange(12) % 3
    images = one_hot(labels, 3)[:, :, None, None].float().expand(-1, -1, 16, 16).contiguous()
    seen: dict[bool, list[Tensor]] = {True: [], False: []}
    model = known(**mix)

    def compute(inputs: Tensor) -> Tensor:
        seen[model.training].append(inputs.mean(dim=(2, 3)))  # of each class in each image
        return seen[model.training][-1]

    model.compute = compute
    loader = DataLoader(TensorDataset(images, labels), batch_size=6)
    trainer(max_epochs=1, callbacks=[steps]).fit(model, loader, loader)
    expected = [float(cross_entropy(shares, shares)) for shares in seen[True]]
    assert steps.losses == pytest.approx(expected, abs=1e-6)
    assert not torch.equal(torch.cat(seen[True]), images.mean(dim=(2, 3)))
    assert torch.equal(torch.cat(seen[False]), images.mean(dim=(2, 3)))


def test_labels_are_smoothed_in_training_alone(trainer, features, head, steps) -> None:
    model = head(label_smoothing=0.3, optimizer=NOTHING)
    data = features(4, 4)
    trainer(max_epochs=1, callbacks=[steps]).fit(model, datamodule=data)
    images, labels = data.train.tensors
    smoothed = cross_entropy(model(images), labels, label_smoothing=0.3)
    assert steps.losses == [pytest.approx(float(smoothed))]
    images, labels = data.val.tensors
    plain = cross_entropy(model(images), labels)
    assert steps.epochs[0]["val/loss"] == pytest.approx(float(plain))


def test_compiled_steps_are_used(trainer, features, head, monkeypatch) -> None:
    calls: list[object] = []

    def compile_(function, mode):
        calls.append(mode)
        return lambda inputs: calls.append("run") or function(inputs)

    monkeypatch.setattr(torch, "compile", compile_)
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        trainer(max_epochs=1).fit(head(compile="cuda_graphs"), datamodule=features(4))
    model = head(compile=True)
    trainer(max_epochs=1).fit(model, datamodule=features(4))
    assert calls == [None, "run", "run", "run", "run"]
    assert not any("orig_mod" in name for name in model.state_dict())


def test_two_processes_unfreeze_a_stage_later(trainer, noise, classifier, tmp_path: Path) -> None:
    """DistributedDataParallel waits for the gradients of what is frozen at first."""
    model = classifier("mobilenet_v3_small", unfreeze_epochs=[2])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = trainer(max_epochs=1, devices=2, strategy="ddp_fork", enable_checkpointing=True,
                  default_root_dir=tmp_path)  # fmt: skip
    run.fit(model, datamodule=noise(4))
    (path,) = tmp_path.rglob("*.ckpt")
    frozen = ImageClassifier.load_from_checkpoint(path).state_dict()
    moved = {name for name in before if not torch.equal(before[name], frozen[name])}
    assert moved == {"head.weight", "head.bias"}
