"""The training pictures that are nearest to a picture, as a classifier's backbone sees them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hymenoptera.caching import embed_training
from hymenoptera.evaluation import own_data
from hymenoptera.predictor import Predictor


@dataclass(frozen=True)
class Neighbour:
    """A training picture.

    Attributes:
        path: of its file.
        label: its class.
        similarity: cosine of the angle between the two embeddings, 1 for the same picture.
    """

    path: Path
    label: str
    similarity: float


class Neighbours:
    """A run's training pictures by their embeddings, which are computed once and kept.

    Args:
        predictor: the classifier whose backbone embeds.

    Raises:
        RequestError: the run's pictures are not where they were, or are not the same.
    """

    def __init__(self, predictor: Predictor) -> None:
        checkpoint = predictor.checkpoint
        data = own_data(checkpoint)
        folder = Path(checkpoint.config["transfer"]["cache_folder"]).expanduser()
        embeddings = embed_training(checkpoint.classifier, data, predictor.device, folder)
        self._embeddings = nn.functional.normalize(embeddings, dim=1)  # (N, D)
        self._samples = data.index.train
        self._classes = checkpoint.classes
        self._backbone = checkpoint.classifier.backbone
        self._device = predictor.fabric.device

    @torch.inference_mode()
    def nearest(self, image: Tensor, count: int) -> list[Neighbour]:
        """The nearest training pictures, the nearest first.

        Args:
            image: (3, H, W) float32, normalised as the classifier expects.
            count: how many at the most.
        """
        embedding = self._backbone(image[None].to(self._device)).float().cpu()  # (1, D)
        similarities = (self._embeddings @ nn.functional.normalize(embedding).T).squeeze(1)  # (N,)
        found = torch.topk(similarities, min(count, len(similarities)))
        samples = [self._samples[row] for row in found.indices]
        return [
            Neighbour(sample.path, self._classes[sample.label], similarity)
            for sample, similarity in zip(samples, found.values.tolist(), strict=True)
        ]
