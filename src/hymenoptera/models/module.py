"""The LightningModule: what a training step computes, what is logged, what a checkpoint holds."""

import math
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
from hymenoptera.models import progress
from hymenoptera.models.classifier import Classifier
from hymenoptera.models.exact import ExactMean
from hymenoptera.models.transfer import Transfer

Batch = tuple[Tensor, Tensor]
LAST_EPOCH = 2**31  # all that is trained at some time is by then


class ClassifierModule(pl.LightningModule):
    """Trains a classifier with cross-entropy; adds nothing that inference needs.

    Logs, with the epoch's value over all its pictures: `train/loss`, `train/accuracy`, `val/loss`,
    `val/accuracy` (micro: the share of pictures that are right); with each step's:
    `train/loss_step` and `lr/PART`. On several processes the epoch's values are of the pictures of
    all of them, `val/loss` and `val/accuracy` to the last bit those of a single one;
    `train/loss_step` is of process 0.

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
        self._parts = transfer.parts(classifier)
        # before a strategy wraps the module, which may give the parameters other shapes, and asks
        # for the gradients of all that are not frozen
        self._groups = transfer.parameter_groups(classifier)
        for part in self._parts:
            part.begin_epoch(LAST_EPOCH)
        classifier.train()  # in eval mode is what an epoch does not train, from its start on
        self._make_optimizer = make_optimizer
        self._make_scheduler = make_scheduler
        self._seed = seed
        self.facts = facts
        self._compute = compute or classifier.forward
        self._train_criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self._val_criterion = nn.CrossEntropyLoss(reduction="none")
        count = len(classifier.classes)
        mixes = [
            make(alpha=float(alpha), num_classes=count)
            for make, alpha in ((v2.MixUp, mixup), (v2.CutMix, cutmix))
            if alpha
        ]
        self._mix = v2.RandomChoice(mixes) if mixes else None
        self._train_loss, self._val_loss = MeanMetric(), ExactMean()
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
        # each process has its own: dropout must not leave out the same units everywhere
        seed = (self._seed * 1_000_003 + self.global_step) + self.global_rank * 1_640_531_513
        # and so has each batch of a step; a CPU's generator takes no more than 32 bits of a seed
        seed += batch_idx % self.trainer.accumulate_grad_batches * 2_654_435_761
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
        inputs, labels = batch if self._mix is None else self._mix(*batch)
        logits = self._compute(inputs)  # (B, C)
        loss: Tensor = self._train_criterion(logits, labels)
        self._train_loss.update(loss.detach(), weight=len(labels))
        # a mixed picture counts as what most of it is
        classes = labels if labels.ndim == 1 else labels.argmax(dim=1)
        self._train_accuracy.update(logits.detach(), classes)
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
        """The learning rate of each part in this step; 0 while it is frozen."""
        return {
            group["part"]: group["lr"] if group["first_epoch"] <= self.current_epoch + 1 else 0.0
            for group in self.trainer.optimizers[0].param_groups
        }

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Metrics of a batch, which may be empty; arguments as in `training_step`."""
        inputs, labels = batch
        if len(labels):
            logits = self._compute(inputs)  # (B, C)
            self._val_loss.update(self._val_criterion(logits, labels))
            self._val_accuracy.update(logits, labels)

    def configure_optimizers(self) -> Any:
        """The optimizer over the transfer's groups, and the schedule, stepped every step."""
        optimizer = self._make_optimizer(self._groups)
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_scale"]
        if self._make_scheduler is None:
            return optimizer
        total_steps = int(self.trainer.estimated_stepping_batches)
        epochs = self.trainer.max_epochs or 1
        scheduler = self._make_scheduler(optimizer, total_steps, max(1, total_steps // epochs))
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where the epoch is, whose steps may be others than they were."""
        progress.check_numbers(checkpoint, self._numbers())
        self.trainer.fit_loop.setup_data()  # or the Trainer would not know its batches yet
        data, accumulated = self.trainer.datamodule, self.trainer.accumulate_grad_batches  # type: ignore[attr-defined]
        steps = math.ceil(int(self.trainer.num_training_batches) / accumulated)
        position = data.first_epoch * max(1, steps) + math.ceil(data.first_batch / accumulated)
        progress.move_schedules(checkpoint, position)
        progress.move_batches(checkpoint, data.first_batch)
        if self.trainer.is_global_zero:  # it has what all processes had added up
            progress.take_metrics(checkpoint, self._so_far())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the facts from which alone the classifier can be rebuilt, and close the epoch."""
        progress.close_epoch(checkpoint)
        progress.number_parameters(checkpoint, self._numbers())
        checkpoint[checkpoints.KEY] = self.facts
        progress.add_metrics(checkpoint, self._so_far())

    def _numbers(self) -> list[list[int]]:
        """For each parameter group, where its parameters stand in the model."""
        places = {id(parameter): place for place, parameter in enumerate(self.parameters())}
        return [[places[id(one)] for one in group["params"]] for group in self._groups]

    def _so_far(self) -> dict[str, Metric]:
        return {"train/loss": self._train_loss, "train/accuracy": self._train_accuracy}
