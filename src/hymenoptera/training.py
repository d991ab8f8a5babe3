"""One training run: data, model, Trainer, fit, judge the best checkpoint, write the record."""

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from hymenoptera.callbacks.console import Console, quieten_libraries
from hymenoptera.callbacks.history import History
from hymenoptera.callbacks.hparams import Hparams
from hymenoptera.callbacks.interruption import InterruptedTraining, Interruption
from hymenoptera.config import build, build_named, flatten
from hymenoptera.data.datamodule import PictureDataModule
from hymenoptera.device import Device, resolve_device
from hymenoptera.errors import RequestError, RunError
from hymenoptera.models import checkpoint as checkpoints
from hymenoptera.models.classifier import Classifier
from hymenoptera.models.inference import predict
from hymenoptera.models.module import ClassifierModule
from hymenoptera.results import records
from hymenoptera.results.tables import format_duration, format_interval

log = logging.getLogger(__name__)

SETTINGS = (  # in TensorBoard's HPARAMS, whether they were overridden or not
    "seed",
    "data.batch_size",
    "model.name",
    "model.weights",
    "optimizer._target_",
    "optimizer.lr",
    "trainer.max_epochs",
)


@dataclass
class Run:
    """What a run consists of once it is ready to begin.

    Attributes:
        config: composed, checked and resolved.
        folder: where everything that the run makes goes.
        device: as resolved.
        data: set up, and told how the classifier wants its pictures.
        classifier: what is trained.
        history: a row an epoch, filled while it trains.
        record: summary.json as far as it is known.
    """

    config: dict[str, Any]
    folder: Path
    device: Device
    data: PictureDataModule
    classifier: Classifier
    history: History
    record: dict[str, Any]


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
    run = prepare(config, folder, overrides)
    resume = _checkpoint_to_resume(run)
    _say_beginning(run, resume)
    fit_began = time.monotonic()
    failure: Exception | None = None
    try:
        _fit(run, resume)
        status = "completed"
    except InterruptedTraining:
        status = "interrupted"
    except RequestError:  # the Trainer or the optimizer refused, before the first step
        raise
    except Exception as error:
        status, failure = "failed", error
        run.record["error"] = _in_one_line(error)
    _record(run, status, fit_s=time.monotonic() - fit_began, began=began)
    if failure is not None:
        raise RunError(
            f"The run failed: {run.record['error']}\n"
            f"What there is of it lies in {folder}; HYDRA_FULL_ERROR=1 shows the traceback."
        ) from failure
    _say_end(run)
    return 130 if status == "interrupted" else 0


def prepare(config: dict[str, Any], folder: Path, overrides: list[str]) -> Run:
    """Introduce data and model to each other: class names one way, preprocessing the other.

    Raises:
        RequestError: device, pictures or weights cannot be had.
    """
    trainer = config["trainer"]
    device = resolve_device(trainer["accelerator"], trainer["devices"], trainer["precision"])
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    data: PictureDataModule = build(config["data"])
    data.setup()
    backbone = build(config["model"])
    classifier = Classifier(backbone, data.index.classes)
    data.use(classifier.preprocessing)
    parameters = list(classifier.parameters())
    record = {
        "status": "failed",  # until it is known better
        **records.provenance(overrides),
        "seed": config["seed"],
        "device": {**device.to_dict(), "num_workers": data.num_workers},
        "data": data.facts(),
        "model": {
            "name": classifier.backbone_name,
            "weights": classifier.weights_id,
            "parameter_count": sum(p.numel() for p in parameters),
            "trained_parameter_count": sum(p.numel() for p in parameters if p.requires_grad),
        },
    }
    return Run(config, folder, device, data, classifier, History(folder), record)


def _fit(run: Run, resume: Path | None) -> None:
    config = run.config
    scheduler = config["scheduler"]
    module = ClassifierModule(
        run.classifier,
        build(config["transfer"]),
        make_optimizer=partial(build, config["optimizer"]),
        make_scheduler=partial(build, scheduler) if scheduler["_target_"] else None,
        seed=config["seed"],
        facts=checkpoints.describe(run.classifier, config, run.record["data"]["manifest_hash"]),
    )
    callbacks: list[Callback] = [
        run.history,
        Console(run.history),
        Hparams(_hparams(run), run.history),
        Interruption(),
        *build_named(config["callbacks"]).values(),
    ]
    trainer: pl.Trainer = build(
        {**config["trainer"], **run.device.trainer_options()},
        default_root_dir=str(run.folder),
        callbacks=callbacks,
        logger=list(build_named(config["logger"]).values()) or False,
        plugins=[checkpoints.WholeCheckpointIO()],
        num_sanity_val_steps=0,
        log_every_n_steps=1,  # an epoch may have eight steps
        enable_progress_bar=False,  # Console has its own
        enable_model_summary=False,
    )
    trainer.fit(
        module,
        datamodule=run.data,
        ckpt_path=None if resume is None else str(resume),
        weights_only=True,
    )


def _hparams(run: Run) -> dict[str, Any]:
    """The settings that matter always, and all that the command line overrode."""
    leaves = flatten(run.config)
    overridden = [override.lstrip("+~").split("=")[0] for override in run.record["overrides"]]
    return {
        key: value
        for key, value in leaves.items()
        if key in SETTINGS or any(key == o or key.startswith(f"{o}.") for o in overridden)
    }


def _checkpoint_to_resume(run: Run) -> Path | None:
    """Where to go on from, after a look whether it is the same model's; sets the first epoch.

    Raises:
        RequestError: there is no such checkpoint, or it is another model's.
    """
    if run.config["resume"] is None:
        return None
    path = Path(run.config["resume"]).expanduser()
    if path.is_dir():
        path = path / "checkpoints" / "last.ckpt"
    checkpoint = checkpoints.read_checkpoint(path)
    facts = checkpoint[checkpoints.KEY]
    for what, theirs, ours in (
        ("model", facts["backbone"], run.classifier.backbone_name),
        ("classes", facts["classes"], run.classifier.classes),
        ("pictures", facts["manifest_hash"][:16], run.record["data"]["manifest_hash"][:16]),
    ):
        if theirs != ours:
            raise RequestError(
                f"resume={path}: that run has other {what} ({theirs}) than this one ({ours}). "
                f"Give its run folder, without further overrides of {what}."
            )
    run.data.first_epoch = checkpoint["epoch"] + 1
    return path


def _record(run: Run, status: str, fit_s: float, began: float) -> None:
    """Complete the record and write it."""
    run.record |= {
        "status": status,
        "epochs": len(run.history.rows),
        "best": _judge(run),
        "images_per_s": run.history.images_trained / fit_s,
        "durations": {"fit_s": fit_s, "total_s": time.monotonic() - began},
    }
    records.write_summary(run.folder, run.record)


def _judge(run: Run) -> dict[str, Any] | None:
    """Rebuild the best checkpoint's classifier from its file, and judge it on all of validation."""
    path = run.folder / "checkpoints" / "best.ckpt"
    if not path.is_file():
        return None
    checkpoint = checkpoints.load_checkpoint(path)
    labels, probabilities = predict(
        checkpoint.classifier, run.data.val_dataloader(), **run.device.trainer_options()
    )
    index = run.data.index
    names = [sample.path.relative_to(index.root).as_posix() for sample in index.val]
    records.write_predictions(run.folder, names, labels, probabilities, index.classes)
    return {
        "epoch": checkpoint.epoch,
        "checkpoint": "checkpoints/best.ckpt",
        **records.judged(labels, probabilities),
    }


def _say_beginning(run: Run, resume: Path | None) -> None:
    config, data, model, device = run.config, run.data, run.record["model"], run.device
    if config["message"]["begin"]:
        log.info("%s\n", config["message"]["begin"].strip())
    index = data.index
    left_out = "".join(
        f"; {len(files)} {what}"
        for what, files in (
            ("unreadable skipped", data.skipped),
            ("of another type ignored", index.ignored),
        )
        if files
    )
    log.info(
        "pictures   %d to train on, %d to validate, in %d classes (%s)%s\n           %s",
        len(index.train),
        len(index.val),
        len(index.classes),
        _few(index.classes),
        left_out,
        index.root,
    )
    trained = model["trained_parameter_count"]
    share = "all" if trained == model["parameter_count"] else f"{trained / 1e6:.1f} M"
    log.info(
        "model      %s, weights %s, %s head; %.1f M parameters, %s trained; %d px",
        model["name"],
        model["weights"],
        "new" if run.classifier.head_is_new else "their own",
        model["parameter_count"] / 1e6,
        share,
        run.classifier.preprocessing.crop_px,
    )
    threads = f" ({device.cpu_threads} threads)" if device.accelerator == "cpu" else ""
    log.info(
        "device     %s%s, precision %s, %d processes read pictures",
        device.name,
        threads,
        device.precision,
        data.num_workers,
    )
    log.info("run folder %s%s\n", run.folder, f", going on from {resume}" if resume else "")


def _say_end(run: Run) -> None:
    record, best = run.record, run.record["best"]
    if record["status"] == "interrupted":
        log.info("\nInterrupted. Go on with: python train.py resume=%s", run.folder)
    if best is None:
        return
    log.info(
        "\nbest       %.1f %% of the validation pictures right (%d of %d), in epoch %d"
        "\n           95 %% Wilson interval %s",
        100 * best["val_accuracy"],
        best["correct"],
        best["count"],
        best["epoch"],
        format_interval(best["interval"]),
    )
    log.info(
        "time       %s, training %.1f pictures a second",
        format_duration(record["durations"]["total_s"]),
        record["images_per_s"],
    )
    log.info("checkpoint %s/%s", run.folder, best["checkpoint"])
    if run.config["logger"]:
        log.info("curves     tensorboard --logdir %s", run.folder.parent)
    if run.config["message"]["end"]:
        log.info("\n%s", run.config["message"]["end"].strip())


def _few(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _in_one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
