"""How long a run of very many images takes to start, and how much memory: data=imagefolder.

`python benchmarks/large_dataset.py` makes class folders of 10,000, 100,000 and 1,000,000 files
(hard links to 500 images of 16 px, so that they take names and no space), and starts a process that
does what a run does before its first step, and then reads training batches: for the first time,
and again, with 0 and with 4 workers. It prints a table. With `--library` the same for the loader of
folders that comes with `datasets`. Times are for files that the disk cache holds. Memory is that at
the first batch, torch and Lightning included, without a network; `own_mb` is what no file backs,
`read_mb` what it is after more batches.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
from PIL import Image

CLASSES = 10
DRAWN = 500
BATCHES = 300


def make_images(root: Path, files: int) -> None:
    """Class folders of so many images, a tenth of them to validate."""
    generator = np.random.default_rng(0)
    drawn = root / "drawn"
    drawn.mkdir(parents=True)
    for number in range(DRAWN):
        pixels = generator.integers(0, 256, (16, 16, 3)).astype("uint8")
        kind = "jpg" if number % 2 else "png"
        Image.fromarray(pixels).save(drawn / f"{number}.{kind}")
    sources = sorted(map(str, drawn.iterdir()))
    for split, share in (("train", files - files // 10), ("val", files // 10)):
        for label in range(CLASSES):
            folder = root / "data" / split / f"class_{label:02d}"
            folder.mkdir(parents=True)
            for number in range(share // CLASSES):
                source = sources[(number + label) % DRAWN]
                os.link(source, f"{folder}/image_{number:07d}{source[-4:]}")


def memory_mb(process: int | str = "self", kind: str = "Rss") -> float:
    """Memory of a process: resident, or of another kind of /proc/PID/smaps_rollup."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{kind}:"))


def worker_ids() -> list[int]:
    """The processes that read images."""
    return [
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if stat.read_text().rsplit(")", 1)[1].split()[1] == str(os.getpid())
    ]


def start(kind: str, root: str, hub_folder: str, workers: int) -> dict[str, Any]:
    """What a run does before its first step, and the reading of some batches."""
    from hymenoptera.data import ImageFolderDataModule
    from hymenoptera.data.preprocessing import Preprocessing

    imports_mb = memory_mb()
    began = time.perf_counter()
    if kind == "library":
        import datasets

        loaded = datasets.load_dataset("imagefolder", data_dir=root, cache_dir=hub_folder)
        peak_mb = getrusage(RUSAGE_SELF).ru_maxrss / 1e3
        return {"ready_s": time.perf_counter() - began, "peak_mb": peak_mb, "count": len(loaded)}
    small = Preprocessing(36, 32, (0.5,) * 3, (0.2,) * 3)
    options: dict[str, Any] = {"batch_size": 32, "num_workers": workers, "preprocessing": small}
    module = ImageFolderDataModule(root=root, **options)
    module.prepare_data()
    module.setup()
    ready_s = time.perf_counter() - began
    summary = module.summary()
    summary_s = time.perf_counter() - began - ready_s
    began = time.perf_counter()
    batches = iter(module.train_dataloader())
    next(batches)
    first_batch_s = time.perf_counter() - began
    own_mb, peak_mb = memory_mb(kind="Anonymous"), getrusage(RUSAGE_SELF).ru_maxrss / 1e3
    workers_mb = [memory_mb(worker, "Private_Dirty") for worker in worker_ids()]
    began = time.perf_counter()
    read = sum(len(labels) for _, labels in islice(batches, BATCHES))
    return {
        "ready_s": ready_s,
        "summary_s": summary_s,
        "first_batch_s": first_batch_s,
        "images_per_s": read / (time.perf_counter() - began),
        "imports_mb": imports_mb,
        "peak_mb": peak_mb,
        "own_mb": own_mb,
        "worker_own_mb": max(workers_mb, default=None),
        "read_mb": memory_mb(),
        "manifest_hash": summary["manifest_hash"],
    }


def measure(kind: str, root: Path, hub_folder: Path, workers: int) -> dict[str, Any]:
    """`start` in a process of its own."""
    command = [sys.executable, __file__, "--start", kind, str(root), str(hub_folder), str(workers)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def rows_of(folder: Path, files: int, kinds: list[str]) -> list[dict[str, Any]]:
    """First and later starts of each kind."""
    root, kept = folder / f"{files}", folder / f"{files}_kept"
    began = time.perf_counter()
    make_images(root, files)
    print(f"{files} files made in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    rows = []
    for kind in kinds:
        for name, workers in (("first", 0), ("later", 0), ("later", 4)):
            found = measure(kind, root / "data", kept / kind, workers)
            rows.append({"files": files, "data": kind, "start": name, "workers": workers, **found})
            print(json.dumps(rows[-1]), file=sys.stderr)
    kept_mb = sum(path.stat().st_size for path in kept.rglob("*") if path.is_file()) / 1e6
    print(f"{files} files: {kept_mb:.0f} MB are kept", file=sys.stderr)
    shutil.rmtree(root)
    shutil.rmtree(kept, ignore_errors=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown."""
    columns = ["files", "data", "start", "workers", "ready_s", "summary_s", "first_batch_s"]
    columns += ["images_per_s", "peak_mb", "own_mb", "worker_own_mb", "read_mb"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        values = (row.get(name) for name in columns)
        shown = (f"{value:.1f}" if isinstance(value, float) else f"{value}" for value in values)
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure all sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", default="10000,100000,1000000")
    parser.add_argument("--library", action="store_true", help="`datasets`' own loader too: slow")
    parser.add_argument("--folder", type=Path, help="where the files are made and removed again")
    parser.add_argument("--start", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.start:
        kind, root, hub_folder, workers = given.start
        print(json.dumps(start(kind, root, hub_folder, int(workers))))
        return
    kinds = ["imagefolder"] + ["library"] * given.library
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for files in map(int, given.files.split(",")):
            rows += rows_of(Path(folder), files, kinds)
    print(table(rows))


if __name__ == "__main__":
    main()
