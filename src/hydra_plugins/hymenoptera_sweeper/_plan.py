"""From a command line to jobs: which keys have which values, and which jobs they make."""

import hashlib
import itertools
import json
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hymenoptera.config.launched import typed
from hymenoptera.config.resume import quoted
from hymenoptera.config.schema import is_below, leaves
from hymenoptera.config.validation import check
from hymenoptera.errors import ConfigError
from hymenoptera.reports.jobs import FILE, Job, Manifest, read_manifest
from hymenoptera.reports.sweep import REPEATED

NO_RESULT_DEPENDS_ON = (
    *("sweep", "resume", "message", "logger", "report", "trainer.default_root_dir"),
    *("data.num_workers", "data.cache_folder", "transfer.cache_folder"),
)
REFERENCE = re.compile(r"\$\{[^:{}]+\}")  # a value that repeats another key's
OWN_FILES = (".running.lock", ".jobs", "multirun.yaml")  # may be there before the manifest


@dataclass(frozen=True)
class Interval:
    """A range to search, with both ends."""

    low: Any  # a float, or an int where only whole numbers are meant
    high: Any
    log: bool

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def shown(self, value: float) -> str:
        """A number in it as an override has it, with four digits."""
        return str(round(value)) if self.whole else repr(float(f"{value:.4g}"))


@dataclass(frozen=True)
class Space:
    """What a command line sweeps over: several values, or an interval, of a key."""

    fixed: list[str]  # overrides that all jobs have
    swept: dict[str, list[str] | Interval]
    choice: list[str]  # sweep=NAME, which may choose a launcher and says nothing about a job

    @property
    def keys(self) -> list[str]:
        """The keys that have several values."""
        return [key.lstrip("+") for key in self.swept]

    def combinations(self) -> list[list[str]]:
        """The overrides of every job of a grid."""
        swept = [[f"{k}={v}" for v in values] for k, values in self._values().items()]
        return [[*self.fixed, *combination] for combination in itertools.product(*swept)]

    def corners(self) -> list[list[str]]:
        """Overrides with each interval's ends and each value: enough to check them all."""
        choices = self._values()
        first = {key: values[0] for key, values in choices.items()}
        corners = ({**first, key: value} for key, values in choices.items() for value in values)
        return [[*self.fixed, *(f"{k}={v}" for k, v in corner.items())] for corner in corners]

    def _values(self) -> dict[str, list[str]]:
        return {
            key: [one.shown(one.low), one.shown(one.high)] if isinstance(one, Interval) else one
            for key, one in self.swept.items()
        }


def read_space(arguments: list[str], search: str, loader: ConfigLoader | None = None) -> Space:
    """Take a command line apart; values of the sweep's own node are left out."""
    space = Space([], {}, [])
    for override in OverridesParser.create(loader).parse_overrides(arguments):
        key, text = override.get_key_element(), str(override.input_line)
        node = key.lstrip("+~").split(".")[0]
        if not override.is_sweep_override():
            if node != "sweep":
                space.fixed.append(text)
            elif key.lstrip("+") == "sweep":
                space.choice.append(text)
        elif node == "sweep":
            raise ConfigError(f"{text}: a sweep has one value of it.")
        elif override.is_interval_sweep() and search == "grid":
            raise ConfigError(f"{text}: a grid needs values; sweep=optuna searches a range.")
        elif search == "optuna" and key in REPEATED:
            raise ConfigError(f"{text}: a search has one value of it; repeat the best with a grid.")
        elif override.is_interval_sweep():
            space.swept[key] = _interval(override)
        else:
            space.swept[key] = values = list(dict.fromkeys(override.sweep_string_iterator()))
            if not values:
                raise ConfigError(f"{text} has no values: there is nothing to run.")
    if search == "optuna" and not space.swept:
        raise ConfigError(
            "sweep=optuna needs something to search, such as "
            "'optimizer.lr=interval(1e-5,1e-1)' or optimizer=adam,sgd."
        )
    return space


def _interval(override: Override) -> Interval:
    sweep = override.value()
    assert isinstance(sweep, IntervalSweep)
    if sweep.start is None or sweep.end is None or not sweep.start < sweep.end:
        raise ConfigError(f"{override.input_line}: a range goes from a number to a larger one.")
    low, high = sweep.start, sweep.end
    return Interval(low, high, "log" in sweep.tags or (low > 0 and high / low >= 100))


@dataclass
class Composer:
    """Composes the configs of a sweep's jobs; `choice` is its sweep=NAME."""

    config: DictConfig
    loader: ConfigLoader
    choice: list[str]

    def check(self, overrides: list[str]) -> dict[str, Any]:
        """Check a job's config; gives what its results may depend on, by dotted key.

        A key that repeats another one, such as ${seed}, is left out: the other one stands for it.
        """
        composed = self.loader.load_sweep_config(self.config, [*self.choice, *overrides])
        if OmegaConf.select(composed, "resume") is not None:
            raise ConfigError("resume=RUN is for one run; a sweep is resumed by its sweep.name.")
        with read_write(composed), open_dict(composed):
            composed.sweep = self.config.sweep
        config = check(composed)
        raw = leaves(OmegaConf.to_container(composed))  # type: ignore[arg-type]
        repeated = [key for key, value in raw.items() if REFERENCE.fullmatch(str(value))]
        return {
            key: value
            for key, value in leaves(config).items()
            if not is_below(key, [*NO_RESULT_DEPENDS_ON, *repeated])
            and not key.endswith((".dirpath", ".save_dir"))
        }

    def folder(self, overrides: list[str], number: int) -> str:
        """A job's run folder, relative to the sweep's, as hydra.sweep.subdir says."""
        if OmegaConf.to_container(self.config.hydra.sweep)["subdir"] == "${hydra.job.num}":  # type: ignore[call-overload,index]
            return str(number)  # the default: composing takes a tenth of a second
        composed = self.loader.load_sweep_config(self.config, [*self.choice, *overrides])
        with read_write(composed), open_dict(composed):
            composed.hydra.job.num, composed.hydra.job.id = number, str(number)
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(composed)  # ${hydra:...} looks there
        try:
            return str(composed.hydra.sweep.subdir)
        finally:
            HydraConfig.instance().cfg = before


def open_manifest(folder: Path, space: Space, search: str) -> Manifest:
    """The manifest of a sweep's folder, or a new one."""
    if not (folder / FILE).is_file():
        if any(path.name not in OWN_FILES for path in folder.iterdir()):
            raise ConfigError(f"{folder} holds something else. Choose another sweep.name.")
        return Manifest(folder, space.keys, search, _command(folder))
    manifest = read_manifest(folder, locked=True)
    if search != manifest.search:
        raise ConfigError(f"{folder} is searched by {manifest.search}: choose another sweep.name.")
    manifest.swept = list(dict.fromkeys([*manifest.swept, *space.keys]))
    manifest.command = _command(folder)
    return manifest


def add_job(manifest: Manifest, job: Job, composer: Composer) -> Job:
    """Add a job to the manifest, with a folder that nothing is in."""
    job.folder = composer.folder(job.overrides, job.number)
    place = manifest.folder_of(job).resolve()
    others = [manifest.folder_of(other).resolve() for other in manifest.jobs]
    if manifest.folder.resolve() not in place.parents or place in others:
        raise ConfigError(f"hydra.sweep.subdir={job.folder} is no folder of one job.")
    if place.exists():
        raise ConfigError(f"{place} is there already, and job {job.number} would go there.")
    manifest.jobs.append(job)
    return job


def identity(config: dict[str, Any]) -> str:
    """The hash of all that a job's results may depend on: equal for equal jobs."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _command(folder: Path) -> str:
    """The command line of this process, with what it takes to resume the sweep in a folder."""
    given = [typed(text) for text in sys.argv[1:] if not text.startswith("hydra.sweep.dir=")]
    if len(given) < len(sys.argv) - 1:
        given.append(f"hydra.sweep.dir={quoted(folder)}")  # it may have had the time in it
    elif not any(text.lstrip("+").startswith("sweep.name=") for text in given):
        given.append(f"sweep.name={folder.name}")
    return shlex.join(["python", sys.argv[0], *given])
