"""What a training step computes."""

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

    module = ClassifierModule(
        Classifier(build_backbone("mobilenet_v3_small", "none"), ["ash", "birch", "cedar"]),
        Transfer([]),
        make_optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0),
        make_scheduler=None,
        seed=1,
        facts={},
        compute=compute,
        **mix,
    )
    losses = Losses()
    loader = DataLoader(TensorDataset(pictures, labels), batch_size=6)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        num_sanity_val_steps=0,
        callbacks=[losses],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader, loader)
    assert losses.seen == pytest.approx([float(cross_entropy(s, s)) for s in trained], abs=1e-6)
    assert not torch.equal(torch.cat(trained), pictures.mean(dim=(2, 3)))
    assert torch.equal(torch.cat(validated), pictures.mean(dim=(2, 3)))
