"""How fast the command lines answer, each beside the smallest program of its kind.

    python benchmarks/answers.py

Runs `--help`, `--cfg job` and a misspelt key of train.py in turn with a Hydra program that has one
group of three options and nothing else; and what `hymenoptera` answers without torch in turn with a
typer program that has one command. Prints medians of whole processes and of their ratios.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = 9
FINISHED_RUNS = 100  # that `hymenoptera runs` lists
BARE_HYDRA = """\
import hydra

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    pass

main()
"""
BARE_TYPER = """\
import typer

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

@app.command()
def main(words: list[str] = typer.Argument(default=None)):
    print(words)

app()
"""
COMMAND = "from hymenoptera.cli import main; main()"


def bare_hydra(folder: Path) -> Path:
    """Write the smallest Hydra program that can answer the same command lines."""
    group = folder / "conf" / "optimizer"
    group.mkdir(parents=True)
    for option in ("adam", "adamw", "sgd"):
        (group / f"{option}.yaml").write_text(f"name: {option}\nlr: 1e-4\n")
    (folder / "conf" / "config.yaml").write_text("defaults:\n  - optimizer: adam\n")
    program = folder / "hydra_program.py"
    program.write_text(BARE_HYDRA)
    return program


def bare_typer(folder: Path) -> Path:
    """Write the smallest typer program."""
    program = folder / "typer_program.py"
    program.write_text(BARE_TYPER)
    return program


def finished_runs(folder: Path) -> Path:
    """Write the records of some finished runs."""
    best = {"accuracy": 0.95, "correct": 95, "count": 100, "interval": [0.89, 0.98], "epoch": 3}
    summary = {"status": "completed", "overrides": ["experiment=head"], "best": best, "epochs": 5}
    for number in range(FINISHED_RUNS):
        run = folder / "runs" / f"{number:03d}"
        run.mkdir(parents=True)
        (run / "summary.json").write_text(json.dumps(summary))
    return folder / "runs"


def seconds(command: list[str | Path], folder: Path) -> float:
    """Wall time of one whole process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], capture_output=True, cwd=folder)
    return time.perf_counter() - began


def main() -> None:
    """Measure, print a table, and write every figure to answers.json."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, hydra = [ROOT / "train.py"], [bare_hydra(folder)]
        command, typer = ["-c", COMMAND], [bare_typer(folder)]
        lines: list[tuple[str, list, list, list[str]]] = [
            *(
                ("train.py", train, hydra, line)
                for line in (["--help"], ["--cfg", "job"], ["optimizer.lrr=1"])
            ),
            *(
                ("hymenoptera", command, typer, line)
                for line in (["--help"], ["predict", "--help"], ["predict", "nowhere", "x.jpg"])
            ),
            ("hymenoptera", command, typer, ["runs", str(finished_runs(folder))]),
        ]
        print(f"{'command line':<34} {'this':>7} {'bare':>9} {'ratio':>6}")
        for program, own, bare, line in lines:
            times: dict[str, list[float]] = {"this": [], "bare": []}
            for run in range(RUNS + 1):  # the first warms the disk's cache
                for which, words in (("this", own), ("bare", bare)):
                    taken = seconds([*words, *line], ROOT if words is train else folder)
                    if run:
                        times[which].append(taken)
            medians = {which: statistics.median(values) for which, values in times.items()}
            ratio = statistics.median(
                a / b for a, b in zip(times["this"], times["bare"], strict=True)
            )
            shown = f"{program} {' '.join(Path(word).name for word in line)}"
            print(f"{shown:<34} {medians['this']:5.2f} s {medians['bare']:7.2f} s {ratio:6.2f}")
            rows.append({"program": program, "line": line, "seconds": times, "ratio": ratio})
    record = ROOT / "benchmarks" / "answers.json"
    record.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"medians of {RUNS}, taken in turn; every figure is in {record.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
