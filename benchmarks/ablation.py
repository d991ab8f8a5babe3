"""What each part of a recipe is worth, on folds of the training images alone.

    python benchmarks/ablation.py            an hour on two cores; continues where it was stopped
    python benchmarks/ablation.py --only "head;recipe;label smoothing"

A row is a sweep of this project over folds and seeds, so its runs, table and page stay in --out.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FOLDS = 5
HEAD = ("experiment=head",)
RECIPE = ("experiment=recipe",)
LAST_STAGE = (
    *("experiment=recipe", "transfer=last_stage", "transfer.views=8"),
    *("optimizer.lr=1e-3", "trainer.max_epochs=5"),
)
ALL = (
    *("experiment=article", "transfer=discriminative", "data.batch_size=32"),
    *("optimizer=adamw", "optimizer.lr=1e-3", "trainer.max_epochs=3"),
)
QUICK = ("report=false", "callbacks.augmented_images.enabled=false")
QUIET = ("callbacks.figures.enabled=false", "callbacks.grad_cam.enabled=false")
EMA = (
    "+callbacks.ema._target_=pytorch_lightning.callbacks.EMAWeightAveraging",
    "+callbacks.ema.decay=0.9",
)


@dataclass(frozen=True)
class Row:
    """One way to train.

    Attributes:
        name: in the table.
        overrides: that make it.
        base: the row it differs from in what its name says.
        folds: that are trained and evaluated, of five.
        seeds: each of which is a run on each fold.
    """

    name: str
    overrides: tuple[str, ...]
    base: str | None = None
    folds: tuple[int, ...] = (0, 1, 2, 3, 4)
    seeds: tuple[int, ...] = (0, 1)

    @property
    def slug(self) -> str:
        """The sweep's name."""
        return self.name.replace(" ", "_").replace(",", "").replace("%", "")


FEW: dict[str, Any] = {"folds": (0, 1), "seeds": (0,)}  # they train for minutes
ROWS = (
    Row("head", HEAD),
    Row("recipe", RECIPE, "head"),
    Row("no schedule", (*RECIPE, "scheduler=none"), "recipe"),
    Row("learning rate 3e-3", (*RECIPE, "optimizer.lr=3e-3"), "recipe"),
    Row("learning rate 3e-2", (*RECIPE, "optimizer.lr=3e-2"), "recipe"),
    Row("twice the epochs", (*RECIPE, "trainer.max_epochs=48"), "recipe"),
    Row("label smoothing", (*RECIPE, "loss.label_smoothing=0.1"), "recipe"),
    Row("weight decay 0.3", (*RECIPE, "optimizer.weight_decay=0.3"), "recipe"),
    Row("EMA of weights", (*RECIPE, *EMA), "recipe"),
    Row("larger crops", (*RECIPE, "data.crop_scale=[0.35,1.0]"), "recipe", seeds=(0,)),
    Row("last stage too", LAST_STAGE, "recipe", **FEW),
    Row(
        "last stage after two epochs",
        (*LAST_STAGE, "transfer.unfreeze_epochs=[3]"),
        "last stage too",
        **FEW,
    ),
    Row("all, layer-wise learning rates", ALL, "recipe", **FEW),
    Row("all, one-cycle", (*ALL, "scheduler=one_cycle"), "all, layer-wise learning rates", **FEW),
    Row("all, mixup", (*ALL, "loss.mixup=0.2"), "all, layer-wise learning rates", **FEW),
    Row("all, cutmix", (*ALL, "loss.cutmix=1.0"), "all, layer-wise learning rates", **FEW),
)


@dataclass(frozen=True)
class Result:
    """A run's figures.

    Attributes:
        accuracy: at the end of training; no epoch is picked.
        total_s: wall time of the run.
        folder: of the run.
    """

    accuracy: float
    total_s: float
    folder: Path


Results = dict[tuple[int, int], Result]
"""By fold and seed."""


def main() -> None:
    """Train what is not trained yet, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "ablation")
    parser.add_argument("--only", help="names of rows, separated by semicolons")
    options = parser.parse_args()
    names = options.only.split(";") if options.only else [row.name for row in ROWS]
    for name in names:
        if name not in {row.name for row in ROWS}:
            parser.error(f"{name}: there is no such row. {'; '.join(row.name for row in ROWS)}")
    found: dict[str, Results] = {}
    for row in ROWS:
        if row.name in names:
            found[row.name] = measure(row, options.out.resolve())
            print(_line(row, found), flush=True)
    print("\n| | runs | accuracy at the end | difference from its base, run by run | a run takes |")
    print("|---" * 5 + "|")
    for row in ROWS:
        if row.name in found:
            print(_line(row, found))


def measure(row: Row, out: Path) -> Results:
    """Train a row's runs, or find them trained."""
    folder = out / row.slug
    folds, seeds = (",".join(map(str, values)) for values in (row.folds, row.seeds))
    _train(
        "-m", *_overrides(row), f"data.fold={folds}", f"seed={seeds}", f"hydra.sweep.dir={folder}"
    )
    results = {}
    for job in json.loads((folder / "sweep.json").read_text())["jobs"]:
        run = folder / str(job["number"])
        key = int(job["overrides"]["data.fold"]), int(job["overrides"]["seed"])
        results[key] = _result(run)
    return results


def _overrides(row: Row) -> Iterator[str]:
    yield from (*row.overrides, f"data.folds={FOLDS}", *QUICK, *QUIET)


def _train(*arguments: str) -> None:
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _result(run: Path) -> Result:
    with (run / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    total_s = json.loads((run / "summary.json").read_text())["durations"]["total_s"]
    return Result(float(last["val/accuracy"]), total_s, run)


def _line(row: Row, found: dict[str, Results]) -> str:
    own = found[row.name]
    mean = statistics.mean(result.accuracy for result in own.values())
    seconds = statistics.median(result.total_s for result in own.values())
    beside = ""
    if row.base in found:
        pairs = [(own[key].accuracy, found[row.base][key].accuracy) for key in own]
        differences = [100 * (a - b) for a, b in pairs]
        error = statistics.stdev(differences) / len(differences) ** 0.5
        beside = f"{statistics.mean(differences):+.1f} ± {error:.1f} ({row.base})"
    return f"| {row.name} | {len(own)} | {100 * mean:.1f} % | {beside} | {seconds:.0f} s |"


if __name__ == "__main__":
    main()
