"""What each callback costs a run, all of them on, and what report.html does.

    python benchmarks/callbacks.py [--repeats 3] [OVERRIDE ...]     experiment=head unless given

Each repeat is a process that runs train.py as it stands, with a clock around every hook of every
callback of conf/callbacks/ and around the report. The share is of the whole process less all that
is on the clock; medians over the repeats.
"""

import argparse
import json
import os
import runpy
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from command import TRAIN_PY, must_run

ROOT = Path(__file__).parent.parent
TRACE = "HYMENOPTERA_CALLBACKS_TRACE"  # names the file that the traced process writes
CONF = ROOT / "conf" / "callbacks" / "default.yaml"
REPORT = "report.html"
LEFT_OFF = ("early_stopping",)  # changes the run


def trace(path: Path) -> None:
    """Run train.py with clocks in it."""
    sys.path.append(str(ROOT / "benchmarks" / "contenders"))
    from reporting import seconds_since_start

    from hymenoptera import training

    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def clocked(*arguments: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments, **more)
            finally:
                spent[name] += time.perf_counter() - began

        return clocked

    build_named = training.build_named

    def build_timed(nodes: Any) -> dict[str, Any]:
        built = build_named(nodes)
        for name, callback in built.items():
            for hook in dir(callback):
                if hook.startswith("on_"):
                    setattr(callback, hook, timed(name, getattr(callback, hook)))
        return built

    training.build_named = build_timed
    training.write_report = timed(REPORT, training.write_report)
    try:
        runpy.run_path(TRAIN_PY, run_name="__main__")
    finally:
        spent.pop("tensorboard", None)  # a logger
        path.write_text(json.dumps({"whole_s": seconds_since_start(), "spent_s": spent}))


def traced(overrides: list[str]) -> tuple[float, dict[str, float]]:
    """Seconds of the whole process, and those spent in each callback."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        must_run([__file__, f"hydra.run.dir={folder}/run", *overrides], **{TRACE: str(path)})
        found = json.loads(path.read_text())
    return found["whole_s"], found["spent_s"]


def main() -> None:
    """Trace, print, write every figure as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    options, overrides = parser.parse_known_args()
    overrides = overrides or ["experiment=head"]
    from omegaconf import OmegaConf

    names = [str(name) for name in OmegaConf.load(CONF) if name not in LEFT_OFF]
    switches = [f"callbacks.{name}.enabled=true" for name in names if "checkpoint" not in name]
    runs = [traced([*switches, *overrides]) for _ in range(options.repeats)]
    rest_s = statistics.median(whole_s - sum(spent.values()) for whole_s, spent in runs)
    print(f"train.py {' '.join(overrides)}: {rest_s:.2f} s without what is below")
    medians = {
        name: statistics.median(spent.get(name, 0.0) for _, spent in runs) for name in runs[0][1]
    }
    for name, seconds in sorted(medians.items(), key=lambda item: -item[1]):
        print(f"{name:<20} {seconds:7.3f} s {100 * seconds / rest_s:6.2f} %")
    record = ROOT / "benchmarks" / "callbacks.json"
    record.write_text(json.dumps({"overrides": overrides, "runs": runs}, indent=2) + "\n")
    print(f"medians of {len(runs)}; every figure is in {record.relative_to(ROOT)}")


if __name__ == "__main__":
    if TRACE in os.environ:
        trace(Path(os.environ[TRACE]))
    else:
        main()
