"""Embeddings: what a backbone gives for images."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from hymenoptera.data.manifest import in_threads
from hymenoptera.data.preprocessing import Preprocessing
from hymenoptera.data.samples import Samples

BATCH_SIZE = 32


@torch.inference_mode()
def embed(
    network: nn.Module, preprocessing: Preprocessing, samples: Samples, device: torch.device
) -> Iterator[Tensor]:
    """Batches (B, D) float32 on the CPU of what a network gives for images, in their order."""
    network.eval().to(device).to(memory_format=torch.channels_last)
    transform = preprocessing.eval_transform()
    images = in_threads(lambda i: transform(samples.read(i)), range(len(samples)), "embeddings")
    while batch := list(islice(images, BATCH_SIZE)):
        yield network(torch.stack(batch).to(device)).float().cpu()
