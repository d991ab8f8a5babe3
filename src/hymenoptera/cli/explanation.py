"""What the page of `serve` shows of an image: classes, a heat map, the nearest training images."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from hymenoptera.cli.embedding import embed
from hymenoptera.cli.evaluation import run_data
from hymenoptera.data.preprocessing import as_images
from hymenoptera.errors import ConfigError
from hymenoptera.models import Predictor
from hymenoptera.models.checkpoint import KEY, read_checkpoint
from hymenoptera.models.grad_cam import GradCam
from hymenoptera.reports.images import data_uri, overlay

NEAREST = 5  # training images that are shown
SIDE_PX = 240  # of such an image


@dataclass(frozen=True)
class Explanation:
    """What is shown of an image; images as data URIs."""

    probabilities: list[tuple[str, float]]  # by class, the highest first
    seen: str  # the image as the network sees it
    heat_map: str  # what the prediction rests on, over that image
    nearest: list[tuple[str, str]]  # training images, with label and cosine of the embeddings


class Explainer:
    """Explains images; `missing` says why there are no nearest training images, if so."""

    def __init__(self, checkpoint: Path, device: str) -> None:
        self._predictor = Predictor(checkpoint, device)
        self._classifier = self._predictor.classifier
        self._device = next(self._classifier.parameters()).device
        self._grad_cam = GradCam(self._classifier)
        self.missing: str | None = None
        try:
            self._samples = run_data(read_checkpoint(checkpoint).get(KEY, {}), "train").train
        except ConfigError as error:
            self.missing = str(error)
            return
        network, preprocessing = self._classifier.backbone, self._classifier.preprocessing
        embeddings = embed(network, preprocessing, self._samples, self._device)
        self._embeddings = normalize(torch.cat(list(embeddings)), dim=1)  # (N, D)

    def __call__(self, image: Image.Image) -> Explanation:
        """Explain an RGB image."""
        (batch,) = self._predictor.batches(image)
        (prediction,) = batch.predictions
        (seen,) = as_images(self._classifier.preprocessing.denormalise(batch.images))
        (heat_map,) = self._grad_cam(batch.images)
        return Explanation(
            list(prediction.probabilities.items()),
            data_uri(seen),
            data_uri(overlay(seen, heat_map.numpy())),
            [] if self.missing else self._nearest(batch.images),
        )

    @torch.inference_mode()
    def _nearest(self, images: Tensor) -> list[tuple[str, str]]:
        embedding = self._classifier.features(images.to(self._device)).float().cpu()  # (1, D)
        similarities = (self._embeddings @ normalize(embedding).T).squeeze(1)  # (N,)
        values, rows = torch.topk(similarities, min(NEAREST, len(similarities)))
        nearest = []
        for row, value in zip(rows.tolist(), values.tolist(), strict=True):
            image = self._samples.read(row)
            image.thumbnail((SIDE_PX, SIDE_PX))
            label = self._classifier.classes[self._samples.labels[row]]
            nearest.append((data_uri(image), f"{label}, {value:.2f}"))
        return nearest
