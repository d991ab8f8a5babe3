"""What the command line asks of a sweep: which keys, which values, and which jobs they make."""

import hashlib
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig

from hymenoptera import config as configs
from hymenoptera.errors import RequestError
from hymenoptera.ranks.layout import may_share
from hymenoptera.results.sweeps import REPEATED

IRRELEVANT = (
    *("sweep", "resume", "message", "logger", "report", "data.num_workers"),
    # a job of a sweep is a single process
    *("trainer.num_nodes", "trainer.strategy", "trainer.sync_batchnorm", "trainer.scale_lr"),
)
"""Keys that change nothing about a job's result."""

Compose = Callable[[list[str]], DictConfig]
"""From a job's overrides to its config, with Hydra's own node."""


@dataclass(frozen=True)
class Interval:
    """A range of numbers to search, both ends in it.

    Attributes:
        low: the lower end.
        high: the upper end.
        log: whether to search its logarithm.
        whole: whether only whole numbers are tried.
    """

    low: float
    high: float
    log: bool
    whole: bool


@dataclass(frozen=True)
class Request:
    """A command line, taken apart.

    Attributes:
        fixed: overrides that all jobs have.
        values: of each swept key, in the order given.
        intervals: of each key that has one.
    """

    fixed: list[str]
    values: dict[str, list[str]]
    intervals: dict[str, Interval]

    @property
    def swept(self) -> list[str]:
        """Keys that have several values."""
        return [key.lstrip("+") for key in (*self.values, *self.intervals)]

    def combinations(self) -> list[list[str]]:
        """The overrides of every job of a grid."""
        swept = [[f"{key}={value}" for value in values] for key, values in self.values.items()]
        return [[*self.fixed, *combination] for combination in itertools.product(*swept)]

    def ends(self) -> list[list[str]]:
        """Overrides with each interval's ends and each value, enough to check them all."""
        choices = dict(self.values)
        for key, interval in self.intervals.items():
            choices[key] = [shown(interval.low, interval), shown(interval.high, interval)]
        first = {key: values[0] for key, values in choices.items()}
        return [
            [*self.fixed, *(f"{k}={v}" for k, v in {**first, key: value}.items())]
            for key, values in choices.items()
            for value in values
        ]


def read_request(arguments: list[str], search: str, loader: ConfigLoader | None = None) -> Request:
    """Take a command line apart; the sweep's own keys are left out.

    Args:
        arguments: overrides.
        search: grid or optuna.
        loader: Hydra's, which knows what GROUP=glob(*) stands for.

    Raises:
        RequestError: a key has no value, or what is asked for is not of this kind of search.
    """
    fixed: list[str] = []
    values: dict[str, list[str]] = {}
    intervals: dict[str, Interval] = {}
    for override in OverridesParser.create(loader).parse_overrides(arguments):
        key = override.get_key_element()
        if key.lstrip("+~").split(".")[0] == "sweep":
            continue
        if not override.is_sweep_override():
            fixed.append(str(override.input_line))
        elif override.is_interval_sweep():
            intervals[key] = _interval(override)
        else:
            values[key] = list(dict.fromkeys(override.sweep_string_iterator()))
            if not values[key]:
                raise RequestError(f"{override.input_line} has no values: there is nothing to run.")
    if intervals and search == "grid":
        raise RequestError(
            f"{next(iter(intervals))}: a grid needs values, such as 1e-4,1e-3. A range is searched "
            f"with sweep=optuna."
        )
    if search == "optuna":
        for key in REPEATED:
            if key in values:
                raise RequestError(
                    f"{key} is a repeat, not a setting to search: give it one value with "
                    f"sweep=optuna, and repeat the best with a grid."
                )
        if not values and not intervals:
            raise RequestError(
                "sweep=optuna needs something to search, such as "
                "'optimizer.lr=interval(1e-5,1e-1)' or optimizer=adam,sgd."
            )
    return Request(fixed, values, intervals)


def checked(composed: DictConfig) -> dict[str, Any]:
    """Check a job's config, as it is composed; give it without Hydra's node.

    Raises:
        RequestError: as of `config.check`, or it cannot run in a sweep.
    """
    config = configs.check(configs.without_hydra(composed))
    if config["resume"] is not None:
        raise RequestError("resume goes on with one run: it cannot be swept with -m.")
    if may_share(config["trainer"], os.environ):
        raise RequestError(
            "A run on several devices starts this command once a device, -m with it: each would "
            "run the whole sweep.\nTake several jobs at a time on a device each (sweep=joblib), or "
            "call train.py once a setting and leave out -m."
        )
    return config


def comparable(config: dict[str, Any]) -> dict[str, Any]:
    """Leaves of a config that its results may depend on, by dotted key."""
    leaves = configs.flatten(config)
    return {
        key: value
        for key, value in leaves.items()
        if not _below(key, IRRELEVANT) and not key.endswith(".dirpath")
    }


def identity(config: dict[str, Any]) -> str:
    """What makes two jobs the same: the hash of all that their results may depend on."""
    text = json.dumps(comparable(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def difference(old: dict[str, Any], new: dict[str, Any], swept: list[str]) -> str | None:
    """Say in what two comparable configs differ apart from swept keys; None for nothing."""
    if "seed" in swept:
        swept = [*swept, "data.seed"]  # follows it
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key) and not _below(key, swept):
            return f"{key} is {old.get(key)} there and {new.get(key)} here"
    return None


def shown(value: float, interval: Interval) -> str:
    """A number of an interval, as an override has it: four digits say all that can be told."""
    return str(round(value)) if interval.whole else repr(float(f"{value:.4g}"))


def _below(key: str, roots: list[str] | tuple[str, ...]) -> bool:
    return "experiment" in roots or any(key == r or key.startswith(f"{r}.") for r in roots)


def _interval(override: Override) -> Interval:
    sweep = override.value()
    assert isinstance(sweep, IntervalSweep)
    if sweep.start is None or sweep.end is None or not sweep.start < sweep.end:
        raise RequestError(f"{override.input_line}: a range goes from a number to a larger one.")
    low, high = float(sweep.start), float(sweep.end)
    whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
    log = "log" in sweep.tags or (low > 0 and high / low >= 100)
    return Interval(low, high, log, whole)
