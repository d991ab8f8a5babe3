"""Pictures of how the best checkpoint judges: drawn once, after the last epoch."""

import logging
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from hymenoptera.data.folders import Sample
from hymenoptera.data.pictures import read_picture
from hymenoptera.models.checkpoint import LoadedCheckpoint
from hymenoptera.models.grad_cam import GradCam
from hymenoptera.preprocessing import as_pictures
from hymenoptera.results.figures import (
    as_pixels,
    confusion_figure,
    precision_recall_figure,
    reliability_figure,
)
from hymenoptera.results.metrics import Judgement, confusion, expected_calibration_error
from hymenoptera.results.pictures import overlay, picture_grid, side_by_side
from hymenoptera.results.run_files import heat_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """The best checkpoint, judged.

    Attributes:
        folder: of the run.
        checkpoint: the best one.
        judgement: of the validation pictures.
        samples: the validation pictures, in the judgement's order.
        features: (N, D) float32, what the head was given of each.
        writer: to TensorBoard, where the run writes there.
    """

    folder: Path
    checkpoint: LoadedCheckpoint
    judgement: Judgement
    samples: Sequence[Sample]
    features: NDArray[np.float32]
    writer: SummaryWriter | None


class AfterJudging(pl.Callback):
    """Is told when the best checkpoint was judged."""

    def on_judged(self, judged: Judged) -> None:
        """Draw what there is to draw."""
        raise NotImplementedError


class JudgementFigures(AfterJudging):
    """Confusion matrix, reliability with its expected error, precision and recall."""

    def on_judged(self, judged: Judged) -> None:
        """Write them to TensorBoard."""
        if judged.writer is None:
            return
        found, epoch = judged.judgement, judged.checkpoint.epoch
        matrix = confusion(found.labels, found.predicted, len(found.classes))
        for name, figure in (
            ("confusion", confusion_figure(matrix, found.classes)),
            ("reliability", reliability_figure(found)),
            ("precision_recall", precision_recall_figure(found)),
        ):
            judged.writer.add_image(f"best/{name}", as_pixels(figure), epoch, dataformats="HWC")
        error = expected_calibration_error(found)
        judged.writer.add_scalar("best/expected_calibration_error", error, epoch)
        for label, name in enumerate(found.classes):
            judged.writer.add_pr_curve(
                f"best/{name}", found.labels == label, found.probabilities[:, label], epoch
            )


class GradCamPictures(AfterJudging):
    """The worst mistakes and some right predictions, with the heat of each beside it.

    They go to TensorBoard's images and, one by one, below `pictures/grad_cam` in the run folder,
    where the report finds them.

    Args:
        wrong: how many of the worst mistakes.
        right: how many right predictions, from all over the validation pictures.
    """

    def __init__(self, wrong: int = 12, right: int = 4) -> None:
        self.wrong = wrong
        self.right = right

    def on_judged(self, judged: Judged) -> None:
        """Draw and save them."""
        found, preprocessing = judged.judgement, judged.checkpoint.preprocessing
        good = np.flatnonzero(found.predicted == found.labels)
        places = np.linspace(0, len(good) - 1, min(self.right, len(good))).astype(int)
        groups = {"worst_mistakes": found.worst(self.wrong), "right": good[places].tolist()}
        chosen = [position for group in groups.values() for position in group]
        if not chosen:
            return
        prepare = preprocessing.transform()
        images = torch.stack([prepare(read_picture(judged.samples[i].path)) for i in chosen])
        heats = GradCam(judged.checkpoint.classifier)(images)
        pairs = {
            position: side_by_side(picture, overlay(picture, heat.numpy()))
            for position, picture, heat in zip(
                chosen, as_pictures(preprocessing.denormalise(images)), heats, strict=True
            )
        }
        for position, pair in pairs.items():
            path = heat_file(judged.folder, found.paths[position])
            path.parent.mkdir(parents=True, exist_ok=True)
            pair.save(path, quality=85)
        for name, group in groups.items():
            if judged.writer is not None and group:
                grid = picture_grid([pairs[i] for i in group], [_title(found, i) for i in group])
                judged.writer.add_image(
                    f"best/{name}", np.asarray(grid), judged.checkpoint.epoch, dataformats="HWC"
                )


class ModelGraph(AfterJudging):
    """What the network computes, layer by layer."""

    def on_judged(self, judged: Judged) -> None:
        """Trace the best checkpoint's classifier over a blank picture."""
        if judged.writer is None:
            return
        classifier = judged.checkpoint.classifier
        side_px = judged.checkpoint.preprocessing.crop_px
        blank = classifier.head.weight.new_zeros(1, 3, side_px, side_px)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer, on branches that never change
            judged.writer.add_graph(classifier, blank)


def tell(callbacks: Iterable[pl.Callback], judged: Judged) -> None:
    """Tell the callbacks that wait for it; the run does not fail with one of them."""
    for callback in callbacks:
        if isinstance(callback, AfterJudging):
            try:
                callback.on_judged(judged)
            except Exception as error:
                log.debug("%s failed.", type(callback).__name__, exc_info=error)
                log.warning("%s could not be drawn: %s", type(callback).__name__, error)


def _title(found: Judgement, position: int) -> str:
    """Prediction / actual, and below it loss / probability."""
    predicted, actual = (found.classes[i[position]] for i in (found.predicted, found.labels))
    return (
        f"{predicted} / {actual}\n"
        f"{found.losses[position]:.2f} / {found.probabilities[position].max():.2f}"
    )
