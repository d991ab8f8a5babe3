"""What a run consists of, and how it gets ready to begin."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from hymenoptera.caching import Cut, cache_features
from hymenoptera.callbacks.history import History
from hymenoptera.config import build
from hymenoptera.data.base import PictureDataModule
from hymenoptera.device import Device, resolve_device
from hymenoptera.errors import RequestError
from hymenoptera.feeding import feed_decoded
from hymenoptera.models import checkpoint as checkpoints
from hymenoptera.models.classifier import Classifier
from hymenoptera.models.module import ClassifierModule
from hymenoptera.models.transfer import Transfer
from hymenoptera.ranks import sharing
from hymenoptera.ranks.team import Team
from hymenoptera.results import records
from hymenoptera.resuming import go_on


@dataclass
class Run:
    """What a run consists of once it is ready to begin.

    Attributes:
        config: composed, checked and resolved.
        folder: where everything that the run makes goes.
        device: as resolved.
        data: set up, and told how the classifier wants its pictures.
        classifier: what is trained.
        transfer: which of it is, and when.
        cut: where the classifier is cut, if the data give features in place of pictures.
        history: a row an epoch, filled while it trains.
        record: summary.json as far as it is known.
        resume: the checkpoint to go on from, if any.
        resumed_step: after how many steps that was, if it was.
        team: the processes of the run, of which this is one.
        watchers: the callbacks of the config, once they are built.
    """

    config: dict[str, Any]
    folder: Path
    device: Device
    data: PictureDataModule
    classifier: Classifier
    transfer: Transfer
    cut: Cut | None
    history: History
    record: dict[str, Any]
    resume: Path | None
    resumed_step: int
    team: Team
    watchers: list[Callback] = field(default_factory=list)

    def compute(self) -> Callable[[Tensor], Tensor]:
        """From a batch's first tensor to logits (B, C); compiled, where the config says so."""
        network = self.classifier if self.cut is None else self.cut.upper_part
        if not self.config["compile"]:
            return network.forward
        mode = "reduce-overhead" if self.config["compile"] == "cuda_graphs" else None
        return torch.compile(network.forward, mode=mode)

    def module(self, transfer: Transfer, *, scheduled: bool = True) -> ClassifierModule:
        """What the Trainer fits.

        Args:
            transfer: what is trained, the run's own or one that follows from it.
            scheduled: whether the learning rate follows the config's schedule.
        """
        config, scheduler = self.config, self.config["scheduler"]
        has_schedule = scheduled and scheduler["_target_"]
        return ClassifierModule(
            self.classifier,
            transfer,
            make_optimizer=partial(build, sharing.scale_rate(config, self.team)),
            make_scheduler=partial(build, scheduler) if has_schedule else None,
            seed=config["seed"],
            facts=checkpoints.describe(self.classifier, config, self.record),
            **config["loss"],
            compute=self.compute(),
        )

    def go_back(self) -> None:
        """Take up the run's last checkpoint, or what it began with where it has none."""
        last = self.folder / "checkpoints" / "last.ckpt"
        self.history.rows.clear()
        if last.is_file():
            self.resume = last
        if self.resume is not None:
            self.resumed_step = go_on(
                self.resume, self.classifier, self.data, self.record["data"], self.config
            )

    def loggers(self) -> dict[str, Any]:
        """Their nodes; in a resumed run, with the step after which older events are void."""
        nodes: dict[str, Any] = self.config["logger"]
        if self.resume is None:
            return nodes
        return {
            name: {**node, "purge_step": self.resumed_step} if "purge_step" in node else node
            for name, node in nodes.items()
        }


def prepare(
    config: dict[str, Any],
    folder: Path,
    overrides: list[str],
    resume: Path | None = None,
    team: Team | None = None,
) -> Run:
    """Introduce data and model to each other: class names one way, preprocessing the other.

    Of several processes, the leader goes first: what it fetches, checks or computes, the others
    find there.

    Raises:
        RequestError: device, pictures or weights cannot be had, or the checkpoint to resume from
            is another model's.
    """
    trainer = config["trainer"]
    team = team or Team()
    told = {} if team.is_leader else team.hear()
    device = resolve_device(
        trainer["accelerator"],
        trainer["devices"],
        trainer["precision"],
        processes=team.layout.local_size,
    )
    _refuse_device(config, device)
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    data: PictureDataModule = build(sharing.divide_cores(config["data"], team))
    if told:
        data.known_faults = {Path(path): reason for path, reason in told["faults"].items()}
    data.setup()
    sharing.refuse_to_divide(data, team)
    # a resumed run takes all its weights from the checkpoint
    backbone = build(config["model"] | ({} if resume is None else {"weights": "none"}))
    classifier = Classifier(backbone, data.index.classes)
    transfer: Transfer = build(config["transfer"])
    groups = transfer.parameter_groups(classifier)
    data.use(classifier.preprocessing, transfer.views)
    data_facts = told["record"]["data"] if told else data.facts()
    manifest_hash = data_facts["manifest_hash"]
    if told and told["samples"] != sharing.samples_hash(data):
        raise RequestError(f"{data.index.root} holds other pictures than where process 0 is.")
    data.rank, data.world_size = team.layout.rank, team.size
    step = 0
    if resume is not None:
        step = go_on(resume, classifier, data, data_facts, config)
    cut = cache_features(classifier, transfer, data, device, manifest_hash)
    feed = None
    if cut is None:
        if told:
            data.feed_options = replace(data.feed_options, **sharing.feed_decided(told["record"]))
        feed = feed_decoded(
            data,
            classifier.preprocessing,
            device,
            manifest_hash,
            processes=team.layout.local_size,
            local_rank=team.layout.local_rank,
        )
    channels_last = config["channels_last"]
    if channels_last == "auto":
        channels_last = device.accelerator == "cuda"
    if channels_last:
        classifier.to(memory_format=torch.channels_last)
    record = told.get("record") or {
        "status": "failed",  # until it is known better
        **records.provenance(overrides),
        "seed": config["seed"],
        "device": {
            **device.to_dict(),
            "num_workers": data.num_workers,
            "channels_last": channels_last,
            "compile": config["compile"],
            **sharing.facts(config, team),
        },
        "data": data_facts,
        "model": {
            **_facts_of(classifier),
            "trained": _trained(groups, sharing.scale_rate(config, team)["lr"]),
        },
        "features": None if cut is None else {"computed": cut.computed, "kept": cut.kept},
        "feed": feed,
    }
    if team.is_leader and team.size > 1:
        faults = {str(path): reason for path, reason in data.skipped.items()}
        team.tell({"record": record, "faults": faults, "samples": sharing.samples_hash(data)})
    history = History(folder if team.is_leader else None)
    return Run(
        config, folder, device, data, classifier, transfer, cut, history, record, resume, step, team
    )


def _refuse_device(config: dict[str, Any], device: Device) -> None:
    """Refuse what the device at hand cannot do."""
    sharing.refuse_strategy(config["trainer"], device)
    if config["compile"] == "cuda_graphs" and device.accelerator != "cuda":
        raise RequestError(
            f"compile=cuda_graphs replays what a CUDA GPU was told, and this run uses "
            f"{device.name}: take compile=true or compile=false."
        )


def _facts_of(classifier: Classifier) -> dict[str, Any]:
    """What the record says of the network."""
    return {
        "name": classifier.backbone_name,
        "weights": classifier.weights_id,
        "head_is_new": classifier.head_is_new,
        "input_px": classifier.preprocessing.crop_px,
        "parameter_count": sum(p.numel() for p in classifier.parameters()),
    }


def _trained(groups: list[dict[str, Any]], lr: float) -> list[dict[str, Any]]:
    """What the record says of the parameter groups, those of one part together."""
    return [
        {
            "name": name,
            "parameter_count": sum(
                p.numel() for group in groups if group["part"] == name for p in group["params"]
            ),
            "first_epoch": first_epoch,
            "lr": lr * lr_scale,
        }
        for name, first_epoch, lr_scale in dict.fromkeys(
            (group["part"], group["first_epoch"], group["lr_scale"]) for group in groups
        )
    ]
