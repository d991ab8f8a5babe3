"""Who takes part: each contender as a command, and how its result is read."""

import csv
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watching import Watched

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(__file__).parent / "contenders"
OTHER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"  # make bench-env
GOAL = 0.94
SWEPT_RATES = 30
FULL_EPOCH = {"train": 244, "val": 153}
QUICK_LIMITS = {"train": 96, "val": 48}


@dataclass(frozen=True)
class Place:
    """Where everything is.

    Attributes:
        data: folder with `train/` and `val/`.
        weights: a ResNet-18's state dict.
        scratch: for what contenders leave behind.
    """

    data: Path
    weights: Path
    scratch: Path

    @property
    def cache(self) -> Path:
        """Of the project's features."""
        return self.scratch / "features"


@dataclass(frozen=True)
class Contender:
    """One way to get at a classifier.

    Attributes:
        name: on the command line and in the table.
        program: a file of `contenders/`, or None for the project itself.
        arguments: of the program, or overrides of the project.
        cache: of the project's features before it starts: "empty", "full", or None where it
            makes no difference.
        slow: runs once, where others are repeated.
        python: that runs it.
    """

    name: str
    program: str | None
    arguments: tuple[str, ...] = ()
    cache: str | None = None
    slow: bool = False
    python: Path = Path(sys.executable)

    @property
    def is_missing(self) -> bool:
        """Whether the environment that it needs is not there."""
        return not self.python.is_file()

    def command(self, place: Place, out: Path, seed: int, *, quick: bool) -> list[str]:
        """The command line of one run."""
        if self.program is None:
            return [
                *(str(self.python), str(ROOT / "train.py"), *self.arguments, f"seed={seed}"),
                *(f"data.source={place.data}", f"model.weights={place.weights}"),
                f"hydra.run.dir={out / 'run'}",
            ]
        limits = [f"--limit-{part}={n}" for part, n in QUICK_LIMITS.items()] if quick else []
        return [
            *(str(self.python), str(PROGRAMS / self.program), *self.arguments, f"--seed={seed}"),
            *(f"--data={place.data}", f"--weights={place.weights}", f"--out={out}"),
            *(["--epochs=1", *limits] if quick else []),
        ]

    def throughput_command(self, place: Place, out: Path, steps: int) -> list[str]:
        """The command line that trains everything at batch 32 and tells how fast."""
        if self.program is None:
            epochs = -(-steps // 6)  # six intervals between the full steps of an epoch
            return [
                *self.command(place, out, 0, quick=False),
                *("data.batch_size=32", f"trainer.max_epochs={epochs}"),
                "+trainer.limit_val_batches=1",
            ]
        command = self.command(place, out, 0, quick=False)
        return [*command, "--batch-size=32", f"--throughput={steps}"]


LINEUP = (
    Contender("plain loop", "plain_loop.py", slow=True),
    Contender("fastai", "fastai_fine_tune.py", python=OTHER_PYTHON),
    Contender("timm", "timm_loop.py", python=OTHER_PYTHON),
    Contender("article", None, ("experiment=article",), slow=True),
    Contender("recipe", None, ("experiment=recipe",)),
    Contender("head cold", None, ("experiment=head",), cache="empty"),
    Contender("head warm", None, ("experiment=head",), cache="full"),
)
LOOP, RIVAL = "plain loop", "fastai"  # what the ratios are to
THROUGHPUT = ("plain loop", "fastai", "timm", "article")
QUICK = ("plain loop", "head cold", "head warm")


def sweep_command(place: Place, out: Path) -> list[str]:
    """Thirty learning rates of the head, a factor of 1000 from the first to the last."""
    rates = [10 ** (-4 + 3 * i / (SWEPT_RATES - 1)) for i in range(SWEPT_RATES)]
    return [
        *(sys.executable, str(ROOT / "train.py"), "-m", "experiment=head"),
        "optimizer.lr=" + ",".join(f"{rate:.3g}" for rate in rates),
        *(f"data.source={place.data}", f"model.weights={place.weights}"),
        f"hydra.sweep.dir={out / 'sweep'}",
    ]


def prepare_cache(place: Place, state: str | None, run: Any) -> None:
    """Empty the cache of features, or have it filled by a run that does not count."""
    if state == "empty":
        shutil.rmtree(place.cache, ignore_errors=True)
    if state == "full" and not any(place.cache.glob("*.safetensors")):
        run()


def result(contender: Contender, watched: Watched, out: Path) -> dict[str, Any]:
    """What a whole run reached, and when: epochs with accuracy, and the time each was stored."""
    if contender.program is None:
        stored = _stored_by_project(watched, out / "run")
        epochs = _accuracies(out / "run" / "metrics.csv")
    else:
        lines = [(at, json.loads(text)) for at, text in watched.lines if text.startswith("{")]
        stored = [(at, line["accuracy"]) for at, line in lines if line["stored"]]
        epochs = {line["epoch"]: line["accuracy"] for _, line in lines}
    good = [at for at, accuracy in stored if accuracy >= GOAL]
    return {
        "seconds_to_goal": good[0] if good else None,
        "best_accuracy": max(epochs.values()),
        "accuracies": list(epochs.values()),
        "stored": [{"seconds": at, "accuracy": accuracy} for at, accuracy in stored],
        "total_s": watched.total_s,
        "peak_memory_mib": watched.peak_memory_mib,
    }


def extrapolated(watched: Watched, epochs: int) -> dict[str, Any]:
    """A whole run's time, from one epoch of a part of the images."""
    line = next(json.loads(text) for _, text in watched.lines if text.startswith("{"))
    start_s = line["seconds"] - line["train_s"] - line["val_s"]
    epoch_s = sum(
        line[f"{part}_s"] * FULL_EPOCH[part] / QUICK_LIMITS[part] for part in ("train", "val")
    )
    return {
        "seconds_to_goal": None,
        "total_s": start_s + epochs * epoch_s,
        "extrapolated_from": QUICK_LIMITS,
        "peak_memory_mib": watched.peak_memory_mib,
    }


def images_per_s(contender: Contender, watched: Watched, out: Path) -> float:
    """Images a second in full fine-tuning, from a run of `throughput_command`."""
    if contender.program is not None:
        rate: float = json.loads(watched.lines[-1][1])["train_images_per_s"]
        return rate
    taken = _step_seconds(out / "run")
    return 32 * len(taken) / sum(taken)


def _stored_by_project(watched: Watched, run: Path) -> list[tuple[float, float]]:
    """When each best.ckpt was there, and the accuracy of the epoch that it says it is of."""
    import torch

    accuracies = _accuracies(run / "metrics.csv")
    stored = []
    for at, link in watched.checkpoints:
        checkpoint = torch.load(link, map_location="cpu", weights_only=True, mmap=True)
        stored.append((at, accuracies[checkpoint["epoch"] + 1]))
        link.unlink()
    return stored


def _accuracies(metrics: Path) -> dict[int, float]:
    with metrics.open(newline="") as file:
        return {int(row["epoch"]): float(row["val/accuracy"]) for row in csv.DictReader(file)}


def _step_seconds(run: Path) -> list[float]:
    """Time between the ends of two full steps of the same epoch, from TensorBoard's events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    ends = {e.step: e.wall_time for e in events.Scalars("train/loss_step")}
    steps = -(-FULL_EPOCH["train"] // 32)  # an epoch; its last is not a full batch
    return [
        ends[s] - ends[s - 1]
        for s in sorted(ends)
        if s - 1 in ends and s % steps not in (0, steps - 1)
    ]


def environment(place: Place) -> dict[str, str]:
    """What the contenders find in their environment beside the one at hand."""
    return {"HYMENOPTERA_CACHE": str(place.cache), "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}
