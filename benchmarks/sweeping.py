"""A sweep on the real images: killed and resumed, on Hydra's launchers, a hundred jobs.

    python benchmarks/sweeping.py [--only whole,killed,joblib,submitit,optuna,memory] [--out FOLDER]

The sweep is of the head, 8 learning rates and 3 seeds, one rate so high that its jobs fail.
**whole** runs it in one process; **killed** kills that with SIGKILL half-way and resumes it;
**joblib** runs it with hydra/launcher=joblib, **submitit** with hydra/launcher=submitit_local, two
jobs at a time. Each is compared with the whole one file by file. **optuna** ends a search after 8
trials and resumes it to 20; **memory** looks at one process after 10 and after 100 jobs. Images and
weights are those of HYMENOPTERA_SOURCE and HYMENOPTERA_WEIGHTS, where they are set.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RATES = "optimizer.lr=1e-5,1e-4,1e-3,3e-3,1e-2,3e-2,1e-1,1e30"
SWEEP = ("experiment=head", RATES, "seed=1,2,3")
JOBS = 24
COMPARED = ("metrics.csv", "predictions.csv")
MOST_S = 1800


class Place:
    """Where the sweeps are made.

    Args:
        folder: data, cached features and sweeps go below it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, name: str, *overrides: str) -> "subprocess.Popen[bytes]":
        """Start a sweep, in a process group of its own."""
        command = [sys.executable, str(ROOT / "train.py"), "-m", *overrides, f"sweep.name={name}"]
        with (self.folder / f"{name}.txt").open("ab") as out:
            return subprocess.Popen(
                command, cwd=self.folder, stdout=out, stderr=out, start_new_session=True
            )

    def run(self, name: str, *overrides: str) -> float:
        """Run a sweep to its end; the seconds that it took."""
        began = time.monotonic()
        status = self.start(name, *overrides).wait(MOST_S)
        if status not in (0, 1):  # 1: jobs have failed, as they should
            sys.exit(f"{name} ended with exit status {status}: see {self.folder / name}.txt")
        return time.monotonic() - began

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """The jobs of a sweep's manifest, none while there is none."""
        path = self.folder / "runs" / name / "manifest.json"
        return json.loads(path.read_text())["jobs"] if path.is_file() else []

    def ended(self, name: str) -> dict[int, float]:
        """When each job of a sweep wrote its record, by number."""
        records = (self.folder / "runs" / name).glob("*/summary.json")
        return {int(p.parent.name): p.stat().st_mtime for p in records}

    def wait_for(self, process: "subprocess.Popen[bytes]", name: str, count: int) -> None:
        """Wait until so many jobs have written their records."""
        while process.poll() is None and len(self.ended(name)) < count:
            time.sleep(0.1)
        if process.poll() is not None:
            sys.exit(f"{name} ended early: see {self.folder / name}.txt")

    def equal(self, name: str, other: str) -> str:
        """How many files of two sweeps' jobs are the same bytes."""
        ours, theirs = (self.folder / "runs" / sweep for sweep in (name, other))
        files = [f"{job}/{file}" for job in range(JOBS) for file in COMPARED]
        there = [file for file in files if (ours / file).exists() or (theirs / file).exists()]
        equal = sum(
            (ours / file).exists()
            and (theirs / file).exists()
            and (ours / file).read_bytes() == (theirs / file).read_bytes()
            for file in there
        )
        return f"{equal} of {len(there)} files the same bytes as in the whole sweep"


def whole(place: Place) -> Iterator[str]:
    """The sweep in one process, features computed before, so that the others compare with it."""
    place.run("warm", "experiment=head", "seed=1")
    yield f"{place.run('whole', *SWEEP):.1f} s for {JOBS} jobs"
    text = (place.folder / "whole.txt").read_text()
    yield "\n" + text[text.index("\nlr  ") + 1 :]


def killed(place: Place) -> Iterator[str]:
    """Killed half-way and resumed."""
    process = place.start("killed", *SWEEP)
    place.wait_for(process, "killed", JOBS // 2)
    time.sleep(1)  # into the next job
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = place.ended("killed")
    seconds = place.run("killed", *SWEEP)
    after = place.ended("killed")
    again = sum(after[job] != when for job, when in before.items())
    yield (
        f"killed with {len(before)} jobs done, resumed in {seconds:.1f} s; {again} of them run "
        f"again, {len(after)} done in all; {place.equal('killed', 'whole')}"
    )


def joblib(place: Place) -> Iterator[str]:
    """In a process a core; in turn with one process, since the machine's speed varies."""
    alone, several = [], []
    for turn in ("a", "b"):
        several.append(place.run(f"joblib_{turn}", *SWEEP, "sweep=joblib"))
        alone.append(place.run(f"grid_{turn}", *SWEEP))
        yield (
            f"one process {alone[-1]:.1f} s, joblib {several[-1]:.1f} s "
            f"({alone[-1] / several[-1]:.2f} times); {place.equal(f'joblib_{turn}', 'whole')}"
        )


def submitit(place: Place) -> Iterator[str]:
    """As submitit's jobs on this machine."""
    local = ("hydra/launcher=submitit_local", "hydra.sweeper.max_batch_size=2")
    seconds = place.run("submitit", *SWEEP, *local)
    yield f"{seconds:.1f} s; {place.equal('submitit', 'whole')}"


def optuna(place: Place) -> Iterator[str]:
    """A search of 20 trials that was ended after 8."""
    search = ("experiment=head", "sweep=optuna", "optimizer.lr=interval(1e-5,1e-1)")
    place.run("optuna", *search, "sweep.trials=8")
    before = place.ended("optuna")
    place.run("optuna", *search, "sweep.trials=20")
    after = place.ended("optuna")
    rates = {tuple(job["overrides"]) for job in place.jobs("optuna")}
    again = sum(after[job] != when for job, when in before.items())
    yield (
        f"{len(before)} trials, resumed to {len(after)}: {again} run again, "
        f"{len(rates)} different rates"
    )


def memory(place: Place) -> Iterator[str]:
    """One process through a hundred jobs."""
    seeds = ",".join(map(str, range(100)))
    process = place.start("memory", "experiment=head", f"seed={seeds}", "report=false")
    for count in (10, 100):
        place.wait_for(process, "memory", count)
        yield f"{memory_mib(process.pid):.0f} MiB after {count} jobs"
    process.wait()


def memory_mib(pid: int) -> float:
    """What a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


PARTS = {part.__name__: part for part in (whole, killed, joblib, submitit, optuna, memory)}


def main() -> None:
    """Run the parts, print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, whole first")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "sweeping")
    options = parser.parse_args()
    place = Place(options.out.absolute())
    if (place.folder / "runs").exists():
        parser.error(f"{place.folder} holds sweeps of an earlier time: remove it or name another.")
    place.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only.split(","):
        for found in PARTS[name](place):
            print(f"{name:<8} {found}", flush=True)


if __name__ == "__main__":
    main()
