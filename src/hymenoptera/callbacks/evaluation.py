"""The predictions behind `Trainer.validate` and `Trainer.test`, collected over all processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hymenoptera.callbacks.lookup import callback_of
from hymenoptera.reports.metrics import Predictions
from hymenoptera.reports.record import write_predictions

Batch = list[NDArray[Any]]  # logits (B, C), labels (B,), and features (B, D) if they are kept


@dataclass(frozen=True)
class EvaluationResult(Predictions):
    """Predictions for the images of one split, in its order."""

    logits: NDArray[np.float32]  # (N, C)
    features: NDArray[np.float32] | None  # (N, D), what the head was given, if a callback needs it
    folder: Path  # where predictions.csv was written


class Evaluation(pl.Callback):
    """Collects what `trainer.validate` and `trainer.test` predict, and writes it to a CSV file.

    It takes `logits` (B, C) and `labels` (B,) from what `validation_step` and `test_step` return;
    a model that returns something else is left alone, and so is the validation within `fit`. The
    data modules of `hymenoptera.data` deal whole batches out to the processes in turn, so that the
    order of the split is restored here.

    Attributes:
        result: of the latest evaluation, in every process; None where there is none.

    Args:
        folder: where predictions.csv and test_predictions.csv are written; the trainer's
            `default_root_dir` by default.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.result: EvaluationResult | None = None
        self._folder = folder
        self._batches: list[Batch] = []
        self._head_inputs: list[Tensor] = []
        self._hook: Any = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.result, self._batches = None, []
        needed = any(getattr(c, "needs_features", False) for c in trainer.callbacks)  # type: ignore[attr-defined]
        compiled = pl_module.hparams.get("compile")  # for the hook it would be compiled again
        head = getattr(pl_module, "head", None)
        if trainer.state.fn != "fit" and needed and not compiled and isinstance(head, nn.Module):
            keep = self._head_inputs.append
            self._hook = head.register_forward_pre_hook(lambda _, inputs: keep(inputs[0]))

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any, **_: Any) -> None:
        features = [_array(inputs) for inputs in self._head_inputs]
        self._head_inputs.clear()
        _, outputs, _, _, *dataloader = args  # without a number if there is one loader
        if trainer.state.fn == "fit" or any(dataloader) or not isinstance(outputs, Mapping):
            return
        logits, labels = outputs.get("logits"), outputs.get("labels")
        if isinstance(logits, Tensor) and isinstance(labels, Tensor) and labels.ndim == 1:
            self._batches.append([_array(logits), labels.cpu().numpy(), *features])

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_exception()
        batches = _in_order(trainer, self._batches) if trainer.state.fn != "fit" else []
        self._batches = []
        if not batches:
            return
        split = "test" if trainer.testing else "val"
        logits, labels, *features = map(np.concatenate, zip(*batches, strict=True))
        probabilities = torch.from_numpy(logits).softmax(dim=1).numpy().astype(np.float64)
        self.result = EvaluationResult(
            classes=_classes(trainer, probabilities.shape[1]),
            labels=labels,
            probabilities=probabilities,
            names=_names(trainer, split, len(labels)),
            logits=logits,
            features=features[0] if features else None,
            folder=Path(self._folder or trainer.default_root_dir),
        )
        if trainer.is_global_zero:
            file = "predictions.csv" if split == "val" else "test_predictions.csv"
            columns = (self.result.names, labels, probabilities, self.result.classes)
            write_predictions(self.result.folder / file, *columns)

    on_test_start = on_validation_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def on_exception(self, *_: Any) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None


def evaluation_of(trainer: pl.Trainer) -> EvaluationResult | None:
    """The result of a trainer's latest `validate` or `test`; None without an `Evaluation`."""
    callback = callback_of(trainer, Evaluation)
    return None if callback is None else callback.result


def _in_order(trainer: pl.Trainer, batches: list[Batch]) -> list[Batch]:
    """The batches of all processes in the split's order, without the empty ones."""
    gathered: list[Any] = [batches]
    if trainer.world_size > 1:
        gathered = [None] * trainer.world_size
        torch.distributed.all_gather_object(gathered, batches)
    steps = zip_longest(*gathered, fillvalue=[])
    return [batch for step in steps for batch in step if batch and len(batch[1])]


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().float().cpu().numpy()


def _classes(trainer: pl.Trainer, count: int) -> list[str]:
    for owner in (trainer.lightning_module, trainer.datamodule):  # type: ignore[attr-defined]
        classes = getattr(owner, "classes", None)
        if isinstance(classes, list | tuple) and len(classes) == count:
            return [str(name) for name in classes]
    return [str(label) for label in range(count)]


def _names(trainer: pl.Trainer, split: str, count: int) -> list[str]:
    """The images' names, or numbers where the data module has none."""
    samples = getattr(trainer.datamodule, split, None)  # type: ignore[attr-defined]
    names = getattr(samples, "names", [])
    return [names[at] if len(names) >= count else str(at) for at in range(count)]
