"""Training: a composed config becomes a data module, a model, a Trainer and a run folder."""

import gc
import logging
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint

from hymenoptera import callbacks as ours
from hymenoptera.callbacks import InterruptedTraining, RunRecord
from hymenoptera.config.command import STARTED
from hymenoptera.config.instantiate import instantiate, instantiate_named
from hymenoptera.config.launched import rank, task_overrides
from hymenoptera.config.resume import check_resume
from hymenoptera.config.validation import prepare
from hymenoptera.errors import ConfigError, RunError, in_one_line
from hymenoptera.models.checkpoint import KEY, WholeCheckpointIO
from hymenoptera.models.device import auto_precision, resolve_accelerator
from hymenoptera.reports import console
from hymenoptera.reports.record import record_failure
from hymenoptera.reports.report import write_report

log = logging.getLogger(__name__)


def train(cfg: DictConfig, overrides: list[str]) -> dict[str, float]:
    """Fit, evaluate the best checkpoint, and leave the run folder behind.

    Args:
        cfg: composed by Hydra and valid, see `config.validation.check`.
        overrides: that it was composed with.

    Returns:
        The best checkpoint's metrics: `val/accuracy`, `val/loss`, ...; on the held-out test images
        `test/accuracy` and `test/loss` too.

    Raises:
        ConfigError: the data, the weights or the device cannot be had; training has not begun.
        RunError: training failed; summary.json has the reason.
        KeyboardInterrupt: training was interrupted; summary.json and last.ckpt are there.
    """
    checkpoint, step = _checkpoint_to_resume(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule: pl.LightningDataModule = instantiate(cfg.data)
    datamodule.prepare_data()
    datamodule.setup("fit")
    model: pl.LightningModule = instantiate(cfg.model, classes=getattr(datamodule, "classes", None))
    data = datamodule.summary() if hasattr(datamodule, "summary") else {}
    started = time.monotonic() if _in_sweep() else STARTED
    folder = Path(HydraConfig.get().runtime.output_dir)
    record = RunRecord(cfg, folder, data, overrides, started)
    trainer = build_trainer(cfg, _watchers(record), step)
    if trainer.is_global_zero and cfg.message.begin:
        log.info("%s\n", cfg.message.begin.strip())
    status, failure = "completed", cast(Exception | None, None)
    try:
        with ours.interruptible(trainer):
            trainer.fit(model, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    except InterruptedTraining:
        status = "interrupted"
        if trainer.is_global_zero:  # at once: a cluster may not give the time to evaluate
            record.write(status)
            log.info("%s", console.interrupted_lines(folder))
    except ConfigError:
        raise
    except Exception as error:
        is_config = isinstance(error, MisconfigurationException | TypeError | ValueError)
        if is_config and not record.has_begun:
            raise ConfigError(f"{in_one_line(error).rstrip('.')}.") from error
        status, failure = "failed", error
    metrics: dict[str, float] = {}
    try:
        if failure is None or trainer.world_size == 1:  # a process of several may be gone
            metrics = _evaluate_best(trainer, model, datamodule, record)
    except Exception as error:
        status, failure = "failed", failure or error
    if trainer.is_global_zero:
        _finish(cfg, record, status, lost_process(trainer, failure) or failure)
    if status == "interrupted":
        raise KeyboardInterrupt
    return metrics


def run(cfg: DictConfig) -> float | None:
    """Run one Hydra job; in a sweep one that fails is recorded, and the next one runs.

    Returns:
        The metric that best.ckpt is chosen by, for a sweeper; None for a failed job.
    """
    overrides = task_overrides()
    ours.quiet_libraries()
    if rank() > 0:
        logging.disable(logging.ERROR)  # rank zero prints and logs for all
    try:
        metrics = train(prepare(cfg), overrides)
        return metrics.get(str(OmegaConf.select(cfg, "callbacks.best_checkpoint.monitor")))
    except Exception as error:
        if not _in_sweep():
            raise
        if not isinstance(error, RunError):  # whose record is written
            log.debug("The job failed.", exc_info=error)
            folder = Path(HydraConfig.get().runtime.output_dir)
            record_failure(folder, in_one_line(error), overrides)
        log.error("%s", in_one_line(error))
        return None
    finally:
        gc.collect()  # the Trainer and the data module refer to each other
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def build_trainer(
    cfg: DictConfig, callbacks: list[pl.Callback], resumed_step: int | None = None
) -> pl.Trainer:
    """The Trainer of a config, with its loggers, and its callbacks after those that are given.

    TensorBoard drops what a killed run logged after `resumed_step`.

    Raises:
        ConfigError: the Trainer cannot be built, or not for so many processes.
    """
    node, loggers = (
        cast(dict[str, Any], OmegaConf.to_container(n)) for n in (cfg.trainer, cfg.logger)
    )
    if node.get("precision") == "auto":
        node["precision"] = auto_precision(resolve_accelerator(node.get("accelerator", "auto")))
    for logger in loggers.values():
        if logger and "purge_step" in logger:
            logger["purge_step"] = resumed_step
    node.setdefault("default_root_dir", HydraConfig.get().runtime.output_dir)
    node.setdefault("plugins", [WholeCheckpointIO()])
    node.setdefault("logger", list(instantiate_named(loggers, "logger").values()))
    own = [*callbacks, *instantiate_named(cfg.callbacks).values()]
    if not node["logger"]:
        own = [one for one in own if not isinstance(one, LearningRateMonitor)]
    if node.get("enable_checkpointing") is False:
        own = [one for one in own if not isinstance(one, ModelCheckpoint)]
    given = node.pop("callbacks", None) or []
    own += given if isinstance(given, list) else [given]
    trainer: pl.Trainer = instantiate(node, key="trainer", callbacks=own)
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1 and trainer.world_size != processes:
        raise ConfigError(
            f"{processes} processes were started, and the Trainer uses {trainer.world_size}: "
            f"set trainer=ddp, and trainer.devices and trainer.num_nodes to their numbers."
        )
    return trainer


def lost_process(trainer: pl.Trainer, failure: Exception | None) -> Exception | None:
    """Which process that Lightning has started was killed, if one was and training failed."""
    started = getattr(trainer.strategy.launcher, "procs", []) if failure else []
    for number, process in enumerate(started, start=1):
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)  # its connections close before it is gone
        if (code := process.returncode or 0) < 0:
            name = signal.Signals(-code).name
            lost = RunError(f"rank {number} was ended by {name}, and the others with it.")
            lost.__cause__ = failure
            return lost
    return None


def _checkpoint_to_resume(cfg: DictConfig) -> tuple[Path | None, int | None]:
    """What `resume=` means, a checkpoint or a run folder's last one, and the step it stands at."""
    if cfg.resume is None:
        return None, None
    path = Path(cfg.resume).expanduser()
    path = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    now = cast(dict[str, Any], OmegaConf.to_container(cfg))
    check_resume(saved.get(KEY, {}).get("config", {}), now)
    return path, int(saved["global_step"])


def _watchers(record: RunRecord) -> list[pl.Callback]:
    """The callbacks that every run has, beside those of its config."""
    pruning = ours.Pruning.of_run(record.folder)
    return [
        record,
        ours.ResumedBest(),
        ours.Evaluation(record.folder),
        ours.History(record.folder),
        ours.EpochTable(),
        ours.Interruption(),
        ours.FiniteLoss(),
        *([] if pruning is None else [pruning]),
    ]


def _evaluate_best(
    trainer: pl.Trainer, model: pl.LightningModule, datamodule: Any, record: RunRecord
) -> dict[str, float]:
    """Evaluate the best checkpoint on the validation images and, outside of sweeps, a test set."""
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if not best or not Path(best).is_file():
        return {}
    model.logs_evaluation = False  # type: ignore[assignment] # the curves have this epoch already
    options: Any = {"ckpt_path": best, "weights_only": True, "verbose": False}
    trainer.validate(model, datamodule=datamodule, **options)
    metrics = dict(trainer.callback_metrics)
    record.add_evaluation(trainer, "val")
    if len(getattr(datamodule, "test", ())):
        if trainer.is_global_zero and hasattr(datamodule, "write_test_manifest"):
            datamodule.write_test_manifest(record.folder / "test_set.tsv")
        if not _in_sweep():
            trainer.test(model, datamodule=datamodule, **options)
            metrics |= trainer.callback_metrics
            record.add_evaluation(trainer, "test")
    return {name: float(value) for name, value in metrics.items()}


def _finish(cfg: DictConfig, record: RunRecord, status: str, failure: Exception | None) -> None:
    """Write the record and the report, and print the result, or raise it where it failed."""
    folder = record.folder
    reason = None if failure is None else _reason(failure, cfg)
    summary = record.write(status, reason)
    if cfg.report:
        try:
            write_report(folder)
        except Exception as error:  # the run does not fail with it
            log.debug("The report failed.", exc_info=error)
            log.warning("report.html could not be written (%s).", in_one_line(error))
    if failure is not None:
        log.debug("The run failed.", exc_info=failure)
        raise RunError(
            f"The run failed: {reason}\n"
            f"{folder} has what there is of it; its train.log has the traceback."
        ) from failure
    has_curves = any(folder.glob("events.out.tfevents*"))
    log.info("\n%s", console.end_lines(summary, folder, has_curves))
    if cfg.message.end and status == "completed":
        log.info("\n%s", cfg.message.end.strip())


def _reason(error: Exception, cfg: DictConfig) -> str:
    """Why training failed, in one line that says what to change."""
    words = ("can't allocate memory", "out of memory")  # of torch's allocators
    if isinstance(error, MemoryError) or any(word in str(error) for word in words):
        return (
            f"memory ran out with batches of {cfg.data.get('batch_size')} images: halve "
            f"data.batch_size, and double trainer.accumulate_grad_batches for the same steps."
        )
    return in_one_line(error)


def _in_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)
