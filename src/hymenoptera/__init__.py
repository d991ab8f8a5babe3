"""Fine-tune a pretrained network on a few hundred pictures, and know what the result is worth."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hymenoptera.predictor import Predictor


def load(checkpoint: str | Path, device: str = "auto") -> "Predictor":
    """Load a trained classifier, ready to be shown pictures.

    Args:
        checkpoint: a run folder (its best checkpoint is taken) or a checkpoint.
        device: "auto", "cpu", "gpu" or "mps".

    Returns:
        A classifier whose `predict` takes paths, PIL images or arrays.

    Raises:
        RequestError: no such checkpoint, not one of this project, or no such device.
    """
    from hymenoptera.predictor import load_predictor  # torch is imported when it is needed

    return load_predictor(Path(checkpoint), device)
