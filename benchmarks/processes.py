"""The same run in one process and in several: is validation exact, and what does a process add?

    python benchmarks/processes.py [--counts 1,2,3,4] [--data ZIP] [--weights FILE]

Two questions, on the real images. **exact**: a frozen ResNet-18 whose head has a rate of 1e-30,
so that all runs validate the same weights on the 153 images; val/loss, val/accuracy and
predictions.csv must be the same bytes. **strong**: full fine-tuning with 32 images a step in
all, divided among the processes.
"""

import argparse
import csv
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

from command import TRAIN_PY, must_run

STEP = 32  # images a step, of all processes together


def train(folder: Path, count: int, *overrides: str) -> None:
    """A run in so many processes."""
    command = [TRAIN_PY, f"trainer.devices={count}", *overrides]
    command += ["trainer.accelerator=cpu", *(["trainer.strategy=ddp"] if count > 1 else [])]
    command += [f"hydra.run.dir={folder}", "report=false"]
    off = [f"callbacks.{name}.enabled=false" for name in ("grad_cam", "augmented_images")]
    must_run([*command, *off], folder.parent)


def exact(place: Path, counts: list[int]) -> list[dict[str, str]]:
    """Validation of the same weights by each number of processes."""
    found = []
    for count in counts:
        folder = place / f"exact{count}"
        frozen = ["experiment=head", "transfer.cache=false", "trainer.max_epochs=1"]
        train(folder, count, *frozen, "optimizer.lr=1e-30", f"data.batch_size={STEP // count}")
        (row,) = csv.DictReader((folder / "metrics.csv").open())
        digest = hashlib.sha256((folder / "predictions.csv").read_bytes()).hexdigest()
        found.append({"loss": row["val/loss"], "accuracy": row["val/accuracy"], "sha256": digest})
        print(f"exact   {count} processes  val/loss {row['val/loss']}  ", end="")
        print(f"val/accuracy {row['val/accuracy']}  predictions.csv {digest[:12]}", flush=True)
    return found


def strong(place: Path, counts: list[int]) -> None:
    """Speed of the same steps, divided among more and more processes."""
    for count in counts:
        folder = place / f"strong{count}"
        size = f"data.batch_size={STEP // count}"
        train(folder, count, "transfer=full", "trainer.max_epochs=2", size)
        summary = json.loads((folder / "summary.json").read_text())
        seconds, speed = summary["durations"]["fit_s"], summary["images_per_s"]
        threads = summary["device"]["cpu_threads"]
        print(f"strong  {count} processes of {threads} threads  2 epochs {seconds:.1f} s  ", end="")
        print(f"{speed:.2f} training images a second, validation's time counted", flush=True)


def main() -> None:
    """Both questions, for each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", default="1,2,3,4")
    parser.add_argument("--strong-counts", default="1,2")
    parser.add_argument("--data")
    parser.add_argument("--weights")
    arguments = parser.parse_args()
    for name, value in (("SOURCE", arguments.data), ("WEIGHTS", arguments.weights)):
        if value:
            os.environ[f"HYMENOPTERA_{name}"] = str(Path(value).absolute())
    with tempfile.TemporaryDirectory() as place:
        os.environ.setdefault("HYMENOPTERA_FOLDER", f"{place}/data")
        found = exact(Path(place), [int(n) for n in arguments.counts.split(",")])
        strong(Path(place), [int(n) for n in arguments.strong_counts.split(",")])
    if any(other != found[0] for other in found):
        sys.exit("not exact: the runs differ")


if __name__ == "__main__":
    main()
