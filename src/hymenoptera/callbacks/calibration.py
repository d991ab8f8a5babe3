"""What the best checkpoint's predictions are worth, fitted when a run ends and kept in the file."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from hymenoptera.callbacks.evaluation import EvaluationResult, evaluation_of
from hymenoptera.callbacks.lookup import readable_samples
from hymenoptera.data.features import embed
from hymenoptera.data.samples import Samples
from hymenoptera.models import ImageClassifier
from hymenoptera.models.calibration import Calibration, cross_fitted
from hymenoptera.models.checkpoint import add_calibration
from hymenoptera.models.familiarity import Familiarity, chosen
from hymenoptera.reports.metrics import Predictions, expected_calibration_error, reliability

log = logging.getLogger(__name__)


class CheckpointCalibration(pl.Callback):
    """Fits temperature, prediction sets and familiarity after `trainer.validate` of a checkpoint.

    They go into the checkpoint, under "calibration" in the run's metadata: `Predictor` reads them
    there. Weights, predicted classes and recorded metrics stay as they are. Only for an
    `ImageClassifier`; the run does not fail with it.

    Attributes:
        summary: what the run's record says of it; None before, and where it could not be done.

    Args:
        unfamiliar_share: of images like the validation images that may be called unfamiliar.
        checkpoint: which file; the one that `trainer.validate` was given by default.
    """

    needs_features = True  # of `Evaluation`

    def __init__(self, unfamiliar_share: float = 0.05, checkpoint: Path | None = None) -> None:
        self.summary: dict[str, Any] | None = None
        self._share, self._checkpoint = unfamiliar_share, checkpoint

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        result, path = evaluation_of(trainer), self._checkpoint or trainer.ckpt_path
        if result is None or not path or not trainer.is_global_zero:
            return
        if not isinstance(pl_module, ImageClassifier):
            return
        try:
            familiarity = self._familiarity(trainer, pl_module, result)
            logits, labels = torch.from_numpy(result.logits), torch.from_numpy(result.labels)
            calibration = Calibration.fit(logits, labels, familiarity)
            add_calibration(Path(path), calibration)
            self.summary = _summary(result, calibration, cross_fitted(logits, labels))
        except Exception as error:
            log.debug("The calibration failed.", exc_info=error)
            log.warning("The checkpoint could not be calibrated: %s", error)

    def _familiarity(
        self, trainer: pl.Trainer, model: ImageClassifier, result: EvaluationResult
    ) -> Familiarity | None:
        """None where the images cannot be read again, or this process has not the whole model."""
        train, val = (readable_samples(trainer, split) for split in ("train", "val"))
        if train is None or val is None:
            return None
        rows = chosen(train.labels, len(model.classes))
        known = getattr(trainer.datamodule, "train_features", None)  # type: ignore[attr-defined]
        kept = train.select(rows)
        features = _features(trainer, model, kept) if known is None else known[rows]
        validation = result.features
        on_val = _features(trainer, model, val) if validation is None else torch.tensor(validation)
        return Familiarity.fit(features, kept.names.tolist(), kept.labels, on_val, self._share)


def _features(trainer: pl.Trainer, model: ImageClassifier, samples: Samples) -> Tensor:
    """(N, D) float32 on the CPU, in the trainer's precision."""
    with trainer.precision_plugin.forward_context():
        return torch.cat(list(embed(model.for_inference(), model.preprocessing, samples)))


def _summary(result: EvaluationResult, calibration: Calibration, after: Tensor) -> dict[str, Any]:
    """Plain values; what stands after is cross-fitted."""
    calibrated = Predictions(result.classes, result.labels, after.numpy(), result.names)
    familiarity = calibration.familiarity
    return {
        "temperature": calibration.temperature,
        "error_before": expected_calibration_error(result),
        "error_after": expected_calibration_error(calibrated),
        "reliability_after": reliability(calibrated).tolist(),
        "max_coverage": calibration.max_coverage,
        "unfamiliar_share": familiarity and familiarity.share,
        "training_images": familiarity and len(familiarity.names),
    }
