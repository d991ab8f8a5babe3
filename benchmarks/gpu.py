"""What keeps a GPU busy: training images a second, beside the network fed from memory.

    python benchmarks/gpu.py                       the first CUDA GPU, minutes
    python benchmarks/gpu.py --device cpu --quick  the same on a CPU, to try it

Each row but the first is a process that runs train.py for three short epochs, of which the last
counts: its training images a second, reading included. The first is a plain loop over one batch
that is on the device already: what the network could do if reading cost nothing.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from command import TRAIN_PY, must_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torchvision.models import get_model

ROOT = Path(__file__).parent.parent
READING = {
    "files, augmented on the CPU": ["data.cache=none"],
    "memory, augmented on the CPU": ["data.cache=ram", "data.augment_on=cpu"],
    "memory, augmented on the device": ["data.cache=ram", "data.augment_on=device"],
}
COMPUTING = {
    "float32": ["trainer.precision=32-true", "channels_last=false"],
    "bf16": ["trainer.precision=bf16-mixed", "channels_last=false"],
    "bf16, channels last": ["trainer.precision=bf16-mixed", "channels_last=true"],
    "bf16, channels last, compiled": [
        *("trainer.precision=bf16-mixed", "channels_last=true", "compile=true"),
    ],
}


def plain_loop(backbone: str, batch_size: int, device: str, steps: int) -> float:
    """Images a second of full fine-tuning on one batch in the device's memory."""
    network = get_model(backbone, num_classes=2).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    images = torch.randn(batch_size, 3, 224, 224, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(batch_size, device=device) % 2
    began = 0.0
    for step in range(steps + 3):
        if step == 3:  # the first ones choose algorithms
            _wait(device)
            began = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _wait(device)
    return steps * batch_size / (time.perf_counter() - began)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def train(overrides: list[str]) -> dict[str, Any]:
    """A short run of train.py: its speed and what the record says of its device."""
    with tempfile.TemporaryDirectory() as folder:
        off = [f"callbacks.{name}.enabled=false" for name in ("grad_cam", "embeddings", "figures")]
        must_run([TRAIN_PY, *overrides, *off, "report=false", f"hydra.run.dir={folder}/run"])
        events = EventAccumulator(f"{folder}/run").Reload()
        speed = events.Scalars("throughput/train_images_per_s")[-1].value
        device = json.loads((Path(folder) / "run" / "summary.json").read_text())["device"]
    return {"images_per_s": speed, "device": device["name"], "precision": device["precision"]}


def main() -> None:
    """Measure, print, write every figure as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--quick", action="store_true", help="a few steps, one row of each kind")
    parser.add_argument("overrides", nargs="*", help="of train.py, for every row")
    options = parser.parse_args()
    steps = 3 if options.quick else 50
    common = [
        *(f"model={options.backbone}", f"data.batch_size={options.batch_size}"),
        *("trainer.max_epochs=3", "trainer.limit_val_batches=1", *options.overrides),
        f"trainer.accelerator={'gpu' if options.device == 'cuda' else 'cpu'}",
    ]
    if options.quick:
        common.append(f"trainer.limit_train_batches={steps}")
    rows: dict[str, Any] = {}
    rows["plain loop on one batch"] = {
        "images_per_s": plain_loop(options.backbone, options.batch_size, options.device, steps)
    }
    for cases in (READING, COMPUTING):
        for name, case in list(cases.items())[: 1 if options.quick else None]:
            rows[name] = train([*common, *case])
    base = rows["plain loop on one batch"]["images_per_s"]
    for name, row in rows.items():
        share = row["images_per_s"] / base
        print(f"{name:<42} {row['images_per_s']:9.1f} images/s  {share:5.2f}")
    record = ROOT / "benchmarks" / "gpu.json"
    record.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"every figure is in {record.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
