"""How fast `hymenoptera predict` is, and that its memory does not grow with the images.

    python benchmarks/predicting.py RUN ~/hymenoptera_data --count 10000

Links the images of a folder under so many names, classifies them in one process, and prints
images a second and the process's memory as it goes.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUFFIXES = {".jpg", ".jpeg", ".png"}
COMMAND = "from hymenoptera.cli import main; main()"
MARKS = 10  # at which the memory is looked at


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


def main() -> None:
    """Measure, print, write it as JSON beside the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run folder or a checkpoint")
    parser.add_argument("images", type=Path, help="a folder of images, at any depth")
    parser.add_argument("--count", type=int, default=10_000)
    options = parser.parse_args()
    marks = []
    with tempfile.TemporaryDirectory() as folder:
        copies(options.images, Path(folder), options.count)
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
