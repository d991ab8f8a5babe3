"""last.ckpt, saved no more often than is worth it, and the best checkpoint of a resumed run."""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

AGREE_EVERY = 20  # steps: several processes do not wait for rank zero's clock more often


class LastCheckpoint(ModelCheckpoint):
    """Saves after the first epoch, after the last, and in between if enough time has passed.

    A head on cached features runs through an epoch in less time than its checkpoint takes. In an
    epoch that takes long, it saves between two steps as well; a run that was killed resumes there,
    and loses `every_s` or `within_epoch_s` at the most. It never saves while gradients accumulate.

    Args:
        every_s: seconds from one save to the next, at least; 0 saves after every epoch.
        within_epoch_s: the same for those within an epoch; None for none of these.
        options: of Lightning's ModelCheckpoint.
    """

    def __init__(
        self, *, every_s: float = 0.0, within_epoch_s: float | None = None, **options: Any
    ) -> None:
        super().__init__(**{"save_on_train_epoch_end": True, **options})
        self._every_s = every_s
        self._within_epoch_s = within_epoch_s
        self._saved_at = self._epoch_began = float("-inf")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._epoch_began = time.monotonic()

    on_train_epoch_start = on_train_start

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        is_last_batch = batch_idx + 1 == trainer.num_training_batches
        is_accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches
        if self._within_epoch_s is None or is_last_batch or is_accumulating:
            return
        if trainer.world_size == 1 or trainer.global_step % AGREE_EVERY == 0:
            passed_s = time.monotonic() - max(self._saved_at, self._epoch_began)
            self._save_if(passed_s >= self._within_epoch_s, trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        is_last = (
            trainer.should_stop
            or trainer.current_epoch + 1 == trainer.max_epochs
            or trainer.global_step == trainer.max_steps
        )
        due = is_last or time.monotonic() - self._saved_at >= self._every_s
        self._save_if(due, trainer, pl_module)

    def _save_if(self, due: bool, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.strategy.broadcast(due):  # all processes save, or none: their clocks differ
            super().on_train_epoch_end(trainer, pl_module)
            self._saved_at = time.monotonic()


class ResumedBest(pl.Callback):
    """Finds a resumed run's best checkpoint again.

    Lightning's ModelCheckpoint forgets its best if the run folder was moved, keeps a best whose
    file was deleted, and does not notice a file that is newer than the checkpoint that is resumed.
    Here the first is found under its new path, the second is forgotten, so that the next epoch
    becomes the best, and the third is renamed.
    """

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint["callbacks"].get(callback.state_key)
            if not isinstance(callback, ModelCheckpoint) or not state or not callback.dirpath:
                continue
            folder = Path(callback.dirpath)
            state["dirpath"] = callback.dirpath
            for key in ("best_model_path", "last_model_path"):
                state[key] = str(folder / Path(state[key]).name) if state[key] else ""
            if callback.monitor is None:
                continue
            models = {}
            for before, score in state["best_k_models"].items():
                path = folder / Path(before).name
                if _is_current(path, checkpoint["global_step"], rename=trainer.is_global_zero):
                    models[str(path)] = score
            best_of, worst_of = (max, min) if callback.mode == "max" else (min, max)
            best = best_of(models, key=models.__getitem__, default="")
            worst = worst_of(models, key=models.__getitem__, default="")
            state |= {
                "best_k_models": models,
                "best_model_path": best,
                "best_model_score": models.get(best),
                "kth_best_model_path": worst,
                "kth_value": models.get(worst, callback.kth_value),
            }


def _is_current(path: Path, step: int, *, rename: bool) -> bool:
    """Whether a checkpoint is there and no newer than a step; a newer one is renamed."""
    if not path.is_file():
        return False
    saved_at = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"]
    if saved_at > step and rename:
        path.rename(path.with_stem(f"{path.stem}_step_{saved_at}"))
    return bool(saved_at <= step)
