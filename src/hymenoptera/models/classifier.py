"""The LightningModule: an image classifier of a pretrained backbone and a linear head."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BaseFinetuning, StochasticWeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy
from torchvision.transforms import v2

from hymenoptera.data.preprocessing import Preprocessing
from hymenoptera.errors import ConfigError
from hymenoptera.models.backbones import build_backbone
from hymenoptera.models.exact_mean import BalancedAccuracy, ExactMean
from hymenoptera.models.inference import InferenceNetwork, cpu_has_bf16
from hymenoptera.models.schedulers import build_scheduler
from hymenoptera.models.transfer import find_parts, parameter_groups

Batch = Sequence[Tensor]
UNEQUAL = 1.5  # images of the largest class for one of the smallest, from where recalls count
TRAIN_METRICS = "train_metrics"  # where a checkpoint holds what an epoch has added up so far


class ImageClassifier(pl.LightningModule):
    """Fine-tunes a pretrained network with cross-entropy.

    Batches are images (B, 3, H, W) float32, normalised as `preprocessing` says, or features
    (B, D) that the backbone gave for them, with labels (B,) int64.

    Logs for each epoch `train/loss`, `train/accuracy`, `val/loss` and `val/accuracy` (micro: the
    share of images that are right) over all images of all processes, and for each step
    `train/loss_step`, of this process. `val/loss` and `val/accuracy` have the same bits however
    many processes there are. `Trainer.test` logs `test/loss` and `test/accuracy`.

    Attributes:
        backbone: (B, 3, H, W) -> (B, D).
        head: (B, D) -> (B, C) logits.
        classes: the C class names, by label.
        preprocessing: from an image to the backbone's input.
        weights_id: where the first weights came from.
        head_is_new: whether the head began with random weights.
        logs_evaluation: whether `Trainer.validate` and `test` send their metrics to the loggers,
            and return them; a validation within a fit does so in any case.

    Args:
        classes: names, by label.
        backbone: the network's name, see `build_backbone`.
        weights: "imagenet" (downloaded once), "none", or a file: a state dict or a checkpoint.
        image_size: input side in pixels; None for what the weights were trained with.
        unfreeze_epochs: the epoch, from 1, in which each stage of the backbone begins to be
            trained, the topmost first; stages that the list does not reach stay frozen, batch
            norms included. A number is the epoch for all, [] trains the head alone.
        lr_decay: each stage's learning rate as a share of that of the stage above it.
        optimizer: from parameter groups to an optimizer; Adam with 1e-4 by default. Groups have
            their own `lr_scale` and, for norms and biases, a weight decay of 0.
        scheduler: a torch scheduler or one of `hymenoptera.models.schedulers`, or a
            `functools.partial` of one; see `build_scheduler`. None for a constant learning rate.
        scheduler_config: what Lightning calls `lr_scheduler_config`: `interval`, `frequency`,
            `monitor` where they should be others than `build_scheduler` picks.
        label_smoothing: share of each label that is spread over all classes, in training only.
        mixup: alpha of the Beta distribution from which the weights of two blended training images
            are taken (Zhang et al., "mixup", 2018); 0 for none.
        cutmix: the same for a rectangle of another image (Yun et al., "CutMix", 2019). With both,
            each batch is one or the other.
        class_weights: of the classes' images in the training loss, by label; "balanced" for the
            inverse of how many training images a class has, 1 on average over them.
        seed: from which each step's random numbers (dropout, mixup, ...) are derived.
        compile: True for `torch.compile`, "cuda_graphs" to replay CUDA graphs too.
        channels_last: memory format of the convolutions; "auto" for channels last on a GPU and
            whenever nothing is trained, where it is faster.
        frozen_bf16: whether a backbone of which nothing is ever trained runs in bfloat16 on a CPU;
            "auto" for where the CPU has it and the Trainer's precision is 32 bit.
        preprocessing: as `Preprocessing.to_dict` gives it; None for that of the weights.
        weights_id: None for that of the weights. A checkpoint holds it and the preprocessing:
            where it is given, no weights are loaded or drawn here, since the checkpoint has all.

    Raises:
        ConfigError: no such backbone or weights, or they do not go together.
    """

    backbone: nn.Module
    _class_weights: Tensor | None
    logs_evaluation: bool = True

    def __init__(
        self,
        classes: Sequence[str],
        backbone: str = "resnet18",
        weights: str = "imagenet",
        image_size: int | None = None,
        unfreeze_epochs: int | Sequence[int] = 1,
        lr_decay: float = 1.0,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer] | None = None,
        scheduler: Callable[..., Any] | None = None,
        scheduler_config: Mapping[str, Any] | None = None,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        class_weights: Literal["balanced"] | Sequence[float] | None = None,
        seed: int = 0,
        compile: bool | Literal["cuda_graphs"] = False,
        channels_last: bool | Literal["auto"] = False,
        frozen_bf16: bool | Literal["auto"] = False,
        preprocessing: Mapping[str, Any] | None = None,
        weights_id: str | None = None,
    ) -> None:
        super().__init__()
        built = build_backbone(backbone, weights if weights_id is None else None, image_size)
        self.backbone = built.network
        self.head = nn.Linear(built.feature_count, len(classes))
        loaded = built.head_weights.get("weight")
        # a head of the same size is taken over, one of another size gives way to the new one
        self.head_is_new = loaded is None or loaded.shape != self.head.weight.shape
        if not self.head_is_new:
            self.head.load_state_dict(built.head_weights)
        self.classes = [str(name) for name in classes]
        self.preprocessing = built.preprocessing
        if preprocessing is not None:
            self.preprocessing = Preprocessing.from_dict(dict(preprocessing))
        self.weights_id = built.weights_id if weights_id is None else weights_id
        epochs = unfreeze_epochs if isinstance(unfreeze_epochs, int) else [*unfreeze_epochs]
        self._parts = find_parts(self, epochs, lr_decay, self.preprocessing.crop_px)
        self._make_optimizer = optimizer or partial(torch.optim.Adam, lr=1e-4)
        self._make_scheduler = scheduler
        self._scheduler_config = dict(scheduler_config or {})
        self._label_smoothing = float(label_smoothing)
        self._set_losses({v2.MixUp: mixup, v2.CutMix: cutmix})
        is_plain = class_weights is None or isinstance(class_weights, str)
        # a checkpoint holds what follows: plain values, from which the classifier is rebuilt
        self.save_hyperparameters(
            ignore=["optimizer", "scheduler", "scheduler_config"], logger=False
        )
        self.hparams.update(
            classes=self.classes,
            weights="none",
            weights_id=self.weights_id,
            unfreeze_epochs=epochs,
            class_weights=class_weights if is_plain else [*map(float, class_weights or ())],
            preprocessing=self.preprocessing.to_dict(),
            head_is_new=self.head_is_new,
        )

    def _set_losses(self, mixes: dict[Any, float]) -> None:
        count = len(self.classes)
        self.register_buffer("_class_weights", None, persistent=False)
        self._criterion = nn.CrossEntropyLoss(reduction="none")
        chosen = [mix(alpha=float(a), num_classes=count) for mix, a in mixes.items() if a]
        self._mix = v2.RandomChoice(chosen) if chosen else None
        # checks of values would wait for the GPU in each step
        accuracy = partial(MulticlassAccuracy, count, average="micro", validate_args=False)
        self._train_loss, self._train_accuracy = MeanMetric(nan_strategy="disable"), accuracy()
        self._eval_loss, self._eval_accuracy = ExactMean(), accuracy()
        self._eval_balanced, self._logs_balanced = BalancedAccuracy(count), False
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self._groups: list[dict[str, Any]] | None = None
        self._is_still = False  # whether the backbone is only read until the next `setup`
        self._copies: list[InferenceNetwork] = []  # in a list, so that it is no part of the model

    # What it computes

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float32, normalised -> (B, D), what the head is given."""
        if self._is_still and not self._copies and self._compiled is None:
            self._copies.append(self.for_inference())
        features: Tensor = (self._copies[0] if self._copies else self.backbone)(images)
        return features

    def for_inference(self, bf16: bool | None = None) -> InferenceNetwork:
        """A copy of the backbone as it is now, which is faster and cannot be trained.

        It runs in bfloat16 if that is asked for, or else if the head was trained on such features.
        """
        if bf16 is None:
            on_cpu = next(self.backbone.parameters()).device.type == "cpu"
            bf16 = self.hparams["frozen_bf16"] is True and on_cpu and cpu_has_bf16()
        with torch.inference_mode(mode=False):  # of which a validation would make other tensors
            return InferenceNetwork(self.backbone, bf16=bf16)

    def forward(self, inputs: Tensor) -> Tensor:
        """Images (B, 3, H, W) float32, normalised, or features (B, D) -> logits (B, C)."""
        logits: Tensor = self.head(inputs if inputs.ndim == 2 else self.features(inputs))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The mean cross-entropy of a batch, `loss`; and its `logits` and (mixed) `labels`."""
        inputs, labels = batch if self._mix is None else self._mix(*batch)
        logits = self._logits(inputs)  # (B, C)
        options: Any = {"weight": self._class_weights, "label_smoothing": self._label_smoothing}
        loss = cross_entropy(logits, labels, **options)
        # once for each image: torchmetrics drops weights where it does not check for NaN
        self._train_loss.update(loss.detach().expand(len(labels)))
        # a mixed image counts as what most of it is
        hard = labels if labels.ndim == 1 else labels.argmax(dim=1)
        self._train_accuracy.update(logits.detach(), hard)
        bar = self.trainer.progress_bar_callback is not None  # reading it waits for the GPU
        self.log("train/loss_step", loss.detach(), on_step=True, on_epoch=False, prog_bar=bar)
        return {"loss": loss, "logits": logits.detach(), "labels": labels}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """`logits` (B, C), `labels` (B,) and `loss` (B,) of a batch, which may be empty."""
        inputs, labels = batch
        if not len(labels):
            logits = self.head.weight.new_empty(0, len(self.classes))
            return {"logits": logits, "labels": labels, "loss": logits.new_empty(0)}
        logits = self._logits(inputs)
        losses = self._criterion(logits, labels)
        self._eval_loss.update(losses)
        self._eval_accuracy.update(logits, labels)
        self._eval_balanced.update(logits, labels)
        return {"logits": logits, "labels": labels, "loss": losses}

    test_step = validation_step

    def predict_step(self, batch: Tensor | Batch, batch_idx: int) -> Tensor:
        """Probabilities (B, C) of a batch of images, with or without labels."""
        inputs = batch if isinstance(batch, Tensor) else batch[0]
        if not len(inputs):
            return self.head.weight.new_empty(0, len(self.classes))
        return self._logits(inputs).float().softmax(dim=1)

    def _logits(self, inputs: Tensor) -> Tensor:
        return (self._compiled or self)(inputs)

    # What is frozen

    @property
    def trains_head_only(self) -> bool:
        """Whether the backbone is never trained, so that its features can be computed once."""
        return all(part.first_epoch is None for part in self._parts[1:])

    def setup(self, stage: str) -> None:
        """Choose the memory format, compile, and let a strategy see what is ever trained.

        Raises:
            ConfigError: compile="cuda_graphs" without a CUDA GPU.
        """
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        last, compiled = self.hparams["channels_last"], self.hparams["compile"]
        last = on_gpu or stage != "fit" if last == "auto" else last
        counts = self._count_classes()
        monitored = [getattr(one, "monitor", "") for one in self.trainer.callbacks]  # type: ignore[attr-defined]
        self._logs_balanced = "val/balanced_accuracy" in monitored or (
            counts is not None and bool(counts.max() > UNEQUAL * counts.min())
        )
        self._copies.clear()
        self._is_still = stage != "fit" or self.trains_head_only
        self.backbone.to(memory_format=torch.channels_last if last else torch.contiguous_format)
        if stage == "fit" and compiled and self._compiled is None:
            if compiled == "cuda_graphs" and not on_gpu:
                raise ConfigError("compile=cuda_graphs needs a CUDA GPU: take compile=true.")
            mode = "reduce-overhead" if compiled == "cuda_graphs" else None
            self._compiled = torch.compile(self.forward, mode=mode)
        if stage == "fit":
            self.choose_precision()
            self._class_weights = self._weigh(counts)
            # before a strategy wraps the parameters, which may give them other shapes
            self._groups = parameter_groups(self, self._parts)
            for part in self._parts:
                part.freeze(self, part.first_epoch is None)

    def _count_classes(self) -> Tensor | None:
        """(C,) training images by class; None of a data module that does not say."""
        samples = getattr(getattr(self.trainer, "datamodule", None), "train", None)
        labels = np.asarray(getattr(samples, "labels", None))
        if not np.issubdtype(labels.dtype, np.integer):
            return None
        return torch.as_tensor(labels).bincount(minlength=len(self.classes))

    def _weigh(self, counts: Tensor | None) -> Tensor | None:
        """(C,) weights of the classes in the training loss; None for equal ones."""
        wanted, own = self.hparams["class_weights"], self.classes
        if wanted is None:
            return None
        if wanted != "balanced":
            if len(wanted) != len(own):
                raise ConfigError(f"loss.class_weights has {len(wanted)} for {len(own)} classes.")
            return torch.tensor(wanted, dtype=torch.float32)
        if counts is None or 0 in counts:
            raise ConfigError("loss.class_weights=balanced needs training images of each class.")
        return counts.sum() / (len(own) * counts)

    def choose_precision(self) -> None:
        """Say of "auto" what it means for this Trainer, for the checkpoint and `for_inference`."""
        on_cpu = self.trainer.strategy.root_device.type == "cpu"
        if (wanted := self.hparams["frozen_bf16"]) == "auto":
            wanted = cpu_has_bf16() and str(self.trainer.precision) == "32-true"
        self.hparams["frozen_bf16"] = bool(wanted and on_cpu and self.trains_head_only)

    def teardown(self, stage: str) -> None:
        """Drop the copy of a still backbone: from here on its weights may change again."""
        self._copies.clear()
        self._is_still = False

    def on_fit_start(self) -> None:
        """Reject callbacks that would move what is frozen.

        Raises:
            ConfigError: a finetuning callback, or StochasticWeightAveraging, which resets the
                statistics of all batch norms, where something is frozen.
        """
        self.train()  # whatever was done with it before; frozen parts follow when training starts
        is_partial = any(part.first_epoch != 1 for part in self._parts)
        rejected = (BaseFinetuning, *((StochasticWeightAveraging,) if is_partial else ()))
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, rejected):
                raise ConfigError(
                    f"{type(callback).__name__} changes what this model keeps frozen: leave it "
                    f"out and set transfer.unfreeze_epochs."
                )

    def on_train_start(self) -> None:
        """Continue the epoch that a resumed run is in the middle of: no hook says it begins."""
        self._freeze()
        if self.trainer.fit_loop.restarted_mid_epoch:
            self._log_metrics()

    def on_train_epoch_start(self) -> None:
        """Freeze what this epoch does not train, and begin its metrics."""
        self._freeze()
        self._train_loss.reset()
        self._train_accuracy.reset()
        self._log_metrics()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Drop the gradients of what this epoch does not train."""
        if self.trainer.world_size > 1:
            for group in optimizer.param_groups:
                if self._is_frozen(group.get("first_epoch", 1)):
                    for parameter in group["params"]:
                        parameter.grad = None

    def _freeze(self) -> None:
        for part in self._parts:
            # DistributedDataParallel waits for the gradients of all that is ever trained
            keep = part.first_epoch is not None and self.trainer.world_size > 1
            part.freeze(self, self._is_frozen(part.first_epoch), keep_gradients=keep)

    def _is_frozen(self, first_epoch: int | None) -> bool:
        return first_epoch is None or self.current_epoch + 1 < first_epoch

    # How it is trained

    def configure_optimizers(self) -> Any:
        """The optimizer over all that is ever trained, and the scheduler."""
        groups = parameter_groups(self, self._parts) if self._groups is None else self._groups
        optimizer = self._make_optimizer([dict(group) for group in groups])
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * group["lr_scale"]
        if self._make_scheduler is None:
            return optimizer
        built = build_scheduler(self._make_scheduler, optimizer, self.trainer)
        return {"optimizer": optimizer, "lr_scheduler": built | self._scheduler_config}

    def learning_rates(self) -> dict[str, float]:
        """The learning rate of each part in this step; 0 while it is frozen."""
        return {
            group["part"]: 0.0 if self._is_frozen(group["first_epoch"]) else float(group["lr"])
            for group in self.trainer.optimizers[0].param_groups
        }

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Derive the step's random numbers from seed and step: a resumed run has the same."""
        # each process has its own: dropout must not leave out the same units everywhere
        seed = self.hparams["seed"] * 1_000_003 + self.global_step
        seed += self.global_rank * 1_640_531_513
        # and so has each batch of a step; a CPU's generator takes no more than 32 bits of a seed
        seed += batch_idx % self.trainer.accumulate_grad_batches * 2_654_435_761
        # on a CPU torch.manual_seed would note the call stack each time, for a GPU to come
        on_cpu = self.device.type == "cpu"
        (torch.default_generator.manual_seed if on_cpu else torch.manual_seed)(seed)

    # What is logged and saved

    def _log_metrics(self) -> None:
        metrics = {"train/loss": self._train_loss, "train/accuracy": self._train_accuracy}
        # Lightning computes at the epoch's end what is logged at its start: callbacks have it there
        self.log_dict(metrics, on_step=False, on_epoch=True)

    def on_validation_epoch_start(self) -> None:
        """Begin the metrics, also after a validation that was interrupted."""
        self._eval_loss.reset()
        self._eval_accuracy.reset()
        self._eval_balanced.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of a validation, or of a test."""
        split = "test" if self.trainer.testing else "val"
        metrics = {f"{split}/loss": self._eval_loss, f"{split}/accuracy": self._eval_accuracy}
        if self._logs_balanced:
            metrics[f"{split}/balanced_accuracy"] = self._eval_balanced
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        self.log_dict(metrics, logger=None if fitting or self.logs_evaluation else False)

    on_test_epoch_start, on_test_epoch_end = on_validation_epoch_start, on_validation_epoch_end

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the epoch's training metrics have added up, over all processes."""
        states: dict[str, Any] = {}
        for name in ("_train_loss", "_train_accuracy"):
            metric: Metric = getattr(self, name)
            if metric.update_called:
                with metric.sync_context():
                    state: dict[str, Any] = metric.metric_state
                    states[name] = {key: value.cpu().clone() for key, value in state.items()}
        checkpoint[TRAIN_METRICS] = states

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over what a resumed epoch has added up so far, and where the weights came from.

        Raises:
            ConfigError: the checkpoint is of other classes.
        """
        self._copies.clear()
        saved = checkpoint.get("hyper_parameters", {})
        if saved.get("classes", self.classes) != self.classes:
            raise ConfigError(
                f"The checkpoint has the classes {saved['classes']}, not this model's."
            )
        self.weights_id = self.hparams["weights_id"] = saved.get("weights_id", self.weights_id)
        self.head_is_new = self.hparams["head_is_new"] = saved.get("head_is_new", self.head_is_new)
        for name, state in checkpoint.get(TRAIN_METRICS, {}).items():
            metric: Metric = getattr(self, name)
            if self.global_rank == 0:  # it holds what all processes had added up
                for key, value in state.items():
                    setattr(metric, key, value.to(metric.device))
            metric._update_count = 1  # or torchmetrics would warn that there is nothing yet
