"""What the page of `serve` shows of an image: classes, a heat map, the nearest training images."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from hymenoptera.cli.training_images import TrainingImages
from hymenoptera.data.preprocessing import as_images
from hymenoptera.models import Predictor
from hymenoptera.models.grad_cam import GradCam
from hymenoptera.reports.images import data_uri, overlay


@dataclass(frozen=True)
class Explanation:
    """What is shown of an image; images as data URIs."""

    probabilities: list[tuple[str, float]]  # by class, the highest first
    is_familiar: bool | None  # see `models.Prediction`
    familiarity: float | None
    seen: str  # the image as the network sees it
    heat_map: str  # what the prediction rests on, over that image
    nearest: list[tuple[str, str]]  # training images, with label and cosine of the features


class Explainer:
    """Explains images; `missing` says why there are no nearest training images, if so."""

    def __init__(self, checkpoint: Path, device: str) -> None:
        self._predictor = Predictor(checkpoint, device)
        self._classifier = self._predictor.classifier
        self._grad_cam = GradCam(self._classifier)
        self._training_images = TrainingImages(self._predictor.metadata)
        self.missing = None
        if "familiar" not in self._predictor.says:
            self.missing = f"`hymenoptera calibrate {checkpoint}` adds what is needed for it."

    def __call__(self, image: Image.Image) -> Explanation:
        """Explain an RGB image."""
        (batch,) = self._predictor.batches(image)
        (prediction,) = batch.predictions
        (seen,) = as_images(self._classifier.preprocessing.denormalise(batch.images))
        (heat_map,) = self._grad_cam(batch.images)
        return Explanation(
            list(prediction.probabilities.items()),
            prediction.is_familiar,
            prediction.familiarity,
            data_uri(seen),
            data_uri(overlay(seen, heat_map.numpy())),
            self._training_images.shown(prediction.nearest),
        )
