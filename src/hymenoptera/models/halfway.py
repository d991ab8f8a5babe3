"""A checkpoint from the middle of an epoch: how far that was, and what was measured until then."""

from collections.abc import Mapping
from typing import Any

from torchmetrics import Metric

from hymenoptera.errors import RequestError

KEY = "epoch_so_far"  # where the metrics stand in the checkpoint


def batches_done(checkpoint: dict[str, Any], trained_with: int, batch_size: int) -> int:
    """How many batches of the epoch a checkpoint was saved in are done; 0 after a whole one.

    Args:
        checkpoint: as it was read.
        trained_with: pictures that all processes had in a batch until then.
        batch_size: pictures that they have from then on.

    Raises:
        RequestError: what is done is no whole number of such batches.
    """
    done = int(_batches(checkpoint)["current"]["processed"])
    if done * trained_with % batch_size:
        raise RequestError(
            f"That run was stopped in the middle of an epoch, after {done} batches of "
            f"{trained_with} pictures, which are no whole number of batches of {batch_size}. "
            f"Choose data.batch_size so that it makes {trained_with} pictures over all processes."
        )
    return done * trained_with // batch_size


def move(checkpoint: dict[str, Any], batches: int) -> None:
    """Have a checkpoint from the middle of an epoch say that so many batches of it are done."""
    current = _batches(checkpoint)["current"]
    if current["processed"]:
        # saved when the last one was processed, and not yet counted as completed
        current |= dict.fromkeys(("ready", "started", "processed"), batches)
        current["completed"] = batches - 1


def add_metrics(checkpoint: dict[str, Any], metrics: Mapping[str, Metric]) -> None:
    """Put what the metrics of all processes have added up into a checkpoint of mid-epoch."""
    if not _batches(checkpoint)["current"]["processed"]:
        return
    checkpoint[KEY] = {}
    for name, metric in metrics.items():
        with metric.sync_context():
            checkpoint[KEY][name] = {s: getattr(metric, s).cpu() for s in metric._defaults}


def take_metrics(checkpoint: dict[str, Any], metrics: Mapping[str, Metric]) -> None:
    """Have metrics go on with what a checkpoint has added up; one from before that has nothing."""
    for name, states in checkpoint.get(KEY, {}).items():
        for state, value in states.items():
            setattr(metrics[name], state, value.to(metrics[name].device))


def _batches(checkpoint: dict[str, Any]) -> dict[str, Any]:
    progress: dict[str, Any] = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    return progress
