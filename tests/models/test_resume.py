"""A plain Trainer resumes the classifier to the same bits, in mid-epoch and at its end."""

from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.optim.lr_scheduler import OneCycleLR

from hymenoptera.errors import ConfigError
from hymenoptera.models.schedulers import cosine, one_cycle

pytestmark = pytest.mark.filterwarnings("ignore")
NETWORK = {"backbone": "mobilenet_v3_small", "unfreeze_epochs": [1, 2]}  # with dropout
ADAM = partial(torch.optim.Adam, lr=1e-3)


class SaveAlways(pl.callbacks.Checkpoint):
    """Saves after each batch but an epoch's last, after each validation and each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, trainer: pl.Trainer, when: str) -> None:
        step = f"{trainer.current_epoch}-{trainer.global_step}-{when}.ckpt"
        trainer.save_checkpoint(self.folder / step)

    def on_train_batch_end(self, trainer, *_) -> None:
        if not trainer.is_last_batch:
            self.save(trainer, "batch")

    def on_validation_end(self, trainer, *_) -> None:
        self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer, *_) -> None:
        self.save(trainer, "epoch")


@pytest.mark.parametrize("accumulated", [1, 2])
def test_every_checkpoint_resumes_to_the_same_bits(
    tmp_path: Path, classifier, trainer, noise, steps, accumulated: int
) -> None:
    """Weights, losses, learning rates, and the metrics of the whole epoch."""
    options = {**NETWORK, "optimizer": ADAM, "scheduler": one_cycle}
    run = partial(trainer, max_epochs=2, accumulate_grad_batches=accumulated)
    whole = classifier(**options)
    save = SaveAlways(tmp_path)
    run(callbacks=[steps, save], enable_checkpointing=True).fit(whole, datamodule=noise(6))
    paths = sorted(tmp_path.glob("*.ckpt"))
    if accumulated > 1:  # a checkpoint holds no gradients that are not used yet
        paths = [path for path in paths if "-batch" not in path.name]
    assert len(paths) == (8 if accumulated == 1 else 4)
    for path in paths:
        resumed, seen = classifier(**options), type(steps)()
        run(callbacks=[seen]).fit(resumed, datamodule=noise(6), ckpt_path=path, weights_only=True)
        for name, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], value), (path.name, name)
        assert seen.losses == steps.losses[len(steps.losses) - len(seen.losses) :], path.name
        assert seen.rates == steps.rates[len(steps.rates) - len(seen.rates) :], path.name
        epochs = steps.epochs[len(steps.epochs) - len(seen.epochs) :]
        for found, expected in zip(seen.epochs, epochs, strict=True):
            assert found.items() <= expected.items(), path.name
            assert found["train/loss"] == expected["train/loss"], path.name


@pytest.mark.parametrize(
    ("make", "saved", "batch_size", "left"),
    [
        (one_cycle, "0-2-batch", 2, 18),
        (cosine, "1-10-epoch", 2, 10),
        (partial(OneCycleLR, max_lr=1e-3), "0-2-batch", 2, 18),
        (one_cycle, "1-10-epoch", 4, 6),  # steps of another size: it stays in its epoch
    ],
    ids=["ours", "cosine", "torch", "other steps"],
)
def test_a_run_that_is_resumed_with_more_epochs_continues_on_the_longer_schedule(
    tmp_path: Path, head, trainer, features, steps, make, saved: str, batch_size: int, left: int
) -> None:
    """Fault 7: from then on the learning rates are those of a run that long from the start."""
    options = {"optimizer": ADAM, "scheduler": make}
    save = [SaveAlways(tmp_path)]
    trainer(max_epochs=2, callbacks=save, enable_checkpointing=True).fit(
        head(**options), datamodule=features()
    )
    data = features(10, batch_size)
    trainer(max_epochs=4, callbacks=[steps]).fit(head(**options), datamodule=data)
    seen = type(steps)()
    run = trainer(max_epochs=4, callbacks=[seen])
    path, data = tmp_path / f"{saved}.ckpt", features(10, batch_size)
    run.fit(head(**options), datamodule=data, ckpt_path=path, weights_only=True)
    assert len(seen.rates) == left
    assert seen.rates == steps.rates[-left:]
    momenta = [group["betas"] for group in run.optimizers[0].param_groups]
    assert len(set(momenta)) == 1


def test_a_checkpoint_of_other_classes_is_rejected(tmp_path: Path, head, trainer, features) -> None:
    run = trainer(max_epochs=1)
    run.fit(head(), datamodule=features(2))
    run.save_checkpoint(tmp_path / "last.ckpt")
    other = head()
    other.classes = ["x", "y", "z"]
    with pytest.raises(ConfigError, match="has the classes"):
        trainer(max_epochs=2).fit(
            other, datamodule=features(), ckpt_path=tmp_path / "last.ckpt", weights_only=True
        )
