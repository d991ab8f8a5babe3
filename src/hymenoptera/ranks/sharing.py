"""What several processes change about a run: its Trainer, its rate, its share of the cores."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback, Checkpoint
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy

from hymenoptera.cores import reader_count
from hymenoptera.data.base import PictureDataModule
from hymenoptera.data.folders import Sample
from hymenoptera.data.table import Samples, labels_of
from hymenoptera.device import Device
from hymenoptera.errors import RequestError
from hymenoptera.models.checkpoint import WholeCheckpointIO
from hymenoptera.ranks.team import Team

OWN_KEYS = ("scale_lr",)  # of the trainer's node, which the Trainer does not know


def trainer_node(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer's node as the Trainer knows it."""
    return {key: value for key, value in trainer.items() if key not in OWN_KEYS}


def trainer_options(
    trainer: Mapping[str, Any], device: Device, team: Team, *, late: bool
) -> dict[str, Any]:
    """What the Trainer is given beside its node: devices, processes, what writes a checkpoint.

    Args:
        trainer: the node.
        device: as resolved.
        team: the processes of the run.
        late: whether something is trained from a later epoch on, and has no gradient until then.
    """
    common = {**device.all_devices(), "num_nodes": team.layout.node_count}
    if team.environment is None:
        alone = {"strategy": "auto", "sync_batchnorm": False}
        return {**common, **alone, "plugins": [WholeCheckpointIO()]}
    return {
        **common,
        "plugins": [WholeCheckpointIO(), team.environment],
        "use_distributed_sampler": False,  # the data module has its own
        "strategy": FSDPStrategy(sync_module_states=True)
        if trainer["strategy"] == "fsdp"
        else DDPStrategy(find_unused_parameters=late),
    }


def refuse_strategy(trainer: Mapping[str, Any], device: Device) -> None:
    """Refuse a strategy that the device at hand cannot follow."""
    if trainer["strategy"] == "fsdp" and device.accelerator != "cuda":
        raise RequestError(
            "trainer.strategy=fsdp shards a model over CUDA GPUs, and there is none here: "
            "trainer=ddp runs on CPUs too."
        )
    if trainer["sync_batchnorm"] and device.accelerator != "cuda":
        raise RequestError("trainer.sync_batchnorm=true needs CUDA GPUs, and there is none here.")


def scale_rate(config: Mapping[str, Any], team: Team) -> dict[str, Any]:
    """The optimizer's node with the rate that it gets.

    Source: Goyal et al., "Accurate, Large Minibatch SGD", 2017, 2.1, for the linear scaling.
    """
    node: dict[str, Any] = config["optimizer"]
    return {**node, "lr": node["lr"] * _scale(config, team)}


def divide_cores(data: dict[str, Any], team: Team) -> dict[str, Any]:
    """The data's node with the cores divided among the processes of a machine."""
    local_size = team.layout.local_size
    if data["num_workers"] != "auto" or local_size == 1:
        return data
    return {**data, "num_workers": reader_count(local_size)}


def refuse_to_divide(data: PictureDataModule, team: Team) -> None:
    """Refuse a part with fewer pictures than there are processes."""
    for part, samples in (("training", data.index.train), ("validation", data.index.val)):
        if len(samples) < team.size:
            raise RequestError(
                f"{len(samples)} {part} pictures cannot be divided among {team.size} processes: "
                f"take {len(samples)} at the most."
            )


def samples_hash(data: PictureDataModule) -> str:
    """SHA-256 over the pictures' parts, names and labels: that of the same pictures is the same."""
    digest = hashlib.sha256()
    for part in (data.index.train, data.index.val):
        for name, label in _names_and_labels(part, data.index.root):
            digest.update(b"%b %d\n" % (name, label))
        digest.update(b"\n")
    return digest.hexdigest()


def _names_and_labels(samples: Sequence[Sample], root: Path) -> Iterator[tuple[bytes, int]]:
    if isinstance(samples, Samples):  # each would be made, with its path
        labels = labels_of(samples)
        for part, names in samples.table.chunks(samples.rows):
            yield from zip(names, labels[part].tolist(), strict=True)
        return
    for sample in samples:
        yield os.fsencode(sample.path.relative_to(root).as_posix()), sample.label


def feed_decided(record: Mapping[str, Any]) -> dict[str, Any]:
    """Where the leader keeps decoded pictures and crops them: all processes do likewise."""
    return {key: record["feed"][key] for key in ("cache", "augment_on")}


def facts(config: Mapping[str, Any], team: Team) -> dict[str, Any]:
    """What the record says of the processes; see `records.write_summary`."""
    trainer = config["trainer"]
    named = "fsdp" if trainer["strategy"] == "fsdp" else "ddp"
    each = config["data"]["batch_size"] * trainer.get("accumulate_grad_batches", 1)
    return {
        "processes": team.size,
        "num_nodes": team.layout.node_count,
        "strategy": None if team.size == 1 else named,
        "batch_size": each * team.size,
        "lr_scale": _scale(config, team),
    }


def only_watches(callback: Callback) -> bool:
    """Whether a callback does nothing that the other processes must do with it."""
    ours = type(callback).__module__.startswith("hymenoptera.")
    return ours and not isinstance(callback, Checkpoint)


def _scale(config: Mapping[str, Any], team: Team) -> int:
    return team.size if config["trainer"]["scale_lr"] else 1
