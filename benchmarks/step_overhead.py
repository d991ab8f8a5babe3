"""What a training step costs beyond PyTorch: the project's beside a bare loop's, in one process.

    python benchmarks/step_overhead.py [--full]

Both train a whole ResNet-18 on the same batches, which are in memory from the start. Short blocks
of steps are taken in turn: a callback that comes last in the project's own Trainer runs a block of
the bare loop after each block of its own. Then the same with images of 32 pixels, where the
network takes so little time that the rest can be told apart.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import mock

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from hymenoptera.callbacks import EpochTable, FiniteLoss, History, quiet_libraries
from hymenoptera.models import ImageClassifier
from hymenoptera.models.transfer import find_parts

ROOT = Path(__file__).parent.parent
Batches = list[tuple[Tensor, Tensor]]
PARTS = (  # what the Trainer calls in every step beside the network and the optimizer
    ("metrics", MeanMetric, "update"),
    ("metrics", MulticlassAccuracy, "update"),
    ("self.log", pl.LightningModule, "log"),
    ("TensorBoard", TensorBoardLogger, "log_metrics"),
    ("the step's seed", torch, "manual_seed"),
    ("callbacks", FiniteLoss, "on_train_batch_end"),
    ("callbacks", EpochTable, "on_train_batch_end"),
)


class Alternation(pl.Callback):
    """Times blocks of the Trainer's steps, and after each a block of others.

    Attributes:
        trained_s: seconds a step of the Trainer's, a value a block; likewise `bare_s`.

    Args:
        block: steps a block.
        bare_step: one step of the bare loop.
    """

    def __init__(self, block: int, bare_step: Callable[[Tensor, Tensor], None]) -> None:
        self.trained_s: list[float] = []
        self.bare_s: list[float] = []
        self._block = block
        self._bare_step = bare_step
        self._steps = 0
        self._began = 0.0
        self._batches: Batches = []

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        """Close a block where it is whole."""
        self._steps += 1
        self._batches.append(batch)
        if self._steps % self._block:
            return
        trained = _now()
        for images, labels in self._batches:
            self._bare_step(images, labels)
        self._batches.clear()
        ended = _now()
        if self._steps > self._block:  # the first block warms both up
            self.trained_s.append((trained - self._began) / self._block)
            self.bare_s.append((ended - trained) / self._block)
        self._began = ended


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def make_classifier(*, tiny: bool) -> ImageClassifier:
    """A whole ResNet-18, or next to nothing; the weights make no difference to the speed."""
    torch.manual_seed(0)
    classifier = ImageClassifier(["ants", "bees"], "resnet18", "none")
    if tiny:
        convolution = nn.Conv2d(3, 8, kernel_size=7, stride=7)
        features = nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        classifier.backbone, classifier.head = features, nn.Linear(8, 2)
        classifier._parts = find_parts(classifier, unfreeze_epochs=1, lr_decay=1.0, size_px=32)
    return classifier


def make_bare_step(tiny: bool, device: torch.device) -> Callable[[Tensor, Tensor], None]:
    """The step of a loop that does nothing but train."""
    classifier = make_classifier(tiny=tiny)
    network = nn.Sequential(classifier.backbone, classifier.head).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    loss_of = nn.CrossEntropyLoss()

    def step(images: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad()
        loss_of(network(images), labels).backward()
        optimizer.step()

    return step


def compare(batch_size: int, block: int, blocks: int, *, tiny: bool = False) -> Alternation:
    """Train with a Trainer as the project sets it up, without checkpoints."""
    size_px = 32 if tiny else 224
    steps = block * (blocks + 1)
    batches = [
        (torch.randn(batch_size, 3, size_px, size_px), torch.arange(batch_size) % 2)
        for _ in range(min(steps, 16))
    ]
    loader = DataLoader([batches[i % len(batches)] for i in range(steps)], batch_size=None)
    module = make_classifier(tiny=tiny)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    alternation = Alternation(block, make_bare_step(tiny, device))
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            default_root_dir=folder,
            callbacks=[History(folder), EpochTable(), FiniteLoss(), alternation],
            logger=TensorBoardLogger(folder, name="", version=""),
            max_epochs=1,
            precision="32-true",
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(module, loader, DataLoader(batches[:1], batch_size=None))
    return alternation


@contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """Add up the seconds spent in each of PARTS, while the context lasts."""
    spent: dict[str, float] = dict.fromkeys((label for label, _, _ in PARTS), 0.0)
    with ExitStack() as stack:
        for label, owner, name in PARTS:
            original = getattr(owner, name)

            @wraps(original)
            def timed(
                *arguments: Any, original: Any = original, label: str = label, **more: Any
            ) -> Any:
                began = time.perf_counter()
                try:
                    return original(*arguments, **more)
                finally:
                    spent[label] += time.perf_counter() - began

            stack.enter_context(mock.patch.object(owner, name, timed))
        yield spent


def ratio_at(batch_size: int, block: int, blocks: int) -> dict[str, Any]:
    """Print and return how the project's step at 224 px stands to the bare loop's."""
    found = compare(batch_size, block, blocks)
    pairs = list(zip(found.bare_s, found.trained_s, strict=True))
    ratio = statistics.median(bare / trained for bare, trained in pairs)
    project_s, bare_s = statistics.median(found.trained_s), statistics.median(found.bare_s)
    print(
        f"{batch_size:<16} {1000 * project_s:7.1f} ms {1000 * bare_s:7.1f} ms {ratio:6.3f}",
        flush=True,
    )
    return {
        "batch_size": batch_size,
        "ratio": ratio,
        "project_s": found.trained_s,
        "bare_s": found.bare_s,
    }


def breakdown(block: int, blocks: int) -> dict[str, float]:
    """Print and return what a step costs beyond the bare one, part by part, in milliseconds."""
    with timed_parts() as spent:
        found = compare(4, block, blocks, tiny=True)
    rest_ms = 1000 * statistics.median(
        trained - bare for bare, trained in zip(found.bare_s, found.trained_s, strict=True)
    )
    steps = block * (blocks + 1)
    parts = {label: 1000 * seconds / steps for label, seconds in spent.items()}
    parts["the Trainer's loop"] = rest_ms - sum(parts.values())
    said = ", ".join(f"{label} {ms:.2f}" for label, ms in parts.items())
    print(f"beyond the bare step {rest_ms:.2f} ms: {said}")
    return parts


def main() -> None:
    """Compare, print, write every figure as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="more blocks, and batches of 32 too")
    options = parser.parse_args()
    quiet_libraries()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    cases = [(4, 5, 16), (32, 2, 10)] if options.full else [(4, 2, 5)]
    print(f"{'images a step':<16} {'project':>10} {'bare loop':>10} {'ratio':>6}")
    ratios = [ratio_at(*case) for case in cases]
    parts_ms = breakdown(20, 20 if options.full else 6)
    record = ROOT / "benchmarks" / "step_overhead.json"
    record.write_text(json.dumps({"ratios": ratios, "parts_ms": parts_ms}, indent=2) + "\n")
    print(f"medians of blocks taken in turn; every figure is in {record.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
