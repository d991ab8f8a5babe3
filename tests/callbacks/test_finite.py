"""A loss that is not finite ends the run; on a GPU without a wait in each step."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from callbacks.conftest import Fit, Foreign
from hymenoptera.callbacks import FiniteLoss, LastCheckpoint
from hymenoptera.callbacks.finite import CHECK_EVERY
from hymenoptera.errors import RunError


def test_the_step_the_rate_and_the_way_out_are_named(fit: Fit) -> None:
    with pytest.raises(RunError, match=r"train/loss is nan in step 5, in epoch 2") as error:
        fit(FiniteLoss(), model=Foreign(lr=0.3, fail_at=4))
    assert "at a learning rate of 0.3" in str(error.value)
    assert "optimizer.lr=0.03" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_no_checkpoint_is_made_of_it(fit: Fit, tmp_path: Path) -> None:
    last = LastCheckpoint(dirpath=tmp_path, filename="last", within_epoch_s=0)
    with pytest.raises(RunError):
        fit(last, FiniteLoss(), model=Foreign(fail_at=3))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3


def test_a_validation_loss_ends_the_run_too(fit: Fit) -> None:
    class Model(Foreign):
        def validation_step(self, batch, batch_idx):
            self.log("val/loss", torch.tensor(torch.inf))

    with pytest.raises(RunError, match=r"val/loss is inf in epoch 1"):
        fit(FiniteLoss(), model=Model())


class OnGpu(torch.Tensor):
    """A loss that says it lies on a GPU."""

    device = torch.device("cuda")


def test_on_a_gpu_the_host_waits_every_so_many_steps() -> None:
    asked: list[torch.Tensor] = []
    strategy = SimpleNamespace(reduce=lambda loss, reduce_op: asked.append(loss) or loss)
    callback, trainer = FiniteLoss(), SimpleNamespace(strategy=strategy, callbacks=[])
    for batch_idx in range(2 * CHECK_EVERY - 1):
        loss = torch.tensor(0.5).as_subclass(OnGpu)
        callback.on_train_batch_end(trainer, None, {"loss": loss}, None, batch_idx)
    assert len(asked) == 1
    callback.on_train_epoch_end(trainer, None)
    assert len(asked) == 2
