"""What a training step computes."""

from collections.abc import Callable

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import DataLoader, TensorDataset

from hymenoptera.models.backbone import build_backbone
from hymenoptera.models.classifier import Classifier
from hymenoptera.models.module import ClassifierModule
from hymenoptera.models.transfer import Transfer


class Losses(pl.Callback):
    """Keeps each training step's loss."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.seen.append(float(outputs["loss"]))


def fitted(losses: Losses, loader: DataLoader, module: ClassifierModule, accumulated: int) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        num_sanity_val_steps=0,
        accumulate_grad_batches=accumulated,
        callbacks=[losses],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader, loader)


def module_that(compute: Callable[[Tensor], Tensor], **mix: float) -> ClassifierModule:
    return ClassifierModule(
        Classifier(build_backbone("mobilenet_v3_small", "none"), ["ash", "birch", "cedar"]),
        Transfer([]),
        make_optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0),
        make_scheduler=None,
        seed=1,
        facts={},
        compute=compute,
        **mix,
    )


def test_each_batch_draws_its_own_numbers_however_many_make_a_step() -> None:
    pictures = TensorDataset(torch.zeros(5, 3, 1, 1), torch.zeros(5, dtype=torch.int64))

    def draws(accumulated: int) -> list[float]:
        drawn: list[float] = []

        def compute(images: Tensor) -> Tensor:
            drawn.append(float(torch.rand(())))
            return images.mean(dim=(2, 3)) + 0 * module.classifier.head.bias

        module = module_that(compute)
        fitted(Losses(), DataLoader(pictures, batch_size=1), module, accumulated)
        return drawn[:5]  # without those of validation

    alone, in_pairs = draws(1), draws(2)
    assert len(set(alone)) == len(set(in_pairs)) == 5
    assert in_pairs[::2] == alone[:3]  # the first of each step


@pytest.mark.parametrize("mix", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}])
def test_labels_are_mixed_as_the_pictures_are(mix: dict[str, float]) -> None:
    labels = torch.arange(12) % 3
    pictures = one_hot(labels, 3)[:, :, None, None].float().expand(-1, -1, 16, 16).contiguous()
    trained: list[Tensor] = []
    validated: list[Tensor] = []

    def compute(images: Tensor) -> Tensor:
        shares = images.mean(dim=(2, 3))  # of each class in each picture
        (trained if module.training else validated).append(shares)
        return shares + 0 * module.classifier.head.bias

    module = module_that(compute, **mix)
    losses = Losses()
    fitted(losses, DataLoader(TensorDataset(pictures, labels), batch_size=6), module, 1)
    assert losses.seen == pytest.approx([float(cross_entropy(s, s)) for s in trained], abs=1e-6)
    assert not torch.equal(torch.cat(trained), pictures.mean(dim=(2, 3)))
    assert torch.equal(torch.cat(validated), pictures.mean(dim=(2, 3)))
