"""Takes over where a run's checkpoint stands."""

from pathlib import Path

from hymenoptera.data.base import PictureDataModule
from hymenoptera.errors import RequestError
from hymenoptera.models import checkpoint as checkpoints
from hymenoptera.models import halfway
from hymenoptera.models.classifier import Classifier


def checkpoint_to_resume(resume: str) -> Path:
    """The checkpoint that `resume=` means: itself, or the last one of a run folder."""
    path = Path(resume).expanduser()
    return path / "checkpoints" / "last.ckpt" if path.is_dir() else path


def go_on(resume: Path, classifier: Classifier, data: PictureDataModule, manifest_hash: str) -> int:
    """Take over where a checkpoint stands, after a look whether it is the same model's.

    Args:
        resume: the checkpoint.
        classifier: takes its weights.
        data: told which epoch and which batch of it come next.
        manifest_hash: of the pictures at hand.

    Returns:
        The step that it was written after.

    Raises:
        RequestError: it is of another model, other classes or other pictures, or stands between
            two batches as they are now.
    """
    checkpoint = checkpoints.read_checkpoint(resume)
    facts = checkpoint[checkpoints.KEY]
    for what, theirs, ours in (
        ("model", facts["backbone"], classifier.backbone_name),
        ("classes", facts["classes"], classifier.classes),
        ("pictures", facts["manifest_hash"][:16], manifest_hash[:16]),
    ):
        if theirs != ours:
            raise RequestError(
                f"resume={resume}: that run has other {what} ({theirs}) than this one ({ours}). "
                f"Resume it without overriding the {what}."
            )
    classifier.weights_id = facts["weights_id"]
    checkpoints.load_weights(classifier, checkpoint)
    trained_with = facts["config"]["data"]["batch_size"] * facts.get("device", {}).get(
        "processes", 1
    )
    batch_size = data.batch_size * data.world_size
    data.first_batch = halfway.batches_done(checkpoint, trained_with, batch_size)
    data.first_epoch = checkpoint["epoch"] + (data.first_batch == 0)
    return int(checkpoint["global_step"])
