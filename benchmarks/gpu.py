"""What keeps a GPU busy, and whether it is: feeding, precision, compilation, whole runs.

    python benchmarks/gpu.py [--device cuda] [OVERRIDE ...]          on a GPU: some ten minutes
    python benchmarks/gpu.py --device cpu --quick [OVERRIDE ...]     anywhere: that it runs

Overrides are those of train.py: data.source=hymenoptera_data.zip model.weights=resnet18.pth for
two. The parts, of which --parts takes some:

    decoding  a JPEG to pixels: the project's reader, torchvision, nvJPEG; and how far they differ
    feeding   data.cache and data.augment_on: pictures a second of the loader alone, and of training
    steps     full fine-tuning by batch size, precision, memory format, compilation: the project's
              Trainer beside the same network fed from one tensor on the device, which is the limit
    runs      the article's 20 epochs with batches of 4 and 32, and the head: whole runs

Every figure goes into a JSON file as well.
"""

import argparse
import copy
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torchvision.io import ImageReadMode, decode_jpeg, read_file

from hymenoptera.callbacks.console import quieten_libraries
from hymenoptera.callbacks.finite import FiniteLoss
from hymenoptera.config import build, check, without_hydra
from hymenoptera.data.decoded import Decoded
from hymenoptera.data.pictures import read_picture
from hymenoptera.training import QUIET, Run, prepare, train

ROOT = Path(__file__).parent.parent
FEEDS = (("none", "cpu"), ("ram", "cpu"), ("disk", "cpu"), ("ram", "device"), ("disk", "device"))
MODES = {  # each adds one thing to the one above
    "fp32": ["trainer.precision=32-true", "channels_last=false", "compile=false"],
    "bf16": ["trainer.precision=bf16-mixed", "channels_last=false", "compile=false"],
    "channels_last": ["trainer.precision=bf16-mixed", "channels_last=true", "compile=false"],
    "compile": ["trainer.precision=bf16-mixed", "channels_last=true", "compile=true"],
    "cuda_graphs": ["trainer.precision=bf16-mixed", "channels_last=true", "compile=cuda_graphs"],
}
LEAST_PICTURES = 4096  # in an epoch, on a GPU: the real ones repeated, or batches of 256 were two


def configured(overrides: list[str], folder: Path) -> dict[str, Any]:
    """A run's config, as train.py would have it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", [*overrides, f"hydra.run.dir={folder}"], return_hydra_config=True)
    config = check(without_hydra(cfg))
    del config["sweep"]
    for name in ("best_checkpoint", "last_checkpoint"):
        config["callbacks"][name]["dirpath"] = str(folder / "checkpoints")
    return config


def listed(text: str) -> list[str]:
    """What an option names, separated by commas."""
    return text.split(",")


def synchronise() -> float:
    """The time once the device has done all it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_a_picture(decode: Callable[[], Any], count: int, repeats: int) -> float:
    """The quickest of some repeats: other work on the machine only adds."""
    times = []
    for _ in range(repeats):
        began = synchronise()
        decode()
        times.append(synchronise() - began)
    return min(times) / count


def decoding(run: Run, count: int, repeats: int) -> list[dict[str, Any]]:
    """Ways to decode a JPEG: milliseconds, and how far from the project's reader, of 255."""
    paths = [s.path for s in run.data.index.train if s.path.suffix in (".jpg", ".jpeg")][:count]
    if not paths:
        return []
    encoded = [read_file(str(path)) for path in paths]
    upright = {"mode": ImageReadMode.RGB, "apply_exif_orientation": True}
    ways: dict[str, Callable[[], list[Tensor]]] = {
        "project": lambda: [
            torch.from_numpy(np.array(read_picture(p))).permute(2, 0, 1) for p in paths
        ],
        "torchvision": lambda: [decode_jpeg(read_file(str(p)), **upright) for p in paths],
    }
    if run.device.accelerator == "cuda":
        there = torch.device("cuda", run.device.index)
        ways["nvJPEG"] = lambda: decode_jpeg(encoded, device=there, mode=ImageReadMode.RGB)
    reference = ways["project"]()
    rows = []
    for name, decode in ways.items():
        off = [
            (ours.cpu().int() - theirs.int()).abs() if ours.shape == theirs.shape else None
            for ours, theirs in zip(decode(), reference, strict=True)
        ]
        same_shape = [levels for levels in off if levels is not None]
        rows.append(
            {
                "way": name,
                "ms": 1000 * seconds_a_picture(decode, len(paths), repeats),
                "most_levels_off": max(int(levels.max()) for levels in same_shape),
                "mean_levels_off": statistics.mean(float(x.float().mean()) for x in same_shape),
                "other_shape": len(off) - len(same_shape),  # not turned upright
            }
        )
    return rows


def repeated(run: Run, least: int) -> Run:
    """The run with its training pictures often enough in an epoch, in one place in memory."""
    times = -(-least // len(run.data.index.train))
    data = run.data
    data._index = replace(data.index, train=data.index.train * times)
    if data._feed is not None:
        kept = data._feed.train
        data._feed.train = Decoded(
            kept.pixels, np.tile(kept.starts, times), np.tile(kept.sizes, (times, 1))
        )
    return run


def loaded(run: Run, epochs: int) -> float:
    """Pictures a second of the loader and of what is left to the device, without a network."""
    loader = run.data.train_dataloader()
    device = torch.device("cpu")
    if run.device.accelerator != "cpu":
        device = torch.device(run.device.accelerator, run.device.index)
    rates = []
    for epoch in range(epochs + 1):
        loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        began, count = synchronise(), 0
        for batch in loader:
            images, _ = run.data.on_after_batch_transfer(move_data_to_device(batch, device), 0)
            count += len(images)
        rates.append(count / (synchronise() - began))
    return statistics.median(rates[1:])  # the first one starts the processes


class Clock(pl.Callback):
    """Times some steps after some others.

    Attributes:
        images_per_s: afterwards.
    """

    def __init__(self, warm_up: int, steps: int) -> None:
        self.images_per_s = 0.0
        self._warm_up, self._steps = warm_up, steps
        self._done = self._count = 0
        self._began = 0.0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count; stop when it is enough."""
        self._done += 1
        if self._done == self._warm_up:
            self._began = synchronise()
        elif self._done > self._warm_up:
            self._count += len(batch[1])
        if self._done == self._warm_up + self._steps:
            self.images_per_s = self._count / (synchronise() - self._began)
            trainer.should_stop = True


def trained(run: Run, warm_up: int, steps: int) -> float:
    """Pictures a second of the project's training, validation and checkpoints left out."""
    clock = Clock(warm_up, steps)
    options = run.device.trainer_options()
    trainer = pl.Trainer(
        **options,
        default_root_dir=str(run.folder),
        callbacks=[FiniteLoss(), clock],
        logger=TensorBoardLogger(str(run.folder), name="", version=""),
        max_epochs=warm_up + steps,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        **QUIET,
    )
    trainer.fit(run.module(run.transfer, scheduled=False), datamodule=run.data)
    return clock.images_per_s


def limit(run: Run, batch_size: int, warm_up: int, steps: int) -> float:
    """Pictures a second of the same network fed from one tensor on the device: nothing waits."""
    kind, precision = run.device.accelerator, run.device.precision
    device = torch.device("cpu") if kind == "cpu" else torch.device(kind, run.device.index)
    network = run.classifier.to(device).train()
    forward = replace(run, classifier=network).compute()
    optimizer = build(run.config["optimizer"], [{"params": network.parameters()}])
    side = network.preprocessing.crop_px
    images = torch.randn(batch_size, 3, side, side, device=device)
    labels = torch.arange(batch_size, device=device) % len(network.classes)
    loss_of = nn.CrossEntropyLoss()
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")
    began = 0.0
    for step in range(warm_up + steps):
        if step == warm_up:
            began = synchronise()
        optimizer.zero_grad()
        with mixed:
            loss = loss_of(forward(images), labels)
        loss.backward()
        optimizer.step()
    return batch_size * steps / (synchronise() - began)


def prepared(overrides: list[str], folder: Path, least: int) -> Run:
    """A run that is ready to begin, with `least` training pictures or more."""
    torch.compiler.reset()
    return repeated(prepare(configured(overrides, folder), folder, overrides), least)


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    print(f"\n{title}")
    for position, row in enumerate(rows):
        if position == 0:
            print("".join(f"{name:>16}" for name in row))
        cells = (f"{v:.3g}" if isinstance(v, float) and v < 100 else v for v in row.values())
        print("".join(f"{f'{c:.0f}' if isinstance(c, float) else c!s:>16}" for c in cells))


def main() -> None:
    """Measure, print, write every figure as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quick", action="store_true", help="small settings: that it runs")
    parser.add_argument("--parts", type=listed, default="decoding,feeding,steps,runs")
    parser.add_argument("--batches", type=listed, help="4,32,256 for three")
    parser.add_argument("--modes", type=listed, help=",".join(MODES))
    parser.add_argument("--steps", type=int, default=None, help="that are timed")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "gpu.json")
    options, overrides = parser.parse_known_args()
    overrides += [f"trainer.accelerator={options.device}"]
    quieten_libraries()
    logging.getLogger("hymenoptera").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, overrides, Path(folder))
    options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(f"\nevery figure is in {options.json}")


def measure(options: argparse.Namespace, overrides: list[str], folder: Path) -> dict[str, Any]:
    """All parts that are wanted."""
    quick = options.quick
    start = partial(prepared, folder=folder)
    first = start(overrides, least=1)
    gpu = first.device.accelerator == "cuda"
    least = LEAST_PICTURES if gpu and not quick else 1
    steps = options.steps or (2 if quick else 50 if gpu else 6)
    warm_up = 1 if quick else 10 if gpu else 2
    batches = list(map(int, options.batches or ([4] if quick else [4, 32, 256])))
    modes = options.modes or (["fp32"] if quick else list(MODES) if gpu else ["fp32", "bf16"])
    found: dict[str, Any] = {
        "device": first.device.to_dict(),
        "torch": torch.__version__,
        "overrides": overrides,
    }
    print(f"{first.device.name}, torch {torch.__version__}")
    disk = f"data.cache_folder={folder / 'decoded'}"
    if "decoding" in options.parts:
        found["decoding"] = decoding(first, 8 if quick else 64, 2 if quick else 7)
        show("decoding: milliseconds a picture", found["decoding"])
    if "feeding" in options.parts:
        found["feeding"] = []
        for cache, augment_on in FEEDS:
            feed = [f"data.cache={cache}", f"data.augment_on={augment_on}", disk]
            run = start([*overrides, *feed, f"data.batch_size={batches[-1]}"], least=least)
            row: dict[str, Any] = {"cache": cache, "augment_on": augment_on, "batch": batches[-1]}
            row |= {
                "loader": loaded(run, 1 if quick else 3),
                "training": trained(run, warm_up, steps),
            }
            found["feeding"].append(row)
        show("feeding: pictures a second", found["feeding"])
    if "steps" in options.parts:
        found["steps"] = []
        for batch_size in batches:
            for mode in modes:
                more = [*MODES[mode], f"data.batch_size={batch_size}"]
                run = start([*overrides, *more], least=least)
                alone = replace(run, classifier=copy.deepcopy(run.classifier))
                row = {"batch": batch_size, "mode": mode, "project": trained(run, warm_up, steps)}
                row["limit"] = limit(alone, batch_size, warm_up, steps)
                found["steps"].append(row | {"ratio": row["project"] / row["limit"]})
        show("full fine-tuning: pictures a second", found["steps"])
    if "runs" in options.parts:
        epochs = ["trainer.max_epochs=1"] if quick else []
        found["runs"] = []
        for name, more in (
            ("article, 4", ["experiment=article"]),
            ("article, 32", ["experiment=article", "data.batch_size=32"]),
            ("head", ["experiment=head", f"transfer.cache_folder={folder / 'features'}"]),
        ):
            place = folder / name.replace(", ", "_")
            place.mkdir()
            train(
                configured([*more, *overrides, *epochs], place), place, overrides, time.monotonic()
            )
            record = json.loads((place / "summary.json").read_text())
            found["runs"].append(
                {
                    "run": name,
                    "epochs": record["epochs"],
                    "fit_s": record["durations"]["fit_s"],
                    "whole_s": record["durations"]["total_s"],
                    "accuracy_%": 100 * record["best"]["val_accuracy"],
                }
            )
        show("whole runs: seconds of the epochs, and with all around them", found["runs"])
    return found


if __name__ == "__main__":
    main()
