"""A trained classifier that predicts images: files or PIL images, in batches."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from hymenoptera.data.images import UNREADABLE, open_image, upright_rgb, why_unreadable
from hymenoptera.errors import ConfigError, in_one_line
from hymenoptera.models.calibration import Calibration
from hymenoptera.models.checkpoint import (
    KEY,
    calibration_in,
    classifier_from,
    damage_explained,
    read_checkpoint,
)
from hymenoptera.models.classifier import ImageClassifier
from hymenoptera.models.device import auto_precision, resolve_accelerator
from hymenoptera.models.familiarity import NEIGHBOUR, nearest

ImageLike = str | Path | Image.Image

AHEAD = 2  # batches that are read while one is computed
NEAREST = 3  # training images that a prediction names


@dataclass(frozen=True)
class Neighbour:
    """A training image that is near an image.

    Attributes:
        name: as the run's data set has it.
        label: its class.
        similarity: cosine of the angle between the two images' features; 1 for equal ones.
    """

    name: str
    label: str
    similarity: float


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of an image; what the checkpoint does not know is None.

    Attributes:
        path: as it was given; "" for an image that came without one.
        probabilities: by class, the highest first, calibrated if the checkpoint is, see
            `models.calibration`; empty where the image cannot be read.
        error: why the image cannot be read.
        set: the classes that the image may have, at the coverage that was asked for.
        familiarity: above 0 and 1 or less, the share of the validation images that are at least as
            far from the training images, see `models.familiarity`.
        is_familiar: whether that is above the checkpoint's share of unfamiliar images, 5 %.
        nearest: training images, the nearest first.
    """

    path: str
    probabilities: dict[str, float]
    error: str | None = None
    set: tuple[str, ...] | None = None
    familiarity: float | None = None
    is_familiar: bool | None = None
    nearest: tuple[Neighbour, ...] = ()

    @property
    def label(self) -> str:
        """The most probable class."""
        return next(iter(self.probabilities), "")

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return next(iter(self.probabilities.values()), 0.0)

    @property
    def is_unsure(self) -> bool | None:
        """Whether the set is not one class: several, or none that is probable enough."""
        return None if self.set is None else len(self.set) != 1


@dataclass(frozen=True)
class Batch:
    """Predictions in the order of the images, and what the network saw of the readable ones.

    Attributes:
        predictions: one an image.
        images: (R, 3, H, W) float32, normalised, of the R readable images, on the CPU.
    """

    predictions: list[Prediction]
    images: Tensor


class _Network(nn.Module):
    """Images (B, 3, H, W) -> features (B, D) and logits (B, C)."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(images)
        return features, self.head(features)


class Predictor:
    """A classifier on its device, ready to predict.

    Attributes:
        classifier: in eval mode.
        classes: by label.
        calibration: what the checkpoint knows of its predictions' worth; None if nothing.
        says: what a prediction says beside its classes: "set" and "unsure", if a coverage was asked
            for; "familiarity" and "familiar", if the checkpoint knows.
        metadata: of the run that wrote the checkpoint; empty if no run did.
        accelerator: Lightning's word, and likewise the precision.

    Args:
        checkpoint: a file, a run folder, or a classifier.
        device: "auto", "cpu", "gpu", "cuda" or "mps".
        precision: one of Lightning's words; None for that of the run that wrote the checkpoint
            if it used such a device, and otherwise `auto_precision`.
        coverage: with which probability, above 0 and below 1, the set of a prediction has the
            image's class; None for no sets.

    Raises:
        ConfigError: no such device or precision, the checkpoint cannot be used, see
            `load_classifier`, or it allows no sets of this coverage.
    """

    def __init__(
        self,
        checkpoint: str | Path | ImageClassifier,
        device: str = "auto",
        precision: str | None = None,
        coverage: float | None = None,
    ) -> None:
        self.calibration: Calibration | None = None
        self.metadata: dict[str, Any] = {}
        self.accelerator = resolve_accelerator(device)
        self.precision: Any = precision
        if isinstance(checkpoint, ImageClassifier):
            self.classifier = checkpoint.eval()
        else:
            path = Path(checkpoint).expanduser()
            path = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
            state = read_checkpoint(path)
            self.classifier = classifier_from(state, path)
            self.calibration, self.metadata = calibration_in(state, path), state.get(KEY, {})
            with damage_explained(path):
                recorded = self.metadata.get("device", {})
                if precision is None and recorded.get("accelerator") == self.accelerator:
                    self.precision = str(recorded["precision"])
        self.precision = self.precision or auto_precision(self.accelerator)
        self.classes = self.classifier.classes
        self._pixels = v2.Compose([self.classifier.preprocessing.frame(), v2.PILToTensor()])
        try:
            self._fabric = Fabric(accelerator=self.accelerator, devices=1, precision=self.precision)
        except ValueError as error:  # Lightning's names are listed in it
            raise ConfigError(in_one_line(error)) from error
        # the memory format of a validation: the same sums, and the fastest
        self.classifier.backbone.to(memory_format=torch.channels_last)
        self.classifier.to(self._fabric.device)
        copied = self.classifier.for_inference(bf16=None if precision is None else False)
        network = _Network(copied, self.classifier.head)
        self._network = self._fabric.setup_module(network.eval())
        self.says: list[str] = []
        self._least: float | None = None
        if coverage is not None:
            if self.calibration is None:
                place = "RUN" if isinstance(checkpoint, ImageClassifier) else checkpoint
                raise ConfigError(
                    f"A coverage needs a calibrated checkpoint: `hymenoptera calibrate {place}`."
                )
            self._least = self.calibration.least_probability(coverage)
            self.says += ["set", "unsure"]
        if self.calibration and (known := self.calibration.familiarity):
            self._train = known.features.to(self._fabric.device).float()
            self.says += ["familiarity", "familiar"]

    def predict(
        self, images: ImageLike | Iterable[ImageLike], batch_size: int = 32
    ) -> Iterator[Prediction]:
        """Predict images as they come; the memory does not grow with their number.

        Args:
            images: paths or PIL images, or one of them.
            batch_size: images that are computed together.

        Yields:
            A prediction for each, in their order; where one cannot be read, with the reason.
        """
        for batch in self.batches(images, batch_size):
            yield from batch.predictions

    def batches(
        self, images: ImageLike | Iterable[ImageLike], batch_size: int = 32
    ) -> Iterator[Batch]:
        """As `predict`, batch by batch, with what the network saw."""
        given = iter([images] if isinstance(images, ImageLike) else images)
        with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes without Python's lock
            waiting: deque[tuple[list[ImageLike], Iterator[Tensor | str]]] = deque()
            while chunk := list(islice(given, batch_size)):
                waiting.append((chunk, pool.map(self._prepare, chunk)))
                if len(waiting) > AHEAD:
                    yield self._predict(*waiting.popleft())
            while waiting:
                yield self._predict(*waiting.popleft())

    @torch.inference_mode()
    def _predict(self, images: list[ImageLike], prepared: Iterator[Tensor | str]) -> Batch:
        results = list(prepared)
        readable = [result for result in results if isinstance(result, Tensor)]
        preprocessing = self.classifier.preprocessing
        none = torch.empty(0, 3, preprocessing.crop_px, preprocessing.crop_px, dtype=torch.uint8)
        pixels = torch.stack(readable) if readable else none
        tensors = preprocessing.normalise(pixels)  # a batch at a time is faster
        said: Iterator[dict[str, Any]] = iter(())
        if readable:
            moved = tensors.to(self._fabric.device, memory_format=torch.channels_last)
            said = self._say(*self._network(moved))
        predictions = []
        for image, result in zip(images, results, strict=True):
            path = str(image) if isinstance(image, str | Path) else ""
            if isinstance(result, str):
                predictions.append(Prediction(path, {}, error=result))
            else:
                predictions.append(Prediction(path, **next(said)))
        return Batch(predictions, tensors)

    def _say(self, features: Tensor, logits: Tensor) -> Iterator[dict[str, Any]]:
        """What a prediction says beside its path, of each of R images: (R, D) and (R, C)."""
        classes, least, logits = self.classes, self._least, logits.float().cpu()
        temperature = self.calibration.temperature if self.calibration else 1.0
        probabilities = (logits.double() / temperature).softmax(dim=1).tolist()
        # by the logits: no temperature changes the predicted class
        ranked = logits.argsort(dim=1, descending=True, stable=True).tolist()
        near = self._near(features.float())
        for order, row in zip(ranked, probabilities, strict=True):
            found = tuple(classes[k] for k in order if row[k] >= (least or 0.0))
            said = {"probabilities": {classes[k]: row[k] for k in order}, **next(near)}
            yield said if least is None else said | {"set": found}

    def _near(self, features: Tensor) -> Iterator[dict[str, Any]]:
        """How familiar each of R images is, as far as the checkpoint knows."""
        known = self.calibration and self.calibration.familiarity
        if not known:
            yield from ({} for _ in features)
            return
        distances, rows = nearest(features, self._train, NEAREST)
        familiarity = known.of(distances[:, NEIGHBOUR - 1].cpu()).tolist()
        for row, far, share in zip(rows.tolist(), distances.tolist(), familiarity, strict=True):
            near = (
                Neighbour(known.names[i], self.classes[known.labels[i]], 1 - distance)
                for i, distance in zip(row, far, strict=True)
            )
            is_familiar = share > known.share
            yield {"familiarity": share, "is_familiar": is_familiar, "nearest": tuple(near)}

    def _prepare(self, image: ImageLike) -> Tensor | str:
        """What the network is to see, (3, H, W) uint8; or why there is nothing."""
        path = None if isinstance(image, Image.Image) else Path(image)
        try:
            if isinstance(image, Image.Image):
                rgb = upright_rgb(image)
            elif Path(image).is_file():
                with open_image(Path(image)) as opened:
                    rgb = upright_rgb(opened)
            else:
                return "there is no such file"
        except UNREADABLE as error:
            return why_unreadable(error, path)
        pixels: Tensor = self._pixels(rgb)
        return pixels
