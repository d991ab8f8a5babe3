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

from hymenoptera.data.images import UNREADABLE, open_image, upright_rgb, why_unreadable
from hymenoptera.models.checkpoint import KEY, classifier_from, read_checkpoint
from hymenoptera.models.classifier import ImageClassifier
from hymenoptera.models.device import auto_precision, resolve_accelerator

ImageLike = str | Path | Image.Image

AHEAD = 2  # batches that are read while one is computed


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of an image.

    Attributes:
        path: as it was given; "" for an image that came without one.
        probabilities: by class, the highest first; empty where the image cannot be read.
        error: why the image cannot be read.
    """

    path: str
    probabilities: dict[str, float]
    error: str | None = None

    @property
    def label(self) -> str:
        """The most probable class."""
        return next(iter(self.probabilities), "")

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return next(iter(self.probabilities.values()), 0.0)


@dataclass(frozen=True)
class Batch:
    """Predictions in the order of the images, and what the network saw of the readable ones.

    Attributes:
        predictions: one an image.
        images: (R, 3, H, W) float32, normalised, of the R readable images, on the CPU.
    """

    predictions: list[Prediction]
    images: Tensor


class Predictor:
    """A classifier on its device, ready to predict.

    Attributes:
        classifier: in eval mode.
        classes: by label.
        accelerator: Lightning's word, and likewise the precision.

    Args:
        checkpoint: a file, a run folder, or a classifier.
        device: "auto", "cpu", "gpu", "cuda" or "mps".
        precision: one of Lightning's words; None for that of the run that wrote the checkpoint
            if it used such a device, and otherwise `auto_precision`.

    Raises:
        ConfigError: no such device, or the checkpoint cannot be used, see `load_classifier`.
    """

    def __init__(
        self,
        checkpoint: str | Path | ImageClassifier,
        device: str = "auto",
        precision: str | None = None,
    ) -> None:
        self.accelerator = resolve_accelerator(device)
        self.precision: Any = precision
        if isinstance(checkpoint, ImageClassifier):
            self.classifier = checkpoint.eval()
        else:
            path = Path(checkpoint).expanduser()
            path = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
            state = read_checkpoint(path)
            self.classifier = classifier_from(state, path)
            recorded = state.get(KEY, {}).get("device", {})
            if precision is None and recorded.get("accelerator") == self.accelerator:
                self.precision = recorded.get("precision")
        self.precision = self.precision or auto_precision(self.accelerator)
        self.classes = self.classifier.classes
        self._transform = self.classifier.preprocessing.eval_transform()
        self._fabric = Fabric(accelerator=self.accelerator, devices=1, precision=self.precision)
        # the memory format of a validation: the same sums, and the fastest
        self.classifier.backbone.to(memory_format=torch.channels_last)
        network = nn.Sequential(self.classifier.backbone, self.classifier.head)
        self._network = self._fabric.setup_module(network.eval())  # shared with the classifier

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
        size_px = self.classifier.preprocessing.crop_px
        tensors = torch.stack(readable) if readable else torch.empty(0, 3, size_px, size_px)
        rows: Iterator[list[float]] = iter(())
        if readable:
            moved = tensors.to(self._fabric.device, memory_format=torch.channels_last)
            logits = self._network(moved)  # (R, C)
            rows = iter(logits.float().softmax(dim=1).tolist())
        predictions = []
        for image, result in zip(images, results, strict=True):
            path = str(image) if isinstance(image, str | Path) else ""
            if isinstance(result, str):
                predictions.append(Prediction(path, {}, error=result))
            else:
                ranked = sorted(zip(self.classes, next(rows), strict=True), key=lambda p: -p[1])
                predictions.append(Prediction(path, dict(ranked)))
        return Batch(predictions, tensors)

    def _prepare(self, image: ImageLike) -> Tensor | str:
        """The network's input, (3, H, W) float32 normalised; or why there is none."""
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
        prepared: Tensor = self._transform(rgb)
        return prepared
