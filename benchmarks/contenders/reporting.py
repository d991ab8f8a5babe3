"""What every contender takes and reports: the same options, a JSON line an epoch, a checkpoint.

The contenders are programs of their own, run by the Python that has their library. They share
this file and nothing else, so that each starts as fast as its library lets it. Those whose library
has no loop of its own, run the one that is here.
"""

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def seconds_since_start() -> float:
    """Wall time since the kernel started this process (Linux, to a hundredth of a second)."""
    # the fields after the program's name, which may itself hold spaces and brackets
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    began = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def parse_options(
    description: str | None, *, epochs: int, batch_size: int, workers: int
) -> argparse.Namespace:
    """The options of a contender; what is given here are its own defaults."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/")
    parser.add_argument("--weights", required=True, help="a ResNet-18's state dict, or none")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=workers)
    parser.add_argument(
        "--limit-train", type=int, metavar="N", help="images to train on, for a quick look"
    )
    parser.add_argument("--limit-val", type=int, metavar="N", help="images to validate")
    parser.add_argument(
        "--throughput",
        type=int,
        metavar="STEPS",
        help="train everything for this many full batches, print images a second, stop",
    )
    return parser.parse_args()


class Reporter:
    """Prints a JSON line an epoch, after the checkpoint is on the disk where it improved.

    Args:
        folder: where `best.pth` goes.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "best.pth"
        self._best = -1.0
        folder.mkdir(parents=True, exist_ok=True)

    def epoch(self, number: int, accuracy: float, state: Any, **figures: float) -> None:
        """Store a state dict where its accuracy is the highest yet, then print the epoch.

        Args:
            number: of the epoch, from 1.
            accuracy: on the validation images, from 0 to 1.
            state: for `torch.save`.
            figures: further numbers for the line.
        """
        improved = accuracy > self._best
        if improved:
            import torch

            torch.save(state, self._path)
            self._best = accuracy
        line = {"epoch": number, "accuracy": accuracy, "stored": improved, **figures}
        print(json.dumps({**line, "seconds": seconds_since_start()}), flush=True)


class StepClock:
    """Images a second, from the time between the ends of two full steps of the same epoch.

    The first step of an epoch, for which reading processes are started, is not counted.

    Args:
        steps: to be timed.
        batch_size: images a step.
    """

    def __init__(self, steps: int, batch_size: int) -> None:
        self._steps = steps
        self._batch_size = batch_size
        self._last: tuple[int, float] | None = None
        self._taken: list[float] = []

    def tick(self, epoch: int) -> bool:
        """Say that a full step has ended; True when there have been enough."""
        now = time.perf_counter()
        if self._last is not None and self._last[0] == epoch:
            self._taken.append(now - self._last[1])
        self._last = (epoch, now)
        return len(self._taken) == self._steps

    def report(self) -> None:
        """Print the result as a JSON line."""
        rate = self._batch_size * len(self._taken) / sum(self._taken)
        print(json.dumps({"train_images_per_s": rate, "step_s": self._taken}), flush=True)


def run_loop(
    options: argparse.Namespace,
    network: Any,
    train: Any,
    validate: Any,
    step: Callable[[Any, Any], float],
) -> None:
    """Train and validate epoch by epoch in plain PyTorch, or time some steps.

    Args:
        options: from `parse_options`.
        network: an `nn.Module`, where it computes.
        train: a loader of images (B, 3, H, W) and labels (B,).
        validate: the same of the validation images.
        step: trains on a batch, and gives its mean loss.
    """
    import torch

    if options.throughput:
        network.train()
        clock = StepClock(options.throughput, options.batch_size)
        for epoch in itertools.count():
            for images, labels in train:
                step(images, labels)
                if len(labels) == options.batch_size and clock.tick(epoch):
                    clock.report()
                    return
    reporter = Reporter(options.out)
    device = next(network.parameters()).device
    for epoch in range(1, options.epochs + 1):
        began = time.perf_counter()
        network.train()
        loss_sum, seen = 0.0, 0
        for images, labels in train:
            loss_sum += step(images, labels) * len(labels)
            seen += len(labels)
        trained = time.perf_counter()
        network.eval()
        correct, evaluated = 0, 0
        with torch.inference_mode():
            for images, labels in validate:
                correct += int((network(images.to(device)).argmax(1).cpu() == labels.cpu()).sum())
                evaluated += len(labels)
        reporter.epoch(
            epoch,
            correct / evaluated,
            network.state_dict(),
            train_loss=loss_sum / seen,
            train_s=trained - began,
            val_s=time.perf_counter() - trained,
        )
