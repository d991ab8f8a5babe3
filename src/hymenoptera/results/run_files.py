"""What a run left in its folder, read."""

import csv
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hymenoptera.results.metrics import Judgement
from hymenoptera.results.records import read_epochs, read_summary
from hymenoptera.results.runs import UNFINISHED

HEAT = Path("pictures") / "grad_cam"  # where a run keeps its heat maps, below its folder


@dataclass(frozen=True)
class RunFiles:
    """What a run left, read.

    Attributes:
        folder: the run's.
        record: summary.json; of a run that was killed, its status alone.
        epochs: rows of metrics.csv, as numbers.
        judgement: predictions.csv, if there is one.
        config: the composed config as YAML.
    """

    folder: Path
    record: dict[str, Any]
    epochs: list[dict[str, float]]
    judgement: Judgement | None
    config: str

    def picture(self, path: str) -> Path:
        """A validation picture's file."""
        return Path(self.record.get("data", {}).get("root", "")) / path

    def heat(self, path: str) -> Path:
        """Where the heat map of a validation picture is, if there is one."""
        return heat_file(self.folder, path)


def heat_file(folder: Path, path: str) -> Path:
    """The file of a heat map: (run folder, the picture's path relative to the data set)."""
    return folder / HEAT / f"{path}.jpg"


def read_run(folder: Path) -> RunFiles:
    """Read what a run left, as far as it got."""
    config = folder / ".hydra" / "config.yaml"
    return RunFiles(
        folder,
        read_summary(folder) or {"status": UNFINISHED},
        read_epochs(folder),
        read_predictions(folder),
        config.read_text(encoding="utf-8") if config.is_file() else "",
    )


def read_predictions(folder: Path) -> Judgement | None:
    """Read a run's predictions.csv; None where there is none."""
    path = folder / "predictions.csv"
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    classes = header[3:]
    return Judgement(
        classes,
        np.array([classes.index(row[1]) for row in rows]),
        np.array([[float(cell) for cell in row[3:]] for row in rows]),
        [row[0] for row in rows],
    )


def command_line(record: dict[str, Any]) -> str:
    """The command that began a run, as it can be typed again."""
    overrides = " ".join(shlex.quote(override) for override in record.get("overrides", []))
    return f"python train.py {overrides}".strip()
