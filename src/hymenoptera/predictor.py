"""A trained classifier that is shown pictures: files, PIL images or arrays, in batches."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hymenoptera.data.pictures import UNREADABLE, open_picture, upright_rgb, why_unreadable
from hymenoptera.device import Device, resolve_device
from hymenoptera.errors import RequestError
from hymenoptera.models.checkpoint import LoadedCheckpoint, load_checkpoint
from hymenoptera.results.runs import find_checkpoint

Picture = str | Path | Image.Image | NDArray[Any]

LARGEST_PIXELS = 50_000_000  # of a picture when its shorter side has the network's length
AHEAD = 2  # batches that are read while one is computed


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of a picture.

    Attributes:
        name: the picture's path as it was given; empty for one that came without a path.
        probabilities: by class, the highest first; empty where the picture cannot be read.
        error: why the picture cannot be read.
    """

    name: str
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
    """Predictions in the order of the pictures, and what the network saw of the readable ones.

    Attributes:
        predictions: one a picture.
        images: (R, 3, H, W) float32, normalised, of the R readable pictures, on the CPU.
    """

    predictions: list[Prediction]
    images: Tensor


class Predictor:
    """A classifier on its device, ready to be shown pictures.

    Attributes:
        checkpoint: what was loaded.
        classes: by label.
        fabric: places the classifier on its device.

    Args:
        checkpoint: from `load_checkpoint`.
        device: "auto", "cpu", "gpu" or "mps".

    Raises:
        RequestError: there is no such device here.
    """

    def __init__(self, checkpoint: LoadedCheckpoint, device: str = "auto") -> None:
        self.checkpoint = checkpoint
        self.classes = checkpoint.classes
        self.device = resolve_like(checkpoint, device)
        self.fabric = Fabric(**self.device.trainer_options())
        # as when the run was judged: the same sums, and convolutions are quickest so
        network = checkpoint.classifier.to(memory_format=torch.channels_last)
        self._network = self.fabric.setup_module(network)
        self._transform = checkpoint.preprocessing.transform()

    def predict(self, images: Picture | Iterable[Picture]) -> list[Prediction]:
        """Classify pictures.

        Args:
            images: paths, PIL images or arrays, (H, W, 3) or (H, W), uint8, or floats on the
                scale 0 to 1; or one of them.

        Returns:
            A prediction for each, in their order.

        Raises:
            RequestError: one of them cannot be read as a picture.
        """
        one = isinstance(images, str | Path | Image.Image | np.ndarray)
        given: Iterable[Picture] = [images] if one else images  # type: ignore[list-item,assignment]
        predictions = [p for batch in self.batches(given) for p in batch.predictions]
        for position, prediction in enumerate(predictions):
            if prediction.error is not None:
                name = prediction.name or f"Picture {position}"
                raise RequestError(f"{name} cannot be read as a picture: {prediction.error}.")
        return predictions

    def batches(self, images: Iterable[Picture], size: int = 32) -> Iterator[Batch]:
        """Classify pictures as they come; the memory does not grow with their number.

        Args:
            images: as `predict` takes them. One that cannot be read is a prediction with the
                reason.
            size: pictures a batch.
        """
        pictures = iter(images)
        with ThreadPoolExecutor() as pool:  # Pillow decodes and resizes without Python's lock
            waiting: deque[tuple[list[Picture], Iterator[Tensor | str]]] = deque()
            while batch := list(islice(pictures, size)):
                waiting.append((batch, pool.map(self._prepare, batch)))
                if len(waiting) > AHEAD:
                    yield self._classify(*waiting.popleft())
            while waiting:
                yield self._classify(*waiting.popleft())

    @torch.inference_mode()
    def _classify(self, pictures: list[Picture], prepared: Iterator[Tensor | str]) -> Batch:
        names = [str(p) if isinstance(p, str | Path) else "" for p in pictures]
        tensors = list(prepared)
        readable = [t for t in tensors if isinstance(t, Tensor)]
        size_px = self.checkpoint.preprocessing.crop_px
        images = torch.stack(readable) if readable else torch.empty(0, 3, size_px, size_px)
        shares: Iterator[list[float]] = iter(())
        if readable:
            given = images.to(self.fabric.device, memory_format=torch.channels_last)
            logits = self._network(given)  # (R, C)
            shares = iter(logits.float().softmax(dim=1).cpu().tolist())
        predictions = [
            Prediction(name, {}, error=tensor)
            if isinstance(tensor, str)
            else Prediction(name, self._ranked(next(shares)))
            for name, tensor in zip(names, tensors, strict=True)
        ]
        return Batch(predictions, images)

    def _ranked(self, shares: list[float]) -> dict[str, float]:
        order = sorted(range(len(shares)), key=lambda label: -shares[label])
        return {self.classes[label]: shares[label] for label in order}

    def _prepare(self, picture: Picture) -> Tensor | str:
        """The network's input, (3, H, W) float32 normalised; or why there is none."""
        try:
            if isinstance(picture, str | Path):
                if not Path(picture).is_file():
                    return "there is no such file"
                with open_picture(Path(picture)) as opened:
                    image = upright_rgb(opened)
            elif isinstance(picture, Image.Image):
                image = upright_rgb(picture)
            else:
                image = _from_array(np.asarray(picture))
        except UNREADABLE as error:
            named = isinstance(picture, str | Path)
            return why_unreadable(error, Path(str(picture))) if named else str(error)
        short, long = sorted(image.size)
        if long * self.checkpoint.preprocessing.resize_px**2 > LARGEST_PIXELS * short:
            return f"it is too narrow to be resized: {image.width} x {image.height} pixels"
        prepared: Tensor = self._transform(image)
        return prepared


def load_predictor(path: Path, device: str = "auto") -> Predictor:
    """Load a classifier from a run folder or a checkpoint.

    Raises:
        RequestError: no such checkpoint, not one of this project, or no such device.
    """
    return Predictor(load_checkpoint(find_checkpoint(path)), device)


def resolve_like(checkpoint: LoadedCheckpoint, device: str) -> Device:
    """A device, with the precision of the checkpoint's run where that ran on one of its kind.

    Raises:
        RequestError: there is no such device here.
    """
    try:
        resolved = resolve_device(device, "auto", "auto")
    except RequestError as error:
        raise RequestError(
            f"device {device}: there is none here, or this torch ({torch.__version__}) cannot use "
            f"it. The device cpu is everywhere."
        ) from error
    recorded = checkpoint.facts.get("device", {})
    if recorded.get("accelerator") == resolved.accelerator:
        return resolve_device(resolved.accelerator, "auto", recorded["precision"])
    return resolved


def _from_array(array: NDArray[Any]) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ValueError(f"an array of shape {array.shape} is not (H, W, 3) or (H, W)")
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError("an array of floats must be on the scale 0 to 1")
        array = np.round(array * 255)
    elif array.dtype != np.uint8:
        raise ValueError(f"an array of {array.dtype} is neither uint8 nor floats")
    return Image.fromarray(array.astype(np.uint8)).convert("RGB")
