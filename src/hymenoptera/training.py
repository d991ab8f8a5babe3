"""One training run: data, model, Trainer, fit, judge the best checkpoint, write the record."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from hymenoptera.caching import Cut, cache_features
from hymenoptera.callbacks.console import Console, quieten_libraries
from hymenoptera.callbacks.finite import FiniteLoss
from hymenoptera.callbacks.history import History
from hymenoptera.callbacks.interruption import InterruptedTraining, Interruption, interruptible
from hymenoptera.callbacks.judgement import Judged, tell
from hymenoptera.callbacks.pruning import Pruning
from hymenoptera.config import build, build_named
from hymenoptera.data.datamodule import PictureDataModule
from hymenoptera.data.manifest import write_manifest
from hymenoptera.device import Device, resolve_device
from hymenoptera.errors import RequestError, RunError
from hymenoptera.feeding import feed_decoded
from hymenoptera.memory import explained, fit_within_memory
from hymenoptera.models import checkpoint as checkpoints
from hymenoptera.models.classifier import Classifier
from hymenoptera.models.inference import inputs_of, predict
from hymenoptera.models.module import ClassifierModule
from hymenoptera.models.transfer import Transfer
from hymenoptera.results import announcements, records
from hymenoptera.results.metrics import Judgement
from hymenoptera.results.report import write_report
from hymenoptera.study import trial_of

log = logging.getLogger(__name__)

QUIET: dict[str, Any] = {  # of a Trainer that leaves the console to this project
    "log_every_n_steps": 1,  # an epoch may have eight steps
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@dataclass
class Run:
    """What a run consists of once it is ready to begin.

    Attributes:
        config: composed, checked and resolved.
        folder: where everything that the run makes goes.
        device: as resolved.
        data: set up, and told how the classifier wants its pictures.
        classifier: what is trained.
        transfer: which of it is, and when.
        cut: where the classifier is cut, if the data give features in place of pictures.
        history: a row an epoch, filled while it trains.
        record: summary.json as far as it is known.
        resume: the checkpoint to go on from, if any.
        watchers: the callbacks of the config, once they are built.
        resumed_step: after how many steps that was, if it was.
    """

    config: dict[str, Any]
    folder: Path
    device: Device
    data: PictureDataModule
    classifier: Classifier
    transfer: Transfer
    cut: Cut | None
    history: History
    record: dict[str, Any]
    resume: Path | None
    resumed_step: int
    watchers: list[Callback] = field(default_factory=list)

    def compute(self) -> Callable[[Tensor], Tensor]:
        """From a batch's first tensor to logits (B, C); compiled, where the config says so."""
        network = self.classifier if self.cut is None else self.cut.upper_part
        if not self.config["compile"]:
            return network.forward
        mode = "reduce-overhead" if self.config["compile"] == "cuda_graphs" else None
        return torch.compile(network.forward, mode=mode)

    def module(self, transfer: Transfer, *, scheduled: bool = True) -> ClassifierModule:
        """What the Trainer fits.

        Args:
            transfer: what is trained, the run's own or one that follows from it.
            scheduled: whether the learning rate follows the config's schedule.
        """
        config, scheduler = self.config, self.config["scheduler"]
        has_schedule = scheduled and scheduler["_target_"]
        return ClassifierModule(
            self.classifier,
            transfer,
            make_optimizer=partial(build, config["optimizer"]),
            make_scheduler=partial(build, scheduler) if has_schedule else None,
            seed=config["seed"],
            facts=checkpoints.describe(self.classifier, config, self.record),
            **config["loss"],
            compute=self.compute(),
        )


def train(config: dict[str, Any], folder: Path, overrides: list[str], began: float) -> int:
    """Train as a config says, judge the best checkpoint, leave a run folder.

    Args:
        config: from `config.check`.
        folder: the run folder; it exists.
        overrides: of the command line, for the record.
        began: `time.monotonic()` when the command began.

    Returns:
        The exit status: 0 for a completed run, 130 for an interrupted one.

    Raises:
        RequestError: what was asked for cannot be had; no training has begun.
        RunError: training failed; the record says why.
    """
    quieten_libraries()
    resume = None if config["resume"] is None else _checkpoint_to_resume(config["resume"])
    run = prepare(config, folder, overrides, resume)
    message = config["message"]
    if message["begin"]:
        log.info("%s\n", message["begin"].strip())
    log.info("%s\n", announcements.beginning(run.record, folder, run.data.first_epoch))
    if run.data.index.test:
        write_manifest(folder / "test_set.tsv", run.data.test_manifest())
    fit_began = time.monotonic()
    failure: Exception | None = None
    try:
        fit_within_memory(
            lambda: _fit(run), lambda: _go_back(run), run.config, run.data, run.classifier
        )
        status = "completed"
    except InterruptedTraining:
        status = "interrupted"
        # judging takes its time, and a scheduler that stops a run may not give it
        _record(run, status, None, time.monotonic() - fit_began, time.monotonic() - began)
        log.info("%s", announcements.interruption(folder))
    except RequestError:  # the Trainer or the optimizer refused, before the first step
        raise
    except Exception as error:
        status, failure = "failed", explained(error, config)
    fit_s = time.monotonic() - fit_began
    best = None
    try:
        best = _judge(run)
    except Exception as error:
        status, failure = "failed", failure or error
    if failure is not None:
        run.record["error"] = records.in_one_line(failure)
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


def prepare(
    config: dict[str, Any], folder: Path, overrides: list[str], resume: Path | None = None
) -> Run:
    """Introduce data and model to each other: class names one way, preprocessing the other.

    Raises:
        RequestError: device, pictures or weights cannot be had, or the checkpoint to resume from
            is another model's.
    """
    trainer = config["trainer"]
    device = resolve_device(trainer["accelerator"], trainer["devices"], trainer["precision"])
    if config["compile"] == "cuda_graphs" and device.accelerator != "cuda":
        raise RequestError(
            f"compile=cuda_graphs replays what a CUDA GPU was told, and this run uses "
            f"{device.name}: take compile=true or compile=false."
        )
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    data: PictureDataModule = build(config["data"])
    data.setup()
    # a resumed run takes all its weights from the checkpoint
    backbone = build(config["model"] | ({} if resume is None else {"weights": "none"}))
    classifier = Classifier(backbone, data.index.classes)
    transfer: Transfer = build(config["transfer"])
    groups = transfer.parameter_groups(classifier)
    data.use(classifier.preprocessing, transfer.views)
    data_facts = data.facts()
    step = 0
    if resume is not None:
        step = _go_on(resume, classifier, data, data_facts["manifest_hash"])
    manifest_hash = data_facts["manifest_hash"]
    cut = cache_features(classifier, transfer, data, device, manifest_hash)
    feed = None
    if cut is None:
        feed = feed_decoded(data, classifier.preprocessing, device, manifest_hash)
    channels_last = config["channels_last"]
    if channels_last == "auto":
        channels_last = device.accelerator == "cuda"
    if channels_last:
        classifier.to(memory_format=torch.channels_last)
    record = {
        "status": "failed",  # until it is known better
        **records.provenance(overrides),
        "seed": config["seed"],
        "device": {
            **device.to_dict(),
            "num_workers": data.num_workers,
            "channels_last": channels_last,
            "compile": config["compile"],
        },
        "data": data_facts,
        "model": {
            "name": classifier.backbone_name,
            "weights": classifier.weights_id,
            "head_is_new": classifier.head_is_new,
            "input_px": classifier.preprocessing.crop_px,
            "parameter_count": sum(p.numel() for p in classifier.parameters()),
            "trained": _trained(groups, config["optimizer"]["lr"]),
        },
        "features": None if cut is None else {"computed": cut.computed, "kept": cut.kept},
        "feed": feed,
    }
    history = History(folder)
    return Run(
        config, folder, device, data, classifier, transfer, cut, history, record, resume, step
    )


def _trained(groups: list[dict[str, Any]], lr: float) -> list[dict[str, Any]]:
    """What the record says of the parameter groups, those of one name together."""
    return [
        {
            "name": name,
            "parameter_count": sum(
                p.numel() for group in groups if group["name"] == name for p in group["params"]
            ),
            "first_epoch": first_epoch,
            "lr": lr * lr_scale,
        }
        for name, first_epoch, lr_scale in dict.fromkeys(
            (group["name"], group["first_epoch"], group["lr_scale"]) for group in groups
        )
    ]


def _checkpoint_to_resume(resume: str) -> Path:
    path = Path(resume).expanduser()
    return path / "checkpoints" / "last.ckpt" if path.is_dir() else path


def _go_on(
    resume: Path, classifier: Classifier, data: PictureDataModule, manifest_hash: str
) -> int:
    """Take over where a checkpoint stands, after a look whether it is the same model's.

    Returns:
        The step that it was written after.
    """
    checkpoint = checkpoints.read_checkpoint(resume)
    facts = checkpoint[checkpoints.KEY]
    for what, theirs, ours in (
        ("model", facts["backbone"], classifier.backbone_name),
        ("classes", facts["classes"], classifier.classes),
        ("pictures", facts["manifest_hash"][:16], manifest_hash[:16]),
    ):
        if theirs != ours:
            raise RequestError(
                f"resume={resume}: that run has other {what} ({theirs}) than this one ({ours}). "
                f"Resume it without overriding the {what}."
            )
    classifier.weights_id = facts["weights_id"]
    checkpoints.load_weights(classifier, checkpoint)
    data.first_epoch = checkpoint["epoch"] + 1
    return int(checkpoint["global_step"])


def _go_back(run: Run) -> None:
    """Take up the run's last checkpoint, or begin anew where it has none."""
    last = run.folder / "checkpoints" / "last.ckpt"
    run.history.rows.clear()
    if last.is_file():
        manifest_hash = run.record["data"]["manifest_hash"]
        run.resumed_step = _go_on(last, run.classifier, run.data, manifest_hash)
        run.resume = last


def _fit(run: Run) -> None:
    config = run.config
    trial = trial_of(run.folder)
    pruning = [] if trial is None else [Pruning(trial, run.history)]
    run.watchers = list(build_named(config["callbacks"]).values())
    interruption = Interruption()
    callbacks: list[Callback] = [
        run.history,
        Console(run.history),
        interruption,
        FiniteLoss(),
        *pruning,
        *run.watchers,
    ]
    trainer: pl.Trainer = build(
        {**config["trainer"], **run.device.trainer_options()},
        default_root_dir=str(run.folder),
        callbacks=callbacks,
        logger=list(build_named(_loggers(run)).values()) or False,
        plugins=[checkpoints.WholeCheckpointIO()],
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


def _loggers(run: Run) -> dict[str, Any]:
    """The loggers' nodes; in a resumed run, with the step after which older events are void."""
    nodes: dict[str, Any] = run.config["logger"]
    if run.resume is None:
        return nodes
    return {
        name: {**node, "purge_step": run.resumed_step} if "purge_step" in node else node
        for name, node in nodes.items()
    }


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
        log.warning(f"report.html could not be written ({records.in_one_line(error)}).")


def _judge(run: Run) -> dict[str, Any] | None:
    """Rebuild the best checkpoint's classifier from its file, and judge it on all of validation."""
    path = run.folder / "checkpoints" / "best.ckpt"
    if not path.is_file():
        return None
    checkpoint = checkpoints.load_checkpoint(path)
    # what stayed frozen is what it was when the features were computed
    network = run.cut.upper(checkpoint.classifier) if run.cut else checkpoint.classifier
    head = checkpoint.classifier.head
    with inputs_of(head) as features:
        labels, probabilities = predict(
            network, run.data.validation_batches(), **run.device.trainer_options()
        )
    checkpoint.classifier.to(head.weight)  # where only the upper part has been moved
    index = run.data.index
    names = [sample.path.relative_to(index.root).as_posix() for sample in index.val]
    records.write_predictions(run.folder, names, labels, probabilities, index.classes)
    judgement = Judgement(index.classes, np.array(labels), np.array(probabilities), names)
    with _board(run) as writer:
        vectors = torch.cat(features).numpy()
        tell(
            run.watchers,
            Judged(run.folder, checkpoint, judgement, index.val, vectors, writer),
        )
    return {
        "epoch": checkpoint.epoch,
        "checkpoint": "checkpoints/best.ckpt",
        **records.judged(labels, probabilities),
    }


@contextmanager
def _board(run: Run) -> Iterator[SummaryWriter | None]:
    """TensorBoard's events again, after the Trainer has closed them; None where there are none."""
    nodes = _loggers(run).values()
    if not any(
        "TensorBoardLogger" in node["_target_"]
        for node in nodes
        if node and node.get("enabled", True)
    ):
        yield None
        return
    with SummaryWriter(str(run.folder)) as writer:
        yield writer
