"""How long the index of a large folder takes, and how much memory: first start, second start.

`python benchmarks/index.py` makes folders of 10,000, 100,000 and 1,000,000 files (hard links to 500
drawn pictures of 16 px, so that they take names and no space), starts a process that does what a
run does before its first step, twice, and reads training batches in it with 0 and with 4 workers.
It prints a table and writes docs/index.png. Times are for reading what the disk cache holds.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
from command import must_run
from PIL import Image

CLASSES = 10
DRAWN = 500
BATCHES = 300
DOCS = Path(__file__).parent.parent / "docs"


def make_folder(root: Path, files: int) -> None:
    """Class folders of so many pictures, a thousandth of them to validate."""
    generator = np.random.default_rng(0)
    drawn = root / "drawn"
    drawn.mkdir(parents=True)
    for number in range(DRAWN):
        pixels = generator.integers(0, 256, (16, 16, 3)).astype("uint8")
        kind = "jpg" if number % 2 else "png"
        Image.fromarray(pixels).save(drawn / f"{number}.{kind}")
    sources = sorted(map(str, drawn.iterdir()))
    for part, share in (("train", files - files // 10), ("val", files // 10)):
        for label in range(CLASSES):
            folder = root / "data" / part / f"class_{label:02d}"
            folder.mkdir(parents=True)
            for number in range(share // CLASSES):
                source = sources[(number + label) % DRAWN]
                os.link(source, f"{folder}/picture_{number:07d}{source[-4:]}")


def memory(process: int | str = "self") -> dict[str, int]:
    """Resident bytes of a process, and those of them that no other process shares."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    sizes = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in text.splitlines()[1:]}
    return {"resident": sizes["Rss"], "own": sizes["Private_Clean"] + sizes["Private_Dirty"]}


def children() -> list[int]:
    """The processes that read pictures."""
    return [
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if stat.read_text().rsplit(")", 1)[1].split()[1] == str(os.getpid())
    ]


def start(root: Path, index_folder: Path, workers: int, map_from: int | None) -> dict[str, Any]:
    """What a run does before its first step, and the reading of some batches."""
    from hymenoptera.data.datamodule import ImageFolderDataModule
    from hymenoptera.preprocessing import Preprocessing

    before = memory()
    began = time.perf_counter()
    data = ImageFolderDataModule(
        root=str(root),
        batch_size=32,
        num_workers=workers,
        map_from=map_from,
        index_folder=str(index_folder),
    )
    data.setup()
    facts = data.facts()
    ready_s = time.perf_counter() - began
    data.use(Preprocessing(36, 32, (0.5,) * 3, (0.2,) * 3, "bilinear"))
    batches = iter(data.train_dataloader())
    began = time.perf_counter()
    next(batches)
    first_s = time.perf_counter() - began
    for _ in islice(batches, BATCHES):
        pass
    read = [memory(child) for child in children()]
    return {
        "ready_s": ready_s,
        "first_batch_s": first_s,
        "imports": before,
        "process": {**memory(), "peak": 1024 * getrusage(RUSAGE_SELF).ru_maxrss},
        "workers": read,
        "manifest_hash": facts["manifest_hash"],
    }


def measure(root: Path, kept: Path, workers: int, lists: bool) -> dict[str, Any]:
    """`start` in a process of its own."""
    options = [str(root), str(kept), str(workers), "" if lists else "1"]
    said = must_run([__file__, "--start", *options])
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def rows_of(folder: Path, files: int, with_lists: bool) -> list[dict[str, Any]]:
    """First start, second start with 0 and 4 workers; with lists instead, where wanted."""
    root, kept = folder / f"{files}", folder / f"{files}_kept"
    began = time.perf_counter()
    make_folder(root, files)
    print(f"{files} files made in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    rows = []
    starts = [("first", 0, False), ("second", 0, False), ("second", 4, False)]
    starts += [("list", 0, True), ("list", 4, True)] if with_lists else []
    for name, workers, lists in starts:
        found = measure(root / "data", kept, workers, lists)
        rows.append({"files": files, "start": name, "num_workers": workers, **found})
        print(json.dumps(rows[-1]), file=sys.stderr)
    assert len({row["manifest_hash"] for row in rows}) == 1, "all must see the same pictures"
    kept_bytes = sum(path.stat().st_size for path in kept.rglob("*"))
    shutil.rmtree(root)
    shutil.rmtree(kept)
    return [{**row, "kept_bytes": kept_bytes} for row in rows]


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown; memory in MB, of the worker that has most."""
    lines = [
        "| files | start | workers | ready | process | at its peak | its own | a worker's own |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        own = max((worker["own"] for worker in row["workers"]), default=None)
        lines.append(
            f"| {row['files']:,} | {row['start']} | {row['num_workers']} | {row['ready_s']:.2f} s "
            f"| {row['process']['resident'] / 1e6:.0f} MB | {row['process']['peak'] / 1e6:.0f} MB "
            f"| {row['process']['own'] / 1e6:.0f} MB "
            f"| {'' if own is None else f'{own / 1e6:.0f} MB'} |"
        )
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Time and memory against the number of files."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    styles = zip(("first", "second", "list"), ("C0", "C2", "C3"), strict=True)
    words = {"first": "first start", "second": "later start", "list": "list of paths"}
    for name, colour in styles:
        for workers, line in ((0, "-"), (4, "--")):
            chosen = [r for r in rows if r["start"] == name and r["num_workers"] == workers]
            sizes = [row["files"] for row in chosen]
            if not chosen:
                continue
            if workers == 0:
                times = [row["ready_s"] for row in chosen]
                left.loglog(sizes, times, "o-", color=colour, label=words[name])
            held = [row["process"]["resident"] / 1e6 for row in chosen]
            label = f"{words[name]}, {workers} workers"
            right.semilogx(sizes, held, f"o{line}", color=colour, label=label)
            if workers:
                own = [max(w["own"] for w in row["workers"]) / 1e6 for row in chosen]
                right.semilogx(
                    sizes, own, "x:", color=colour, label=f"{words[name]}, a worker's own"
                )
    left.set(xlabel="files", ylabel="seconds until ready")
    right.set(xlabel="files", ylabel="resident memory, MB", ylim=(0, 1300))
    right.axhline(2**30 / 1e6, color="0.6", linewidth=1)  # 1 GiB
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend(fontsize=7)
    right.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1, 0.1))
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    """Measure all sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", default="10000,100000,1000000")
    parser.add_argument("--lists-to", type=int, default=100_000, help="lists too, up to this size")
    parser.add_argument("--folder", type=Path, help="where the files are made and removed again")
    parser.add_argument("--start", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.start:
        root, kept, workers, map_from = given.start
        found = start(Path(root), Path(kept), int(workers), int(map_from) if map_from else None)
        print(json.dumps(found))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for files in map(int, given.files.split(",")):
            rows += rows_of(Path(folder), files, files <= given.lists_to)
    print(table(rows))
    print(f"kept: {rows[-1]['kept_bytes'] / 1e6:.0f} MB for {rows[-1]['files']:,} files")
    draw(rows, DOCS / "index.png")


if __name__ == "__main__":
    main()
