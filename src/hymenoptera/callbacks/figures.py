"""What an evaluation looks like: figures, Grad-CAM heat maps, the projector."""

import logging

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import ImageOps
from torch.utils.tensorboard import SummaryWriter

from hymenoptera.callbacks.evaluation import EvaluationResult, evaluation_of
from hymenoptera.callbacks.history import history_of
from hymenoptera.callbacks.lookup import readable_samples
from hymenoptera.callbacks.tensorboard import tensorboards
from hymenoptera.data.preprocessing import as_images
from hymenoptera.models import ImageClassifier
from hymenoptera.models.grad_cam import GradCam
from hymenoptera.reports import figures
from hymenoptera.reports.images import grad_cam_file, image_grid, overlay, side_by_side
from hymenoptera.reports.metrics import confusion, expected_calibration_error

log = logging.getLogger(__name__)

Writer = SummaryWriter | None  # to TensorBoard; None if the run does not write there


class AfterEvaluation(pl.Callback):
    """Draws something in rank zero after `trainer.validate`; the run does not fail with it.

    A subclass implements `draw`. It needs an `Evaluation` among the callbacks.
    """

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        result = evaluation_of(trainer)
        if result is None or not trainer.is_global_zero:
            return
        try:
            writers = [logger.experiment for logger in tensorboards(trainer)]
            self.draw(trainer, result, writers[0] if writers else None)
        except Exception as error:
            log.debug("%s failed.", type(self).__name__, exc_info=error)
            log.warning("%s could not be drawn: %s", type(self).__name__, error)

    def draw(self, trainer: pl.Trainer, result: EvaluationResult, writer: Writer) -> None:
        raise NotImplementedError


class EvaluationFigures(AfterEvaluation):
    """Confusion matrix, reliability with its calibration error, precision and recall."""

    def draw(self, trainer: pl.Trainer, result: EvaluationResult, writer: Writer) -> None:
        if writer is None:
            return
        epoch = _epoch(trainer)
        matrix = confusion(result.labels, result.predicted, len(result.classes))
        for name, figure in (
            ("confusion", figures.confusion_figure(matrix, result.classes)),
            ("reliability", figures.reliability_figure(result)),
            ("precision_recall", figures.precision_recall_figure(result)),
        ):
            pixels = figures.as_pixels(figure)
            writer.add_image(f"best/{name}", pixels, epoch, dataformats="HWC")
        error = expected_calibration_error(result)
        writer.add_scalar("best/expected_calibration_error", error, epoch)
        for label, name in enumerate(result.classes):
            positive, scores = result.labels == label, result.probabilities[:, label]
            writer.add_pr_curve(f"best/{name}", positive, scores, epoch)


class GradCamImages(AfterEvaluation):
    """The worst mistakes and some correct predictions, with a Grad-CAM heat map beside each.

    They go to TensorBoard's images and, one by one, to `images/grad_cam` in the run folder, where
    the report finds them. Only for an `ImageClassifier` on the data modules of this project.

    Args:
        mistakes: how many of the worst mistakes.
        correct: how many correct predictions, from all over the validation images.
    """

    def __init__(self, mistakes: int = 12, correct: int = 4) -> None:
        self.mistakes = mistakes
        self.correct = correct

    def draw(self, trainer: pl.Trainer, result: EvaluationResult, writer: Writer) -> None:
        model, samples = trainer.lightning_module, readable_samples(trainer)
        if samples is None or not isinstance(model, ImageClassifier):
            return
        prepare = model.preprocessing.eval_transform()
        correct = np.flatnonzero(result.predicted == result.labels)
        spread = np.linspace(0, len(correct) - 1, min(self.correct, len(correct))).astype(int)
        for name, group in (
            ("worst_mistakes", result.mistakes(self.mistakes)),
            ("correct", correct[spread].tolist()),
        ):
            if not group:
                continue
            inputs = torch.stack([prepare(samples.read(at)) for at in group])  # (K, 3, H, W)
            shown = as_images(model.preprocessing.denormalise(inputs))
            heat_maps = GradCam(model)(inputs).numpy()  # (K, h, w) float32
            pairs = [
                side_by_side(image, overlay(image, heat_map))
                for image, heat_map in zip(shown, heat_maps, strict=True)
            ]
            for at, pair in zip(group, pairs, strict=True):
                path = grad_cam_file(result.folder, result.names[at])
                path.parent.mkdir(parents=True, exist_ok=True)
                pair.save(path, quality=85)
            if writer is not None:
                grid = np.asarray(image_grid(pairs, [_title(result, at) for at in group]))
                writer.add_image(f"best/{name}", grid, _epoch(trainer), dataformats="HWC")


class Embeddings(AfterEvaluation):
    """The validation images in TensorBoard's projector, by the features that the head is given.

    Only for a model with a `head`, not compiled, on the data modules of this project.

    Args:
        count: of images at most, from all over the validation split where it has more.
        side_px: of a thumbnail.
    """

    needs_features = True  # of `Evaluation`

    def __init__(self, count: int = 1000, side_px: int = 56) -> None:
        self.count = count
        self.side_px = side_px

    def draw(self, trainer: pl.Trainer, result: EvaluationResult, writer: Writer) -> None:
        samples, features = readable_samples(trainer), result.features
        if writer is None or samples is None or features is None:
            return
        total = len(result.labels)
        shown = [int(at) for at in np.linspace(0, total - 1, min(total, self.count))]
        rows, images = [], []
        for at in shown:
            label, predicted = (result.classes[k[at]] for k in (result.labels, result.predicted))
            outcome = "correct" if label == predicted else "wrong"
            row = (result.names[at], label, predicted, outcome, f"{result.losses[at]:.3f}")
            rows.append([" ".join(cell.split()) for cell in row])  # no tabs in a tsv
            small = ImageOps.pad(samples.read(at), (self.side_px, self.side_px), color="white")
            images.append(torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255)
        writer.add_embedding(
            features[shown],
            metadata=rows,
            label_img=torch.stack(images),
            global_step="embeddings",  # names the folder, beside the events
            tag="validation",
            metadata_header=["image", "label", "prediction", "outcome", "loss"],
        )


def _epoch(trainer: pl.Trainer) -> int:
    """The epoch, from 1, of the best checkpoint; how many were trained where there is none."""
    history = history_of(trainer)
    best = history and history.best
    return int(best["epoch"]) if best else trainer.current_epoch


def _title(result: EvaluationResult, at: int) -> str:
    """Prediction / label, and below it loss / probability."""
    predicted, label = (result.classes[labels[at]] for labels in (result.predicted, result.labels))
    return f"{predicted} / {label}\n{result.losses[at]:.2f} / {result.probabilities[at].max():.2f}"
