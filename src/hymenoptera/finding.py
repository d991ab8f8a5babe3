"""The search for a learning rate: a run's data, model and optimizer, and a rate that grows."""

import io
import logging
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from hymenoptera.atomic import write_file
from hymenoptera.callbacks.console import StepBar, quieten_libraries
from hymenoptera.callbacks.interruption import InterruptedTraining, Interruption, interruptible
from hymenoptera.callbacks.rate_range import RateRange
from hymenoptera.config import build_named
from hymenoptera.errors import RunError
from hymenoptera.preparing import Run, prepare
from hymenoptera.results import announcements, records
from hymenoptera.results.learning_rates import RULES, draw_curve
from hymenoptera.results.tables import format_duration
from hymenoptera.training import QUIET

log = logging.getLogger(__name__)

FEWEST = 10  # losses, below which there is no curve to read


def find_learning_rate(
    config: dict[str, Any], folder: Path, overrides: list[str], began: float
) -> int:
    """Suggest a rate for a config: find_lr.png, find_lr.csv, the figure in TensorBoard, a line.

    Nothing that is trained is kept, and no checkpoint is written.

    Args:
        config: from `config.check`.
        folder: the run folder; it exists.
        overrides: of the command line, for the record and for the line to type.
        began: `time.monotonic()` when the command began.

    Returns:
        The exit status: 0, or 130 for a search that was interrupted.

    Raises:
        RequestError: what was asked for cannot be had.
        RunError: the loss is no number too early for a curve.
    """
    quieten_libraries()
    run = prepare(config, folder, overrides)
    log.info("%s\n", announcements.beginning(run.record, folder))
    search = RateRange(**config["find_lr"])
    loggers = list(build_named(config["logger"]).values())
    try:
        _raise_rate(run, search, loggers)
    except InterruptedTraining:
        return 130
    if len(search.losses) < FEWEST:
        raise RunError(
            f"The loss is beyond use after {len(search.losses)} steps, from a rate of "
            f"{config['find_lr']['min_lr']:.2g}. Begin lower: find_lr.min_lr=1e-9."
        )
    suggestions = {rule: read(search.rates, search.losses) for rule, read in RULES.items()}
    _keep_curve(folder, search, suggestions, loggers)
    total_s = time.monotonic() - began
    run.record |= {
        "status": "completed",
        "epochs": 0,
        "best": None,
        "find_lr": suggestions,
        "durations": {"total_s": total_s},
    }
    records.write_summary(folder, run.record)
    for rule, rate in suggestions.items():
        log.info("%-10s %.2g", rule, rate)
    log.info("%-10s %s", "time", format_duration(total_s))
    log.info("%-10s %s", "curve", folder / "find_lr.png")
    log.info("%-10s %s", "take it", _command(overrides, suggestions["valley"]))
    return 0


def _raise_rate(run: Run, search: RateRange, loggers: list[Any]) -> None:
    config = run.config
    steps = config["find_lr"]["steps"]
    interruption = Interruption()
    trainer = pl.Trainer(
        **run.device.trainer_options(),
        default_root_dir=str(run.folder),
        max_epochs=-1,  # as many as the steps take
        max_steps=steps,
        limit_val_batches=0,
        gradient_clip_val=config["trainer"]["gradient_clip_val"],
        callbacks=[search, StepBar("raising the rate", steps), interruption],
        logger=loggers or False,
        enable_checkpointing=False,
        **QUIET,
    )
    with interruptible(interruption):
        trainer.fit(run.module(run.transfer.at_once(), scheduled=False), datamodule=run.data)


def _keep_curve(
    folder: Path, search: RateRange, suggestions: dict[str, float], loggers: list[Any]
) -> None:
    rows = [[repr(r), repr(loss)] for r, loss in zip(search.rates, search.losses, strict=True)]
    records.write_csv(folder / "find_lr.csv", [["lr", "loss"], *rows])
    figure = draw_curve(search.rates, search.losses, suggestions)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_file(folder / "find_lr.png", picture.getvalue())
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure("find_lr", figure)
            logger.finalize("success")


def _command(overrides: list[str], rate: float) -> str:
    """The command line again, without the search and with the rate."""
    words = ["python train.py"]
    for key, _, value in (override.partition("=") for override in overrides):
        if key == "experiment":  # perhaps a list, of which the search is one
            names = [name for name in value.strip("[]").split(",") if name.strip() != "find_lr"]
            value = names[0] if len(names) == 1 else f"[{','.join(names)}]" if names else ""
        if value and key != "optimizer.lr" and not key.startswith("find_lr"):
            words.append(f"{key}={value}")
    return " ".join([*words, f"optimizer.lr={rate:.2g}"])
