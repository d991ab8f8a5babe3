"""One training run: data, model, Trainer, fit, judge the best checkpoint, write the record."""

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from hymenoptera.callbacks.console import Console, quieten_libraries
from hymenoptera.callbacks.finite import FiniteLoss
from hymenoptera.callbacks.interruption import InterruptedTraining, Interruption, interruptible
from hymenoptera.callbacks.judgement import ModelGraph
from hymenoptera.callbacks.pruning import Pruning
from hymenoptera.config import build, build_named
from hymenoptera.data.manifest import write_manifest
from hymenoptera.errors import RequestError, RunError, in_one_line
from hymenoptera.judging import judge_best
from hymenoptera.memory import explained, fit_within_memory
from hymenoptera.preparing import Run, prepare
from hymenoptera.ranks import sharing
from hymenoptera.ranks.team import LostProcess, Team
from hymenoptera.results import announcements, records
from hymenoptera.results.report import write_report
from hymenoptera.resuming import checkpoint_to_resume
from hymenoptera.study import trial_of

log = logging.getLogger(__name__)

QUIET: dict[str, Any] = {  # of a Trainer that leaves the console to this project
    "log_every_n_steps": 1,  # an epoch may have eight steps
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def train(
    config: dict[str, Any],
    folder: Path,
    overrides: list[str],
    began: float,
    team: Team | None = None,
) -> int:
    """Train as a config says, judge the best checkpoint, leave a run folder.

    Of several processes all train; the leader alone prepares, prints, judges and writes.

    Args:
        config: from `config.check`.
        folder: the run folder; it exists.
        overrides: of the command line, for the record.
        began: `time.monotonic()` when the command began.
        team: the processes of the run; None for this one alone.

    Returns:
        The exit status: 0 for a completed run, 130 for an interrupted one.

    Raises:
        RequestError: what was asked for cannot be had; no training has begun.
        RunError: training failed; the record says why.
    """
    quieten_libraries()
    resume = None if config["resume"] is None else checkpoint_to_resume(config["resume"])
    team = team or Team()
    run = prepare(config, folder, overrides, resume, team)
    team.when_stuck = partial(_record_loss, run, began)
    team.assemble()
    if not team.is_leader:
        _fit(run)
        return 0
    message = config["message"]
    if message["begin"]:
        log.info("%s\n", message["begin"].strip())
    log.info(
        "%s\n",
        announcements.beginning(run.record, folder, run.data.first_epoch, run.data.first_batch),
    )
    if run.data.index.test:
        write_manifest(folder / "test_set.tsv", run.data.test_manifest())
    fit_began = time.monotonic()
    failure: Exception | None = None
    try:
        fit_within_memory(lambda: _fit(run), run.go_back, run.config, run.data, run.classifier)
        status = "completed"
    except InterruptedTraining:
        status = "interrupted"
        # judging takes its time, and a scheduler that stops a run may not give it
        _record(run, status, None, time.monotonic() - fit_began, time.monotonic() - began)
        log.info("%s", announcements.interruption(folder))
        # tracing the network takes a second or two, and a run that goes on does it at its end
        run.watchers = [one for one in run.watchers if not isinstance(one, ModelGraph)]
    except RequestError:  # the Trainer or the optimizer refused, before the first step
        raise
    except Exception as error:
        status, failure = "failed", explained(team.reason(error), config)
    team.release()
    run.data.rank, run.data.world_size = 0, 1  # the leader judges all pictures by itself
    fit_s = time.monotonic() - fit_began
    best = None
    try:
        best = None if isinstance(failure, LostProcess) else judge_best(run)
    except Exception as error:
        status, failure = "failed", failure or error
    if failure is not None:
        run.record["error"] = in_one_line(failure)
    _record(run, status, best, fit_s=fit_s, total_s=time.monotonic() - began)
    if config["report"]:
        _report(folder)
    if failure is not None:
        log.debug("The run failed.", exc_info=failure)
        raise RunError(
            f"The run failed: {run.record['error']}\n"
            f"What there is of it lies in {folder}; its train.log has the traceback."
        ) from failure
    log.info("\n%s", announcements.ending(run.record, folder, bool(config["logger"])))
    if message["end"] and status == "completed":
        log.info("\n%s", message["end"].strip())
    return 130 if status == "interrupted" else 0


def _fit(run: Run) -> None:
    config = run.config
    leads = run.team.is_leader
    trial = trial_of(run.folder) if run.team.size == 1 else None
    pruning = [] if trial is None else [Pruning(trial, run.history)]
    late = any(group["first_epoch"] > 1 for group in run.record["model"]["trained"])
    run.watchers = list(build_named(config["callbacks"]).values())
    if not leads:  # what watches a run watches it from the leader, what steers it is everywhere
        run.watchers = [watcher for watcher in run.watchers if not sharing.only_watches(watcher)]
    interruption = Interruption()
    callbacks: list[Callback] = [
        run.history,
        *([Console(run.history)] if leads else []),
        interruption,
        FiniteLoss(),
        *pruning,
        *run.watchers,
    ]
    trainer: pl.Trainer = build(
        sharing.trainer_node(config["trainer"]),
        **sharing.trainer_options(config["trainer"], run.device, run.team, late=late),
        default_root_dir=str(run.folder),
        callbacks=callbacks,
        logger=(list(build_named(run.loggers()).values()) if leads else []) or False,
        num_sanity_val_steps=0,
        **QUIET,
    )
    with interruptible(interruption):
        trainer.fit(
            run.module(run.transfer),
            datamodule=run.data,
            ckpt_path=None if run.resume is None else str(run.resume),
            weights_only=True,
        )
    if pruning and pruning[0].pruned_after:
        run.record["pruned_after"] = pruning[0].pruned_after


def _record_loss(run: Run, began: float, reason: str) -> None:
    """Write the record of a run that a lost process has brought to a stop."""
    run.record["error"] = reason
    total_s = time.monotonic() - began
    _record(run, "failed", None, fit_s=total_s, total_s=total_s)


def _record(
    run: Run, status: str, best: dict[str, Any] | None, fit_s: float, total_s: float
) -> None:
    """Complete the record and write it."""
    run.record |= {
        "status": status,
        "epochs": len(run.history.rows),
        "best": best,
        "images_per_s": run.history.images_trained / fit_s,
        "durations": {"fit_s": fit_s, "total_s": total_s},
    }
    records.write_summary(run.folder, run.record)


def _report(folder: Path) -> None:
    """Write report.html; the run does not fail with it."""
    try:
        write_report(folder)
    except Exception as error:
        log.debug("The report failed.", exc_info=error)
        log.warning(f"report.html could not be written ({in_one_line(error)}).")
