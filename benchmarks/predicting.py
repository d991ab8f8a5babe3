"""How fast `hymenoptera predict` is, and that its memory does not grow with the images.

    python benchmarks/predicting.py RUN ~/hymenoptera_data --count 10000

Links the images of a folder under so many names, classifies them in one process, and prints
images a second and the process's memory as it goes. With --loop it compares instead: a loop with
torchvision's transforms and a DataLoader, and a Predictor in float32 and in bfloat16, in turn.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from hymenoptera.models import Predictor
from hymenoptera.models.checkpoint import load_classifier
from hymenoptera.reports.runs import find_checkpoint

ROOT = Path(__file__).parent.parent
SUFFIXES = {".jpg", ".jpeg", ".png"}
COMMAND = "from hymenoptera.cli import main; main()"
MARKS = 10  # at which the memory is looked at
BATCH, ROUNDS, LOOP_IMAGES = 32, 5, 320


def copies(source: Path, folder: Path, count: int) -> None:
    """Put so many images into a folder, each a link to one below the source."""
    images = sorted(p.resolve() for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
    for number, image in enumerate(islice(cycle(images), count)):
        (folder / f"{number:06d}{image.suffix}").symlink_to(image)


def memory_mib(process: int, field: str) -> float:
    """Of a process: VmRSS is what it has now, VmHWM the most that it ever had."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{field} is not in /proc")


def beside_a_loop(run: Path, folder: Path) -> None:
    """Print the images a second of each way, the median of some rounds that take turns.

    The images are in one folder below the one that is given.
    """
    checkpoint = find_checkpoint(run)
    classifier = load_classifier(checkpoint)
    preset = classifier.preprocessing
    steps = [transforms.Resize(preset.resize_px), transforms.CenterCrop(preset.crop_px)]
    steps += [transforms.ToTensor(), transforms.Normalize(preset.mean, preset.std)]
    files = ImageFolder(folder, transforms.Compose(steps))
    paths = [path for path, _ in files.samples]

    @torch.inference_mode()
    def loop() -> list[int]:
        found: list[int] = []
        for images, _ in DataLoader(files, BATCH, num_workers=len(os.sched_getaffinity(0))):
            found += classifier(images).softmax(1).argmax(1).tolist()
        return found

    def predict(predictor: Predictor) -> Callable[[], list[int]]:
        return lambda: [
            predictor.classes.index(one.label or "") for one in predictor.predict(paths)
        ]

    ways = {
        "loop": loop,
        "predict, float32": predict(Predictor(checkpoint, "cpu", precision="32-true")),
        "predict, bf16": predict(Predictor(checkpoint, "cpu", precision="bf16-mixed")),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    found = {way: one() for way, one in ways.items()}
    for _ in range(ROUNDS):
        for way, one in ways.items():
            began = time.perf_counter()
            one()
            seconds[way].append(time.perf_counter() - began)
    print("| | images/s | times the loop | other classes |\n|---|---|---|---|")
    for way, took in seconds.items():
        times = median(a / b for a, b in zip(seconds["loop"], took, strict=True))
        other = sum(a != b for a, b in zip(found[way], found["loop"], strict=True))
        print(
            f"| {way} | {len(paths) / median(took):.1f} | {times:.2f} | {other} of {len(paths)} |"
        )


def main() -> None:
    """Measure, print, write it as JSON beside the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder or a checkpoint")
    parser.add_argument("images", type=Path, help="a folder of images, at any depth")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--loop", action="store_true", help="beside a loop, on fewer")
    options = parser.parse_args()
    marks = []
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        images.mkdir()
        copies(options.images, images, LOOP_IMAGES if options.loop else options.count)
        if options.loop:
            beside_a_loop(options.run, Path(folder))
            return
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "predict", options.run, folder, "--format", "csv"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
        )
        assert process.stdout is not None
        rows = csv.reader(process.stdout)
        next(rows)
        first_s = None
        for done, _ in enumerate(rows, start=1):
            first_s = first_s or time.perf_counter() - began
            if done % max(1, options.count // MARKS) == 0 and done < options.count:
                mark = {
                    "images": done,
                    "seconds": time.perf_counter() - began,
                    "memory_mib": memory_mib(process.pid, "VmRSS"),
                    "peak_mib": memory_mib(process.pid, "VmHWM"),
                }
                marks.append(mark)
                print(
                    f"{done:7d} images after {mark['seconds']:6.1f} s: "
                    f"{mark['memory_mib']:6.0f} MiB, at the most {mark['peak_mib']:6.0f} MiB",
                    flush=True,
                )
        total_s = time.perf_counter() - began
        if process.wait() != 0:
            sys.exit(f"predict ended with exit status {process.returncode}")
    assert first_s is not None
    speed = options.count / (total_s - first_s)
    print(
        f"{options.count} images in {total_s:.1f} s, the first row after {first_s:.1f} s; then "
        f"{speed:.1f} images a second on {len(os.sched_getaffinity(0))} cores"
    )
    record = ROOT / "benchmarks" / "predicting.json"
    found = {"total_s": total_s, "first_row_s": first_s, "images_per_s": speed, "marks": marks}
    record.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
