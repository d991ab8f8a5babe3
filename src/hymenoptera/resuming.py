"""Takes over where a run's checkpoint stands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hymenoptera.data.base import PictureDataModule
from hymenoptera.errors import RequestError
from hymenoptera.models import checkpoint as checkpoints
from hymenoptera.models import progress
from hymenoptera.models.classifier import Classifier


def checkpoint_to_resume(resume: str) -> Path:
    """The checkpoint that `resume=` means: itself, or the last one of a run folder."""
    path = Path(resume).expanduser()
    return path / "checkpoints" / "last.ckpt" if path.is_dir() else path


ORDER_KEYS = ("seed", "shards_at_once")  # of the data's node: what an epoch's order follows from


def go_on(
    resume: Path,
    classifier: Classifier,
    data: PictureDataModule,
    data_facts: Mapping[str, Any],
    config: Mapping[str, Any],
) -> int:
    """Take over where a checkpoint stands, after a look whether it is the same model's.

    Args:
        resume: the checkpoint.
        classifier: takes its weights.
        data: told which epoch and which batch of it come next.
        data_facts: of the pictures at hand; see `records.write_summary`.
        config: of the run that goes on.

    Returns:
        The step that it was written after.

    Raises:
        RequestError: it is of another model, other classes or other pictures, or of the same
            ones otherwise divided; or it stands in an epoch that has another order now, or
            between two batches as they are now.
    """
    checkpoint = checkpoints.read_checkpoint(resume)
    facts = checkpoint[checkpoints.KEY]
    ours_to_validate = data_facts["val_manifest_hash"]
    # older checkpoints do not say which pictures validated
    theirs_to_validate = facts.get("data", {}).get("val_manifest_hash", ours_to_validate)
    for what, theirs, ours in (
        ("model", facts["backbone"], classifier.backbone_name),
        ("classes", facts["classes"], classifier.classes),
        ("pictures", facts["manifest_hash"][:16], data_facts["manifest_hash"][:16]),
        ("validation pictures", theirs_to_validate[:16], ours_to_validate[:16]),
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
    data.first_batch = progress.batches_done(checkpoint, trained_with, batch_size)
    for key in ORDER_KEYS if data.first_batch else ():
        then, now = facts["config"]["data"].get(key), config["data"].get(key)
        if then != now:
            raise RequestError(
                f"resume={resume}: that run was stopped in the middle of an epoch, whose order "
                f"follows from data.{key}={then}; here it is {now}. Resume it with the same."
            )
    data.first_epoch = checkpoint["epoch"] + (data.first_batch == 0)
    return int(checkpoint["global_step"])
