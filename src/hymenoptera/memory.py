"""Errors of torch in words, and a fit that goes on in smaller batches where memory runs out."""

import gc
import logging
from collections.abc import Callable
from typing import Any

import torch

from hymenoptera.data.base import PictureDataModule
from hymenoptera.errors import RunError
from hymenoptera.models.classifier import Classifier

log = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: a GPU's, or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    words = ("can't allocate memory", "out of memory")  # torch's allocators, CPU and others
    return isinstance(error, RuntimeError) and any(word in text for word in words)


def explained(error: Exception, config: dict[str, Any]) -> Exception:
    """An error of torch as one that says what to change; another one as it is."""
    data = config["data"]
    size = data["batch_size"]
    if is_out_of_memory(error):
        half = max(1, size // 2)
        return RunError(
            f"Memory ran out with batches of {size} pictures, {data['eval_batch_size']} in "
            f"validation. Try data.batch_size={half} +trainer.accumulate_grad_batches=2, or "
            f"out_of_memory=halve, which does so by itself; a smaller data.eval_batch_size, "
            f"model.image_size or model."
        )
    if "more than 1 value per channel" in str(error):
        return RunError(
            f"Batch norm cannot train on the last batch, which is a single picture, with "
            f"data.batch_size={size}. Try data.batch_size={size + 1}."
        )
    return error


def fit_within_memory(
    fit: Callable[[], None],
    go_back: Callable[[], None],
    config: dict[str, Any],
    data: PictureDataModule,
    classifier: Classifier,
) -> None:
    """Fit; with `out_of_memory: halve`, in smaller batches again where memory runs out.

    A batch is divided into equal parts whose gradients are accumulated, so the step is over the
    same pictures. Two things differ: batch norm sees the parts, and where an epoch's last batch
    is not full, its gradient is divided by the full number of parts.

    Args:
        fit: trains, from what the classifier holds.
        go_back: takes up the last checkpoint, if there is one.
        config: the run's; `data.batch_size` and `trainer.accumulate_grad_batches` are changed.
        data: the run's; its `batch_size` is changed.
        classifier: what is trained.

    Raises:
        Exception: as `fit`; out of memory where a batch is a single picture.
    """
    if config["out_of_memory"] != "halve":
        fit()
        return
    first = {
        name: tensor.detach().cpu().clone() for name, tensor in classifier.state_dict().items()
    }
    while True:
        try:
            fit()
            return
        except Exception as error:
            if not is_out_of_memory(error) or data.batch_size == 1:
                raise
        gc.collect()  # outside of the handler, whose traceback holds on to the tensors
        torch.cuda.empty_cache()
        before = data.batch_size
        parts = next(n for n in range(2, before + 1) if before % n == 0)
        data.batch_size = config["data"]["batch_size"] = before // parts
        accumulated = config["trainer"].get("accumulate_grad_batches") or 1
        config["trainer"]["accumulate_grad_batches"] = accumulated * parts
        log.warning(
            f"Memory ran out with batches of {before} pictures: going on with batches of "
            f"{data.batch_size}, {accumulated * parts} of them to a step."
        )
        classifier.load_state_dict(first)
        go_back()
