"""Side by side: the article's plain loop, fastai, timm and this project, on the same images.

    make bench          a minute or two, the loop's time extrapolated from a part of an epoch
    make bench-full     whole runs of all, in turn

Each contender is a process of its own. The time that counts is from its start to the moment a
checkpoint with a validation accuracy of 0.94 or more lies on the disk. fastai and timm come from
an environment of their own: make bench-env.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from lineup import (
    LINEUP,
    QUICK,
    THROUGHPUT,
    Contender,
    Place,
    environment,
    extrapolated,
    images_per_s,
    prepare_cache,
    result,
    sweep_command,
)
from record import Record, machine, print_table
from watching import Watched, watch

ROOT = Path(__file__).parent.parent
LOOP_EPOCHS = 20
THROUGHPUT_STEPS = 12
OFFICIAL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"


def parse_options() -> argparse.Namespace:
    """The options, with the names of the contenders checked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [c.name for c in LINEUP]
    parser.add_argument("--full", action="store_true", help="whole runs instead of a quick look")
    parser.add_argument(
        "--contenders",
        default=None,
        metavar="NAMES",
        help=f"separated by commas: {','.join(names)}; the quick mode has {','.join(QUICK)}",
    )
    parser.add_argument("--repeats", type=int, default=3, help="rounds of a full comparison (3)")
    parser.add_argument(
        "--slow-repeats", type=int, default=1, help="how many of them the slow ones join (1)"
    )
    parser.add_argument(
        "--data",
        default=os.environ.get("HYMENOPTERA_SOURCE", OFFICIAL),
        help="URL, zip or folder of the images (HYMENOPTERA_SOURCE)",
    )
    parser.add_argument(
        "--weights",
        default=os.environ.get("HYMENOPTERA_WEIGHTS", "imagenet"),
        help="a ResNet-18's state dict, or imagenet (HYMENOPTERA_WEIGHTS)",
    )
    parser.add_argument(
        "--only",
        choices=("runs", "throughput", "sweep"),
        help="one of the three measurements of a full comparison",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "compare.json")
    options = parser.parse_args()
    offered = names if options.full else list(QUICK)
    chosen = options.contenders.split(",") if options.contenders else offered
    for name in chosen:
        if name not in offered:
            parser.error(f"{name}: there is no such contender here. Offered: {', '.join(offered)}.")
    if options.only and not options.full:
        parser.error("--only goes with --full.")
    options.lineup = [c for c in LINEUP if c.name in chosen]
    return options


def find(data: str, weights: str, scratch: Path) -> Place:
    """The unpacked images and the file of weights; both are fetched where they are not there."""
    from hymenoptera.data import HymenopteraDataModule

    folder = Path(os.environ.get("HYMENOPTERA_FOLDER", ROOT / "data")).expanduser()
    datamodule = HymenopteraDataModule(source=data, folder=str(folder))
    datamodule.prepare_data()
    datamodule.setup()
    root = datamodule.root
    if weights == "imagenet":
        import torch
        from torchvision.models import ResNet18_Weights

        from hymenoptera.models import ImageClassifier

        ImageClassifier(["ants", "bees"], "resnet18", "imagenet")  # fetches them
        name = ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]
        weights = str(Path(torch.hub.get_dir()) / "checkpoints" / name)
    return Place(root.resolve(), Path(weights).expanduser().resolve(), scratch)


class Comparison:
    """Runs contenders and records what they did.

    Args:
        options: of the command line.
        place: where everything is.
        record: filled and written after every run.
    """

    def __init__(self, options: argparse.Namespace, place: Place, record: Record) -> None:
        self._options = options
        self._place = place
        self._record = record
        self._count = 0

    def run_whole(self, contender: Contender, seed: int) -> None:
        """One whole run, or in the quick mode what stands for it."""
        quick = not self._options.full
        out = self._out()
        command = contender.command(self._place, out, seed, quick=quick)
        prepare_cache(self._place, contender.cache, lambda: self._watch(command, self._out()))
        shutil.rmtree(out, ignore_errors=True)
        watched = self._watch(command, out, checkpoint=contender.program is None)
        if self._failed(contender.name, command, watched):
            return
        if quick and contender.program is not None:
            figures = extrapolated(watched, LOOP_EPOCHS)
        else:
            figures = result(contender, watched, out)
        self._record.add(contender.name, "runs", {"seed": seed, "command": command, **figures})
        shutil.rmtree(out)

    def run_throughput(self, contender: Contender) -> None:
        """Some steps of full fine-tuning at batch 32."""
        out = self._out()
        command = contender.throughput_command(self._place, out, THROUGHPUT_STEPS)
        watched = self._watch(command, out)
        if self._failed(contender.name, command, watched):
            return
        rate = images_per_s(contender, watched, out)
        figures = {"command": command, "images_per_s": rate}
        self._record.add(contender.name, "throughput", figures)
        shutil.rmtree(out)

    def run_sweep(self) -> None:
        """Thirty rates of the head, with the features at hand."""
        out = self._out()
        head = next(c for c in LINEUP if c.cache == "full")
        run = head.command(self._place, self._out(), 0, quick=False)
        prepare_cache(self._place, "full", lambda: self._watch(run, self._out()))
        command = sweep_command(self._place, out)
        watched = self._watch(command, out)
        if self._failed("sweep of the head", command, watched):
            return
        figures = {"command": command, "total_s": watched.total_s}
        self._record.add("sweep of the head", "sweep", figures)
        shutil.rmtree(out)

    def _watch(self, command: list[str], out: Path, *, checkpoint: bool = False) -> Watched:
        best = out / "run" / "checkpoints" / "best.ckpt"
        return watch(command, out, environment(self._place), best if checkpoint else None)

    def _failed(self, name: str, command: list[str], watched: Watched) -> bool:
        if watched.exit_status:
            self._record.fail(name, command, watched.exit_status, watched.complaint)
        return bool(watched.exit_status)

    def _out(self) -> Path:
        self._count += 1
        return self._place.scratch / f"run_{self._count}"


def main() -> None:
    """Run all rounds, print the table."""
    options = parse_options()
    lineup = [c for c in options.lineup if not c.is_missing]
    missing = [c.name for c in options.lineup if c.is_missing]
    if missing:
        print(f"left out: {' and '.join(missing)}, which make bench-env installs")
    with tempfile.TemporaryDirectory(prefix="hymenoptera_bench_") as scratch:
        place = find(options.data, options.weights, Path(scratch))
        record = Record(options.out, machine(full=options.full))
        comparison = Comparison(options, place, record)
        parts = [options.only] if options.only else ["runs", "throughput", "sweep"]
        rounds = options.repeats if options.full else 1
        if "runs" in parts:
            for seed in range(rounds):
                for contender in lineup:
                    if not contender.slow or seed < options.slow_repeats:
                        comparison.run_whole(contender, seed)
        if options.full and "throughput" in parts:
            for _ in range(rounds):
                for contender in lineup:
                    if contender.name in THROUGHPUT:
                        comparison.run_throughput(contender)
        if options.full and "sweep" in parts and any(c.cache == "full" for c in lineup):
            comparison.run_sweep()
    print_table(record.content)
    print(f"every figure is in {options.out}")
    sys.exit(1 if record.content["failures"] else 0)


if __name__ == "__main__":
    main()
