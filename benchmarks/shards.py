"""Pictures a second from shards and from a folder, the same decoding and augmenting; start-up.

    python benchmarks/shards.py --data hymenoptera_data.zip [--times 10] [--repeats 3]

The real pictures, so many times under other names, as a folder and as shards of it. `read` is the
bytes alone, in an epoch's order: `warm` from the disk cache, `cold` after the kernel was asked to
drop the files from it. `train` is what a run does: read, decode, crop, flip, normalise, in batches
of 32. Beside the project's own reading stand WebDataset's and, where it is installed, LitData's,
with their own shuffling and the same decoding. Figures are medians of rounds taken in turn.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from hymenoptera.data.base import PictureDataModule
from hymenoptera.data.datamodule import ImageFolderDataModule
from hymenoptera.data.hymenoptera import fetch
from hymenoptera.data.pictures import open_picture, upright_rgb
from hymenoptera.data.sharding import make_shards
from hymenoptera.data.shards import contents
from hymenoptera.data.stream import StreamDataModule
from hymenoptera.preprocessing import Preprocessing

LIKE_WEIGHTS = Preprocessing(256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")
SHARD_MB = 16
AT_ONCE = 16


def repeat(root: Path, folder: Path, times: int) -> Path:
    """The data set's pictures, so many times, as files of their own: links would be cached once."""
    for path in sorted(root.rglob("*.jp*g")):
        data = path.read_bytes()
        for number in range(times):
            place = folder / path.relative_to(root).parent / f"{number}_{path.name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    os.sync()
    return folder


def forget(folder: Path) -> None:
    """Have the kernel drop what it holds of a folder's files."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rate(work: Callable[[Any], int], on: Any) -> float:
    """How many a second."""
    began = time.perf_counter()
    return work(on) / (time.perf_counter() - began)


def read_all(data: PictureDataModule) -> int:
    """Read the bytes of an epoch's pictures, in its order."""
    samples = data.index.train
    for draw in data.sampler(len(samples), shuffle=True, views=None):
        path = samples[draw.sample].path
        (contents(path) if isinstance(data, StreamDataModule) else path.read_bytes())
    return len(samples)


def train_all(loader: Any) -> int:
    """Take an epoch's batches."""
    return sum(len(batch[1]) for batch in loader)


class Decode:
    """From a shard's bytes to what the network takes."""

    def __init__(self) -> None:
        self.transform = LIKE_WEIGHTS.train_transform((0.08, 1.0), 0.5)

    def __call__(self, data: bytes) -> torch.Tensor:
        """Decode and augment a picture."""
        with open_picture(data) as picture:
            return self.transform(upright_rgb(picture))


def webdataset_loader(shards: Path, workers: int) -> Any:
    """WebDataset's own way: shards in random order, a buffer to shuffle in."""
    import webdataset

    decode = Decode()

    def sample(found: dict[str, bytes]) -> tuple[torch.Tensor, int]:
        kind = next(kind for kind in ("jpg", "jpeg") if kind in found)
        return decode(found[kind]), json.loads(found["json"])["label"]

    files = sorted(map(str, shards.glob("train-*.tar")))
    pipeline = webdataset.WebDataset(files, shardshuffle=100, empty_check=False).shuffle(1000)
    return DataLoader(pipeline.map(sample), batch_size=32, num_workers=workers)


def litdata_loader(folder: Path, workers: int) -> Any:
    """LitData's own way."""
    from litdata import StreamingDataLoader, StreamingDataset

    class Pictures(StreamingDataset):
        def __getitem__(self, index: Any) -> tuple[torch.Tensor, int]:
            data, label = super().__getitem__(index)
            return Decode()(bytes(data)), label

    dataset = Pictures(str(folder), shuffle=True)
    return StreamingDataLoader(dataset, batch_size=32, num_workers=workers)


def write_litdata(data: PictureDataModule, folder: Path) -> None:
    """The training pictures as LitData's chunks."""
    from litdata.streaming import Cache

    cache = Cache(str(folder), chunk_bytes=SHARD_MB * 1_000_000)
    samples = data.index.train
    for number, draw in enumerate(data.sampler(len(samples), shuffle=True, views=None)):
        sample = samples[draw.sample]
        cache[number] = (sample.path.read_bytes(), sample.label)
    cache.done()
    cache.merge()


def rounds(folder: Path, shards: Path, chunks: Path, workers: int) -> Iterator[dict[str, float]]:
    """One figure a contender, again and again."""
    options: Any = {"batch_size": 32, "num_workers": workers}
    while True:
        found: dict[str, float] = {}
        for name in ("folder", "shards"):
            began = time.perf_counter()
            data: PictureDataModule
            if name == "folder":
                data = ImageFolderDataModule(root=str(folder), **options)
            else:
                data = StreamDataModule(
                    root=str(shards),
                    folder=str(chunks.parent / "kept"),
                    cache_gb=10,
                    shards_at_once=AT_ONCE,
                    **options,
                )
            data.setup()
            data.facts()
            found[f"{name}, set up (s)"] = time.perf_counter() - began
            data.use(LIKE_WEIGHTS)
            for state in ("cold", "warm"):
                if state == "cold":
                    forget(folder if name == "folder" else shards)
                found[f"{name}, read {state}"] = rate(read_all, data)
            loader = data.train_dataloader()
            found[f"{name}, train"] = rate(train_all, loader)
        loader = webdataset_loader(shards, workers)
        found["WebDataset's own, train"] = rate(train_all, loader)
        if chunks.is_dir():
            loader = litdata_loader(chunks, workers)
            found["LitData's own, train"] = rate(train_all, loader)
        yield found


def main() -> None:
    """Measure, print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("HYMENOPTERA_SOURCE"))
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the figures to this file too")
    given = parser.parse_args()
    if not given.data:
        sys.exit("--data FILE: the hymenoptera archive or folder.")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folder = repeat(fetch(given.data, place / "data"), place / "folder", given.times)
        began = time.perf_counter()
        made = make_shards(folder, place / "shards", SHARD_MB * 1_000_000)
        count = sum(made["pictures"].values())
        print(
            f"{count} pictures into {len(made['shards'])} shards of {SHARD_MB} MB in "
            f"{time.perf_counter() - began:.1f} s",
            file=sys.stderr,
        )
        if find_spec("litdata"):
            data = ImageFolderDataModule(root=str(folder))
            data.setup()
            write_litdata(data, place / "chunks")
        source = rounds(folder, place / "shards", place / "chunks", given.num_workers)
        all_rounds = []
        for _ in range(given.repeats):
            all_rounds.append(next(source))
            print(json.dumps(all_rounds[-1]), file=sys.stderr)
    medians = {key: statistics.median(r[key] for r in all_rounds) for key in all_rounds[0]}
    print(f"| {given.num_workers} workers | median | lowest to highest |\n|---|---|---|")
    for key, median in medians.items():
        values = [r[key] for r in all_rounds]
        print(f"| {key} | {median:.4g} | {min(values):.4g} to {max(values):.4g} |")
    if given.out:
        given.out.write_text(json.dumps({"rounds": all_rounds, "medians": medians}, indent=1))


if __name__ == "__main__":
    main()
