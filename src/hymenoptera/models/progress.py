"""Where a checkpoint stands: in which epoch, after which batch, and with which rates.

The one module that knows how the Trainer writes its loops, schedules and optimizers down.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torchmetrics import Metric

from hymenoptera.errors import RequestError

KEY = "epoch_so_far"  # where the metrics stand in the checkpoint


def close_epoch(checkpoint: dict[str, Any]) -> None:
    """Say in a checkpoint saved at an epoch's very end that the epoch is over.

    When the Trainer saves there, its loops still count the epoch as open, and a resumed run goes
    through it once more. Nothing is left to do in it, so the loops are put where they stand
    before the next one. A checkpoint saved elsewhere is left as it is.

    Args:
        checkpoint: as the Trainer is about to write it; changed in place.
    """
    loops = checkpoint["loops"]["fit_loop"]
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    ended = epochs["total"]["processed"] == epochs["total"]["completed"] + 1
    if not (ended and batches["is_last_batch"]):
        return
    for progress in (epochs["total"], epochs["current"]):
        progress["completed"] = progress["processed"]
    batches["is_last_batch"] = False
    optimizer = loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    for current in (
        batches["current"],
        loops["epoch_loop.scheduler_progress"]["current"],
        optimizer["step"]["current"],
        optimizer["zero_grad"]["current"],
    ):
        current.update(dict.fromkeys(current, 0))


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


def move_batches(checkpoint: dict[str, Any], batches: int) -> None:
    """Have a checkpoint from the middle of an epoch say that so many batches of it are done."""
    current = _batches(checkpoint)["current"]
    if current["processed"]:
        # saved when the last one was processed, and not yet counted as completed
        current |= dict.fromkeys(("ready", "started", "processed"), batches)
        current["completed"] = batches - 1


def move_schedules(checkpoint: dict[str, Any], position: int) -> None:
    """Put a checkpoint's schedules where its epoch is, counted in steps of another length.

    A run that goes on with another number of processes, or another batch size, has other steps
    per epoch. The schedules keep their place among the epochs; where steps are what they were,
    nothing changes.

    Args:
        checkpoint: as it was read; changed in place.
        position: the steps that the run that goes on would have taken until there.
    """
    for schedule in checkpoint.get("lr_schedulers", []):
        if schedule["last_epoch"] == position:
            continue
        schedule["last_epoch"], schedule["_step_count"] = position, position + 1
        for own in ("total_steps", "_schedule_phases", "step_size"):  # the new run has its own
            schedule.pop(own, None)


def number_parameters(checkpoint: dict[str, Any], numbers: Sequence[list[int]]) -> None:
    """Number what an optimizer's state is of as the parameters stand in the model.

    torch numbers them by their place in the optimizer's groups, and reads any numbers; FSDP writes
    and reads the model's. Groups with their parameters in the model's order, as
    `Transfer.parameter_groups` has them, and these numbers can be gone on with by either.

    Args:
        checkpoint: as the Trainer is about to write it; changed in place.
        numbers: for each group the places of its parameters among the model's.
    """
    for state in checkpoint.get("optimizer_states", []):
        if not state:  # of processes that share it, one has it here
            continue
        moved: dict[int, int] = {}
        for saved, own in zip(state["param_groups"], numbers, strict=True):
            moved |= zip(saved["params"], own, strict=True)
            saved["params"] = own
        state["state"] = {moved.get(n, n): value for n, value in state["state"].items()}


def check_numbers(checkpoint: dict[str, Any], numbers: Sequence[list[int]]) -> None:
    """Compare what a checkpoint's optimizer state is of with what the run that goes on trains.

    Args:
        checkpoint: as it was read.
        numbers: as of `number_parameters`.

    Raises:
        RequestError: it is of others, or they are numbered as an older version did.
    """
    for state in checkpoint.get("optimizer_states", []):
        if [saved["params"] for saved in state["param_groups"]] != numbers:
            raise RequestError(
                "The optimizer's state in that checkpoint is of other parameters, or an older "
                "version wrote it: it cannot be gone on with. Its weights can: hymenoptera export "
                "RUN --format safetensors, and a new run with model.weights=FILE."
            )


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
