"""From the start of the process to the first training step of train.py, and what it is made of.

    python benchmarks/startup.py [OVERRIDE ...]     experiment=article unless overrides are given

One process runs train.py as it stands with clocks between its parts, and ends itself after the
first step. Another only imports what a training run imports, under -X importtime, which says by
package where that time goes, and which import brings a package in.
"""

import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from command import TRAIN_PY, must_run

ROOT = Path(__file__).parent.parent
TRACE = "HYMENOPTERA_STARTUP_TRACE"  # names the file that the traced process writes
IMPORTED = "import hymenoptera.launch, hymenoptera.training"
LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| (\s*)(\S+)")
LAST = "the first step"
SHOWN = 12


class Clock:
    """Writes down when each part was over, and ends the process after the last.

    Args:
        path: of the JSON file.
    """

    def __init__(self, path: Path) -> None:
        sys.path.append(str(Path(__file__).parent / "contenders"))
        from reporting import seconds_since_start

        self._now = seconds_since_start
        self._path = path
        self._marks: dict[str, float] = {}

    def mark(self, label: str) -> None:
        """The part is over now; the first time counts."""
        self._marks.setdefault(label, self._now())
        if label == LAST:  # nothing after the first step matters here
            self._path.write_text(json.dumps(self._marks))
            os._exit(0)

    def before(self, owner: Any, name: str, label: str) -> None:
        """Mark a part when something is called."""
        original = getattr(owner, name)

        def marked(*arguments: Any, **more: Any) -> Any:
            self.mark(label)
            return original(*arguments, **more)

        setattr(owner, name, marked)

    def after(self, owner: Any, name: str, label: str) -> None:
        """Mark a part when a call has returned."""
        original = getattr(owner, name)

        def marked(*arguments: Any, **more: Any) -> Any:
            given = original(*arguments, **more)
            self.mark(label)
            return given

        setattr(owner, name, marked)


def trace(path: Path) -> None:
    """Run train.py with clocks in it."""
    clock = Clock(path)
    clock.mark("Python starts")
    from hymenoptera import launch

    clock.mark("import of Hydra")
    run = launch.run

    def run_with_clocks(cfg: Any) -> None:
        clock.mark("the config is composed and checked")
        import torch  # noqa: F401

        clock.mark("import of torch")
        import pytorch_lightning as pl

        clock.mark("import of Lightning")
        from hymenoptera import training  # noqa: F401
        from hymenoptera.data.base import PictureDataModule
        from hymenoptera.models import backbone
        from hymenoptera.models.module import ClassifierModule

        clock.mark("import of the rest")
        clock.after(PictureDataModule, "setup", "pictures are found and checked")
        clock.after(backbone, "build_backbone", "the network is built, its weights are loaded")
        clock.before(pl.Trainer, "fit", "manifest, features where they are kept, Trainer")
        clock.before(ClassifierModule, "on_train_batch_start", "the first batch is read")
        clock.after(ClassifierModule, "on_train_batch_end", LAST)
        run(cfg)

    launch.run = run_with_clocks
    runpy.run_path(TRAIN_PY, run_name="__main__")


def traced(overrides: list[str]) -> dict[str, float]:
    """The seconds that each part took, in order."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        must_run([__file__, *overrides, f"hydra.run.dir={folder}/run"], **{TRACE: str(path)})
        ends = json.loads(path.read_text())
    parts, last = {}, 0.0
    for label, end in ends.items():
        parts[label], last = end - last, end
    return parts


def imports() -> tuple[dict[str, float], list[tuple[str, float]]]:
    """Where the time of the imports goes.

    Returns:
        Seconds by top-level package, without what each imports in turn; and for every import
        that crosses from one package into another, "importer -> imported" with all it brings.
    """
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", IMPORTED], capture_output=True, text=True
    )
    own: dict[str, float] = defaultdict(float)
    crossings: list[tuple[str, float]] = []
    above: list[tuple[int, str]] = []  # depth and name of what is being imported
    for line in reversed(done.stderr.splitlines()):  # a module comes after what it imports
        found = LINE.match(line)
        if found is None:
            continue
        self_us, total_us, name = int(found[1]), int(found[2]), found[4]
        depth = len(found[3])
        own[name.partition(".")[0]] += self_us / 1e6
        while above and above[-1][0] >= depth:
            above.pop()
        importer = above[-1][1] if above else "train.py"
        if importer.partition(".")[0] != name.partition(".")[0]:
            crossings.append((f"{importer} -> {name}", total_us / 1e6))
        above.append((depth, name))
    ranked = dict(sorted(own.items(), key=lambda item: -item[1]))
    return ranked, sorted(crossings, key=lambda crossing: -crossing[1])


def show(heading: str, rows: list[tuple[str, float]]) -> None:
    """Print seconds and what took them."""
    print(f"\n{heading}")
    for label, seconds in rows:
        print(f"{seconds:7.2f} s  {label}")


def main() -> None:
    """Trace, import, print, write every figure as JSON."""
    overrides = sys.argv[1:] or ["experiment=article"]
    parts = traced(overrides)
    packages, crossings = imports()
    show(f"to the first step of train.py {' '.join(overrides)}", list(parts.items()))
    print(f"{sum(parts.values()):7.2f} s  in all")
    show("imports, by package", list(packages.items())[:SHOWN])
    show("imports that bring another package in, with all it brings", crossings[:SHOWN])
    record = ROOT / "benchmarks" / "startup.json"
    found = {"overrides": overrides, "parts_s": parts, "packages_s": packages}
    record.write_text(json.dumps({**found, "crossings_s": crossings}, indent=2) + "\n")
    print(f"\nevery figure is in {record.relative_to(ROOT)}")


if __name__ == "__main__":
    if TRACE in os.environ:
        trace(Path(os.environ[TRACE]))
    else:
        main()
