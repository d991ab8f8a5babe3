"""What a comparison found: a JSON record of every figure, and the table of their medians."""

import json
import os
import platform
import statistics
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lineup import GOAL, LOOP, OTHER_PYTHON, RIVAL, SWEPT_RATES

OWN_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy", "pillow")
OTHER_PACKAGES = ("torch", "torchvision", "fastai", "timm", "numpy", "pillow")


def machine(*, full: bool) -> dict[str, Any]:
    """Where and with what a comparison is made."""
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    question = (
        "import json; from importlib.metadata import version;"
        f"print(json.dumps({{p: version(p) for p in {OTHER_PACKAGES}}}))"
    )
    other = (
        json.loads(subprocess.check_output([OTHER_PYTHON, "-c", question]))
        if OTHER_PYTHON.is_file()
        else None
    )
    return {
        "full": full,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu[0] if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "load_at_start": os.getloadavg()[0],
        "system": platform.platform(),
        "threads": os.environ.get("OMP_NUM_THREADS", "as many as cores"),
        "python": platform.python_version(),
        "versions": {p: version(p) for p in OWN_PACKAGES},
        "versions_beside": other,
    }


class Record:
    """Written after every run, so that a comparison that is cut short keeps what it has.

    Args:
        path: of the JSON file.
        facts: of the machine.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self._path = path
        self.content: dict[str, Any] = {"machine": facts, "contenders": {}, "failures": []}

    def add(self, name: str, kind: str, figures: dict[str, Any]) -> None:
        """Keep a run's figures, and say what they are."""
        self.content["contenders"].setdefault(name, {}).setdefault(kind, []).append(figures)
        said = [
            text.format(figures[key])
            for key, text in (
                ("seconds_to_goal", f"{{:.1f}} s to {GOAL}"),
                ("best_accuracy", "best {:.3f}"),
                ("total_s", "{:.1f} s in all"),
                ("images_per_s", "{:.2f} images a second"),
            )
            if figures.get(key) is not None
        ]
        print(f"{datetime.now():%H:%M:%S}  {name:<18} {', '.join(said)}", flush=True)
        self._write()

    def fail(self, name: str, command: list[str], exit_status: int, complaint: str) -> None:
        """Keep what a run that failed said, and go on."""
        failure = {"name": name, "command": command, "exit_status": exit_status}
        self.content["failures"].append({**failure, "complaint": complaint})
        print(f"{name} failed with exit status {exit_status}: {complaint}", flush=True)
        self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".part")
        beside.write_text(json.dumps(self.content, indent=2) + "\n")
        beside.replace(self._path)


def print_table(content: dict[str, Any]) -> None:
    """Medians of every contender as a Markdown table, and their ratios."""
    contenders = content["contenders"]
    head = f"| contender | to {GOAL} | whole run | best | memory | images/s, all trained |"
    head += " the loop's 20 epochs take | fastai's way to there |"
    rows = [head, "|---" * 8 + "|"]
    loop_s = _median(contenders, LOOP, "runs", "total_s")
    rival_s = _median(contenders, RIVAL, "runs", "seconds_to_goal")
    for name, kinds in contenders.items():
        if not ({"runs", "throughput"} & set(kinds)):
            continue
        goal_s = _median(contenders, name, "runs", "seconds_to_goal")
        cells = [
            name,
            _goal(kinds.get("runs", []), goal_s),
            _say("{:.1f} s", _median(contenders, name, "runs", "total_s")),
            _accuracies(kinds.get("runs", [])),
            _say("{:.0f} MiB", _median(contenders, name, "runs", "peak_memory_mib")),
            _say("{:.2f}", _median(contenders, name, "throughput", "images_per_s")),
            _say("{:.1f} times as long", _ratio(loop_s, goal_s)),
            _say("{:.1f} times as long", _ratio(rival_s, goal_s)),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    if rows[2:]:
        print("\n" + "\n".join(rows) + "\n")
    loop = contenders.get(LOOP, {}).get("runs", [])
    if loop and "extrapolated_from" in loop[0]:
        part = loop[0]["extrapolated_from"]
        print(
            f"The {LOOP}'s whole run is extrapolated from one epoch of {part['train']} of 244 "
            f"images to train on and {part['val']} of 153 to validate."
        )
    swept_s = _median(contenders, "sweep of the head", "sweep", "total_s")
    if swept_s is not None:
        print(f"A sweep of {SWEPT_RATES} rates of the head, its features at hand: {swept_s:.1f} s.")


def _values(contenders: dict[str, Any], name: str, kind: str, key: str) -> list[float]:
    runs = contenders.get(name, {}).get(kind, [])
    return [run[key] for run in runs if run.get(key) is not None]


def _median(contenders: dict[str, Any], name: str, kind: str, key: str) -> float | None:
    values = _values(contenders, name, kind, key)
    return statistics.median(values) if values else None


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above and below else None


def _say(text: str, value: float | None) -> str:
    return "" if value is None else text.format(value)


def _goal(runs: list[dict[str, Any]], median_s: float | None) -> str:
    whole = [run for run in runs if "accuracies" in run]
    if not whole:
        return ""
    if median_s is None:
        return f"never in {len(whole[0]['accuracies'])} epochs"
    reached = sum(run["seconds_to_goal"] is not None for run in whole)
    return f"{median_s:.1f} s" + (f" ({reached} of {len(whole)})" if reached < len(whole) else "")


def _accuracies(runs: list[dict[str, Any]]) -> str:
    return ", ".join(f"{run['best_accuracy']:.3f}" for run in runs if "best_accuracy" in run)
