"""What there is to see of a picture: its classes, where the answer comes from, what is like it."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from hymenoptera.errors import RequestError
from hymenoptera.models.grad_cam import GradCam
from hymenoptera.neighbours import Neighbours
from hymenoptera.predictor import Picture, load_predictor
from hymenoptera.preprocessing import as_pictures
from hymenoptera.results.pictures import overlay, thumbnail

NEAREST = 5  # training pictures that are shown
SIDE_PX = 240  # of such a picture


@dataclass(frozen=True)
class Sight:
    """What is shown of a picture.

    Attributes:
        shares: probabilities by class, the highest first.
        seen: the picture as the network sees it.
        heat: where the answer comes from, over that.
        nearest: training pictures that are like it, with a line on each.
    """

    shares: dict[str, float]
    seen: Image.Image
    heat: Image.Image
    nearest: list[tuple[Image.Image, str]]


class Looker:
    """Looks at pictures, one at a time.

    Attributes:
        missing: why there are no nearest training pictures; None where there are.

    Args:
        checkpoint: whose classifier looks.
        device: "auto", "cpu", "gpu" or "mps".

    Raises:
        RequestError: not a checkpoint of this project, or no such device.
    """

    def __init__(self, checkpoint: Path, device: str) -> None:
        self._predictor = load_predictor(checkpoint, device)
        self._heat = GradCam(self._predictor.checkpoint.classifier)
        self.missing: str | None = None
        try:
            self._neighbours: Neighbours | None = Neighbours(self._predictor)
        except RequestError as error:
            self._neighbours, self.missing = None, str(error)

    def __call__(self, picture: Picture) -> Sight:
        """Look at a picture.

        Raises:
            RequestError: it cannot be read.
        """
        (batch,) = self._predictor.batches([picture])
        (prediction,) = batch.predictions
        if prediction.error is not None:
            raise RequestError(f"This cannot be read as a picture: {prediction.error}.")
        (seen,) = as_pictures(self._predictor.checkpoint.preprocessing.denormalise(batch.images))
        (heat,) = self._heat(batch.images)
        found = self._neighbours.nearest(batch.images[0], NEAREST) if self._neighbours else []
        small = [(thumbnail(near.path, SIDE_PX), near) for near in found]
        nearest = [
            (image, f"{near.label}, {near.similarity:.2f}")
            for image, near in small
            if image is not None
        ]
        return Sight(prediction.probabilities, seen, overlay(seen, heat.numpy()), nearest)
