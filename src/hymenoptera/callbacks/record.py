"""summary.json: what a run was, and what came out of it."""

import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from hymenoptera.callbacks.calibration import CheckpointCalibration
from hymenoptera.callbacks.evaluation import evaluation_of
from hymenoptera.callbacks.feature_cache import FeatureCache
from hymenoptera.callbacks.lookup import callback_of
from hymenoptera.callbacks.pruning import Pruning
from hymenoptera.config.resume import remember
from hymenoptera.models.checkpoint import KEY, SCHEMA_VERSION
from hymenoptera.reports import console
from hymenoptera.reports.record import (
    Summary,
    accuracy_summary,
    merge_resumed,
    provenance,
    read_summary,
    write_summary,
)

log = logging.getLogger(__name__)


class RunRecord(pl.Callback):
    """Fills a run's `Summary`, prints it before the first epoch, and writes it at the end.

    Attributes:
        metadata: what a checkpoint says of its run, `checkpoint["hymenoptera"]`: `config`,
            `overrides`, `command`, `data` and `device`, in plain containers.

    Args:
        cfg: of the run.
        folder: the run folder.
        data: `summary()` of the data module; empty for one that has none.
        overrides: that the config was composed with.
        started: `time.monotonic()` when the command began.
    """

    def __init__(
        self,
        cfg: DictConfig,
        folder: Path,
        data: dict[str, Any],
        overrides: list[str],
        started: float,
    ) -> None:
        self.folder = folder
        self.overrides = overrides
        self.previous = read_summary(folder) if cfg.resume else None
        self.summary = Summary("failed", **provenance(self.overrides), seed=cfg.seed, data=data)
        metadata = {
            "schema_version": SCHEMA_VERSION,
            "config": OmegaConf.to_container(cfg, resolve=True),
            "overrides": overrides,
            "command": self.summary.command,
            "data": data,
        }
        # `weights_only=True` loads nothing but dictionaries, lists, strings and numbers
        self.metadata: dict[str, Any] = json.loads(json.dumps(metadata, default=str))
        self._started = started
        self._fit_began = self._fit_ended = 0.0
        self._images = 0

    @property
    def has_begun(self) -> bool:
        """Whether training has: an error before is one of the config, not of the run."""
        return self._fit_began > 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.summary.device = self.metadata["device"] = _device(trainer, pl_module)
        self.summary.model = _model(trainer, pl_module)
        features = callback_of(trainer, FeatureCache)
        if features is not None and features.counts is not None:
            measured = {"bf16": features.bf16, "ms_per_image": features.ms_per_image}
            self.summary.features = {**features.counts, **measured}
        cache = getattr(trainer.datamodule, "image_cache_summary", None)  # type: ignore[attr-defined]
        self.summary.image_cache = cache() if cache is not None else None
        if trainer.is_global_zero:
            log.info("%s\n", console.start_lines(self.summary, self.folder))

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: Any) -> None:
        checkpoint[KEY] = self.metadata

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._fit_began = self._fit_ended = time.monotonic()
        if self.previous is not None:
            own = [one for one in self.overrides if one not in self.previous.overrides]
            entry = {"command": self.summary.command, "overrides": own}
            self.summary.resumes = [entry | {"from_epoch": trainer.current_epoch + 1}]
        if trainer.is_global_zero:
            remember(self.folder, self.overrides)  # a later resume repeats them too

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._images += batch_size(batch) * trainer.world_size

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._fit_ended = time.monotonic()
        self.summary.epochs = trainer.current_epoch + 1

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pruning = callback_of(trainer, Pruning)
        self.summary.pruned_after = None if pruning is None else pruning.pruned_after

    def add_evaluation(self, trainer: pl.Trainer, split: Literal["val", "test"]) -> None:
        """Add how the best checkpoint did, which the trainer has just evaluated."""
        callback = trainer.checkpoint_callback
        assert isinstance(callback, ModelCheckpoint)
        path, folder = Path(callback.best_model_path), self.folder.resolve()
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        score = callback.best_model_score
        loss = trainer.callback_metrics.get(f"{split}/loss")
        result = evaluation_of(trainer)
        entry = {
            "epoch": int(saved["epoch"]) + 1,
            "step": int(saved["global_step"]),
            "checkpoint": (path.relative_to(folder) if folder in path.parents else path).as_posix(),
            "monitor": callback.monitor,
            "score": None if score is None else float(score),
            "loss": None if loss is None else float(loss),
            **({} if result is None else accuracy_summary(result.labels, result.probabilities)),
        }
        setattr(self.summary, "best" if split == "val" else "test", entry)
        if (calibration := callback_of(trainer, CheckpointCalibration)) is not None:
            self.summary.calibration = calibration.summary

    def write(self, status: str, error: str | None = None) -> Summary:
        """Write summary.json; of a resumed run, together with what was recorded before."""
        fit_s = self._fit_ended - self._fit_began
        durations = {"fit_s": fit_s, "total_s": time.monotonic() - self._started}
        written = replace(
            self.summary,
            status=status,
            error=error,
            durations=durations,
            images_per_s=self._images / fit_s if fit_s else None,
        )
        if self.previous is not None:
            written = merge_resumed(self.previous, written)
        write_summary(self.folder, written)
        return written


def metadata_of(trainer: pl.Trainer) -> dict[str, Any]:
    """The metadata of a trainer's `RunRecord`; empty without one."""
    record = callback_of(trainer, RunRecord)
    return {} if record is None else record.metadata


def batch_size(batch: Any) -> int:
    """How many samples a batch has, by its first tensor; 0 where it has none."""
    while isinstance(batch, list | tuple | dict) and batch:
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return len(batch) if isinstance(batch, Tensor) and batch.ndim else 0


def _device(trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
    device = trainer.strategy.root_device
    names = {"cpu": "CPU", "mps": "Apple GPU"}
    return {
        "accelerator": device.type,
        "name": names.get(device.type) or torch.cuda.get_device_name(device),
        "precision": str(trainer.precision),
        "devices": trainer.num_devices,
        "num_nodes": trainer.num_nodes,
        "world_size": trainer.world_size,
        "strategy": type(trainer.strategy).__name__ if trainer.world_size > 1 else None,
        "num_workers": getattr(trainer.datamodule, "num_workers", None),  # type: ignore[attr-defined]
        "cpu_threads": torch.get_num_threads(),
        "channels_last": pl_module.hparams.get("channels_last"),
        "compile": pl_module.hparams.get("compile"),
    }


def _model(trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
    """Name, weights, size, and what is trained; groups of one part together."""
    parts: dict[tuple[Any, ...], int] = {}
    for group in (group for one in trainer.optimizers for group in one.param_groups):
        peak = group.get("max_lr", group.get("initial_lr", group["lr"]))
        part = (group.get("part", group.get("name", "all")), group.get("first_epoch", 1), peak)
        parts[part] = parts.get(part, 0) + sum(p.numel() for p in group["params"])
    preprocessing = getattr(pl_module, "preprocessing", None)
    return {
        "backbone": pl_module.hparams.get("backbone", type(pl_module).__name__),
        "weights": getattr(pl_module, "weights_id", None),
        "head_is_new": getattr(pl_module, "head_is_new", None),
        "input_px": getattr(preprocessing, "crop_px", None),
        "parameter_count": sum(p.numel() for p in pl_module.parameters()),
        "size_mb": sum(t.nbytes for t in pl_module.state_dict().values()) / 1e6,
        "trained": [
            {"name": name, "parameter_count": count, "first_epoch": first_epoch, "lr": lr}
            for (name, first_epoch, lr), count in parts.items()
        ],
    }
