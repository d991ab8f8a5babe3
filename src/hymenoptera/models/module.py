"""The LightningModule: what a training step computes, what is logged, what a checkpoint holds."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy
from torchvision.transforms import v2

from hymenoptera.models import checkpoint as checkpoints
from hymenoptera.models import halfway
from hymenoptera.models.classifier import Classifier
from hymenoptera.models.transfer import Transfer

Batch = tuple[Tensor, Tensor]


class ClassifierModule(pl.LightningModule):
    """Trains a classifier with cross-entropy; adds nothing that inference needs.

    Logs, with the epoch's value over all its pictures: `train/loss`, `train/accuracy`, `val/loss`,
    `val/accuracy` (micro: the share of pictures that are right); with each step's:
    `train/loss_step` and `lr/GROUP`.

    Attributes:
        classifier: as given, and likewise `facts`.

    Args:
        classifier: what is trained.
        transfer: which of its parameters are, in which groups.
        make_optimizer: from the parameter groups to an optimizer.
        make_scheduler: from (optimizer, total_steps, steps_per_epoch) to a schedule, or None.
        seed: from which each step's random numbers (dropout, ...) are derived.
        facts: what the checkpoint says of itself, from `checkpoint.describe`.
        label_smoothing: share of each label that is spread over all classes, in training alone.
        mixup: alpha of the Beta distribution from which two pictures' shares are drawn that are
            blended, in training alone (Zhang et al., "mixup", 2018); 0 for none.
        cutmix: the same for a rectangle of another picture (Yun et al., "CutMix", 2019). With
            both, each batch is one or the other.
        compute: from a batch's first tensor to logits (B, C); the classifier itself by default,
            its upper part where the batches hold what the lower part gives.
    """

    def __init__(
        self,
        classifier: Classifier,
        transfer: Transfer,
        make_optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        make_scheduler: Callable[[Optimizer, int, int], LRScheduler] | None,
        seed: int,
        facts: dict[str, Any],
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        compute: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self._transfer = transfer
        self._parts = transfer.parts(classifier)
        self._make_optimizer = make_optimizer
        self._make_scheduler = make_scheduler
        self._seed = seed
        self.facts = facts
        self._compute = compute or classifier.forward
        self._train_criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self._val_criterion = nn.CrossEntropyLoss()
        count = len(classifier.classes)
        mixes = [
            make(alpha=alpha, num_classes=count)
            for make, alpha in ((v2.MixUp, mixup), (v2.CutMix, cutmix))
            if alpha
        ]
        self._mix = v2.RandomChoice(mixes) if mixes else None
        self._train_loss, self._val_loss = MeanMetric(), MeanMetric()
        self._train_accuracy = MulticlassAccuracy(num_classes=count, average="micro")
        self._val_accuracy = MulticlassAccuracy(num_classes=count, average="micro")

    def on_train_start(self) -> None:
        """Begin the epoch that a resumed run is in the middle of: the Trainer does not."""
        if self.trainer.fit_loop.restarted_mid_epoch:
            for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
                callback.on_train_epoch_start(self.trainer, self)
            self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Freeze what this epoch does not train."""
        for part in self._parts:
            part.begin_epoch(self.current_epoch + 1)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Derive the step's random numbers from seed and step: a resumed run has the same."""
        seed = self._seed * 1_000_003 + self.global_step
        if self.device.type == "cpu":
            # torch.manual_seed would note the whole call stack each time, for a CUDA to come
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch.

        Args:
            batch: images (B, 3, H, W) float32, labels (B,) int64.
            batch_idx: position in the epoch.

        Returns:
            () float32, the mean cross-entropy.
        """
        mixed = batch if self._mix is None else self._mix(*batch)
        loss = self._measure(mixed, self._train_loss, self._train_accuracy)
        scalars = {f"lr/{name}": rate for name, rate in self.rates().items()}
        # not through self.log, whose bookkeeping takes longer than a step on cached features
        for logger in self.loggers:
            logger.log_metrics({"train/loss_step": loss.item(), **scalars}, self.global_step)
        return loss

    def on_validation_epoch_end(self) -> None:
        """The epoch's metrics: validation is the last thing in it."""
        for name, metric in (
            ("train/loss", self._train_loss),
            ("train/accuracy", self._train_accuracy),
            ("val/loss", self._val_loss),
            ("val/accuracy", self._val_accuracy),
        ):
            self.log(name, metric.compute())
            metric.reset()

    def rates(self) -> dict[str, float]:
        """The learning rate of each group in this step; 0 while it is frozen."""
        return {
            group["name"]: group["lr"] if group["first_epoch"] <= self.current_epoch + 1 else 0.0
            for group in self.trainer.optimizers[0].param_groups
        }

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Metrics of a batch; arguments as in `training_step`."""
        self._measure(batch, self._val_loss, self._val_accuracy)

    def configure_optimizers(self) -> Any:
        """The optimizer over the transfer's groups, and the schedule, stepped every step."""
        optimizer = self._make_optimizer(self._transfer.parameter_groups(self.classifier))
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_scale"]
        if self._make_scheduler is None:
            return optimizer
        total_steps = int(self.trainer.estimated_stepping_batches)
        epochs = self.trainer.max_epochs or 1
        scheduler = self._make_scheduler(optimizer, total_steps, max(1, total_steps // epochs))
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the facts from which alone the classifier can be rebuilt, and close the epoch."""
        checkpoints.close_epoch(checkpoint)
        checkpoint[checkpoints.KEY] = self.facts
        halfway.add_metrics(checkpoint, self._so_far())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on in the middle of an epoch, where the checkpoint was saved there."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        halfway.move(checkpoint, getattr(data, "first_batch", 0))
        halfway.take_metrics(checkpoint, self._so_far())

    def _so_far(self) -> dict[str, Metric]:
        return {"train/loss": self._train_loss, "train/accuracy": self._train_accuracy}

    def _measure(self, batch: Batch, mean_loss: MeanMetric, accuracy: MulticlassAccuracy) -> Tensor:
        inputs, labels = batch
        logits = self._compute(inputs)  # (B, C)
        loss: Tensor = (self._train_criterion if self.training else self._val_criterion)(
            logits, labels
        )
        mean_loss.update(loss.detach(), weight=len(labels))
        # a mixed picture counts as what most of it is
        accuracy.update(logits.detach(), labels if labels.ndim == 1 else labels.argmax(dim=1))
        return loss
