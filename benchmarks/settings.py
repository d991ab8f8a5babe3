"""What settings that are said to be faster are worth here: each beside the defaults, in turn.

    python benchmarks/settings.py [--repeats 3] [OVERRIDE ...]     experiment=article unless given

Each figure is a process that runs train.py for two short epochs, the second of which counts: its
training pictures a second, with their reading. A setting is told as the median of its shares of the
defaults' figure in the same round.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch
from command import TRAIN_PY, must_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parent.parent
PICTURES = 96  # in an epoch
SETTINGS = {
    "fused optimizer": ["+optimizer.fused=true"],
    "channels last": ["channels_last=true"],
    "bf16": ["trainer.precision=bf16-mixed"],
    "pictures read by the run itself": ["data.num_workers=0"],
    "1 process reads pictures": ["data.num_workers=1"],
    "4 processes read pictures": ["data.num_workers=4"],
    "decoded pictures in memory": ["data.cache=ram"],
}


def images_per_s(overrides: list[str]) -> float:
    """Training pictures a second of a run's second epoch."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(TRAIN_PY, *overrides, f"hydra.run.dir={folder}/run"),
            *("trainer.max_epochs=2", "+trainer.limit_val_batches=1", "report=false"),
            *("callbacks.grad_cam.enabled=false", "callbacks.embeddings.enabled=false"),
        ]
        must_run(command)
        events = EventAccumulator(f"{folder}/run").Reload()
        return float(events.Scalars("throughput/train_images_per_s")[-1].value)


def main() -> None:
    """Measure in rounds, print, write every figure as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=4)
    options, overrides = parser.parse_known_args()
    overrides = [
        *(overrides or ["experiment=article"]),
        f"data.batch_size={options.batch_size}",
        f"+trainer.limit_train_batches={PICTURES // options.batch_size}",
    ]
    rounds: list[dict[str, float]] = []
    for _ in range(options.repeats):
        rounds.append({"defaults": images_per_s(overrides)})
        for name, setting in SETTINGS.items():
            rounds[-1][name] = images_per_s([*overrides, *setting])
            print(f"{rounds[-1][name]:7.2f} images/s  {name}", flush=True)
    default = statistics.median(found["defaults"] for found in rounds)
    print(f"\n{' '.join(overrides)}: {default:.2f} training pictures a second\n")
    for name in SETTINGS:
        shares = [found[name] / found["defaults"] for found in rounds]
        print(f"{name:<34} {statistics.median(shares):5.2f} ({min(shares):.2f}-{max(shares):.2f})")
    record = ROOT / "benchmarks" / "settings.json"
    facts = {"overrides": overrides, "threads": torch.get_num_threads(), "rounds": rounds}
    record.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"medians of {len(rounds)}; every figure is in {record.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
