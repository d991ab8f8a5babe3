"""How fast the command line answers, side by side with a bare Hydra program.

    make bench

Runs `--help`, `--cfg job` and a misspelt key of train.py in turn with a program that has one
group of three options and nothing else, and prints medians of whole processes and their ratio.
Aim: every ratio at 1.5 or less.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = 5
REQUESTS = (["--help"], ["--cfg", "job"], ["optimizer.lrr=1"])
BARE_PROGRAM = """\
import hydra

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    pass

main()
"""


def bare_program(folder: Path) -> Path:
    """Write the smallest Hydra program that can answer the same requests."""
    group = folder / "conf" / "optimizer"
    group.mkdir(parents=True)
    for option in ("adam", "adamw", "sgd"):
        (group / f"{option}.yaml").write_text(f"name: {option}\nlr: 1e-4\n")
    (folder / "conf" / "config.yaml").write_text("defaults:\n  - optimizer: adam\n")
    program = folder / "program.py"
    program.write_text(BARE_PROGRAM)
    return program


def seconds(program: Path, request: list[str]) -> float:
    """Wall time of one whole process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, program, *request], capture_output=True, cwd=program.parent)
    return time.perf_counter() - began


def main() -> None:
    """Measure, print a table, write it as JSON beside the runs."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        programs = {"train.py": ROOT / "train.py", "bare": bare_program(Path(folder))}
        print(f"{'request':<20} {'train.py':>9} {'bare Hydra':>11} {'ratio':>6}")
        for request in REQUESTS:
            times: dict[str, list[float]] = {name: [] for name in programs}
            for run in range(RUNS + 1):  # the first warms the disk's cache
                for name, program in programs.items():
                    taken = seconds(program, request)
                    if run:
                        times[name].append(taken)
            medians = {name: statistics.median(values) for name, values in times.items()}
            ratios = [a / b for a, b in zip(times["train.py"], times["bare"], strict=True)]
            ratio = statistics.median(ratios)
            print(
                f"{' '.join(request):<20} {medians['train.py']:7.2f} s {medians['bare']:9.2f} s"
                f" {ratio:6.2f}"
            )
            rows.append({"request": request, "seconds": times, "median_ratio": ratio})
    record = ROOT / "benchmarks" / "answers.json"
    record.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"medians of {RUNS}, taken in turn; every figure is in {record.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
