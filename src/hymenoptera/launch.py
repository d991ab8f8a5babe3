"""From the command line to `training.train`: Hydra around it, and errors that a user can act on.

Nothing here imports torch or Lightning before a valid config exists: `--help`, `--cfg job` and
every refused config answer as fast as Hydra alone does.
"""

import gc
import inspect
import io
import logging
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from hymenoptera import config
from hymenoptera.errors import HymenopteraError, RequestError, RunError, nearest
from hymenoptera.help_page import help_page
from hymenoptera.ranks.follow import begin_to_follow, follow
from hymenoptera.ranks.layout import Layout, launched, place, wanted
from hymenoptera.ranks.workers import count_here, start_and_wait

if TYPE_CHECKING:
    from hymenoptera.ranks.team import Team

log = logging.getLogger(__name__)

STARTED = time.monotonic()
INTERRUPTED = 130  # the shell's status for Ctrl-C
FULL_ERROR = "HYDRA_FULL_ERROR"
SHOW_TRACEBACKS = os.environ.get(FULL_ERROR, "0") != "0"
ARGUMENTS = sys.argv[1:]  # as they were given
OPTIONS = (  # Hydra's own, by their long names
    *("--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--info"),
    *("--multirun", "--shell-completion", "--config-path", "--config-name", "--config-dir"),
    "--experimental-rerun",
)


def launch(main: Callable[[], None]) -> NoReturn:
    """Run a function that `hydra.main` made, and end the process with an honest exit status.

    The status is 0, or 1 for a run that failed, 2 for a bad request, 130 after Ctrl-C. With
    HYDRA_FULL_ERROR=1 errors keep their tracebacks.
    """
    global ARGUMENTS
    ARGUMENTS = sys.argv[1:]
    signal.signal(signal.SIGTERM, _stop)  # as Ctrl-C: what is half-made is removed on the way out
    threading.excepthook = _note  # TensorBoard's writer fails in a thread, then in the run too
    logging.raiseExceptions = False  # a train.log that cannot be written ends nothing
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # LANG=C has no ±
            stream.reconfigure(errors="replace")
    found = launched(os.environ)
    if found is not None:
        # torch warns of looking for parameters without a gradient in an epoch that has none
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if found is not None and found.rank > 0:
        begin_to_follow(ARGUMENTS, SHOW_TRACEBACKS)
    os.environ[FULL_ERROR] = "1"  # has Hydra raise its errors, to be put in our words below
    try:
        if sys.argv[1:] in (["--help"], ["-h"]):  # with more, Hydra prints the same, more slowly
            print(help_page(Path(inspect.unwrap(main).__code__.co_filename).parent / "conf"))  # noqa: T201
            sys.exit(0)
        _check_options(sys.argv[1:])
        sys.argv[1:] = _continue_run([_expand_home(a) for a in sys.argv[1:]])
        main()
    except Exception as error:
        if SHOW_TRACEBACKS or not is_request(error):
            raise
        _end_with(_translate(error))
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)
    sys.exit(0)


def is_request(error: Exception) -> bool:
    """Whether an error is of what was asked for, and not of the code."""
    if isinstance(error, (HymenopteraError, HydraException, OmegaConfBaseException, OSError)):
        return True
    # Hydra raises ValueError and others
    frame = list(traceback.walk_tb(error.__traceback__))[-1][0]
    return not {"hydra", "omegaconf"}.isdisjoint(Path(frame.f_code.co_filename).parts)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _note(failure: threading.ExceptHookArgs) -> None:
    log.debug("A thread failed: %r", failure.exc_value)


def run(cfg: DictConfig) -> None:
    """Train as the config says; called by Hydra once a job.

    A refused job leaves no run folder behind. In a sweep, a job that fails is recorded and the
    others go on; otherwise the process ends with the failure's exit status.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    alone = hydra.mode == RunMode.RUN
    began = STARTED if alone else time.monotonic()
    overrides = list(hydra.overrides.task)
    team: Team | None = None
    status = 1
    try:
        checked = config.check(cfg)
        del checked["sweep"]  # says how jobs are run, not what one is
        layout = place(checked["trainer"], os.environ) if alone else Layout()
        gc.disable()  # collecting while nothing but imports is allocated: a seventh of their time
        if cfg.find_lr is None:
            from hymenoptera.training import train

            work: Callable[..., int] = train
        else:
            from hymenoptera.finding import find_learning_rate

            work = find_learning_rate
        gc.enable()
        if layout.world_size > 1:
            from hymenoptera.ranks.meeting import gather

            team = gather(layout)
            team.tell({"config": checked, "folder": str(folder), "overrides": overrides})
            work = partial(work, team=team)
        status = work(checked, folder, overrides, began)
    except KeyboardInterrupt:
        status = INTERRUPTED
        _leave_nothing(folder)
        raise
    except Exception as error:
        if isinstance(error, OSError):
            error = _disk_error(error, folder)
        if alone and isinstance(error, RequestError):
            _leave_nothing(folder)
        if SHOW_TRACEBACKS or (alone and not isinstance(error, HymenopteraError)):
            raise
        if alone:
            assert isinstance(error, HymenopteraError)
            status = error.exit_status
            _end_with(error)
        status = 1
        log.error("%s", error)
        log.debug("The job failed.", exc_info=error)
        if not isinstance(error, RunError):  # whose record is there already
            from hymenoptera.results.records import in_one_line, write_failure

            with suppress(OSError):  # of a disk that is full
                write_failure(folder, in_one_line(error), overrides)
    finally:
        if team is not None:
            team.end(status)
    if status == INTERRUPTED or (status and alone):
        sys.exit(status)


def _disk_error(error: OSError, folder: Path) -> HymenopteraError:
    """A file or folder that cannot be read or written, in words."""
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if not folder.exists():  # Hydra had made it
        return RunError(f"The run failed: {what}. Its folder {folder} is gone.")
    if not (folder / "checkpoints").exists():
        return RequestError(f"{what}.")
    if not (folder / "checkpoints" / "last.ckpt").is_file():
        return RunError(f"The run failed: {what}.")
    return RunError(
        f"The run failed: {what}.\nWhen that is mended, it goes on with: "
        f"python train.py resume={folder}"
    )


class Preflight(Callback):
    """Checks a run's config before its folder exists; a sweep checks those of its jobs itself."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a bad config before Hydra makes the run folder."""
        for override in config.hydra.overrides.task:
            if override.lstrip("+").partition("=")[0].split(".")[0] == "sweep":
                _end_with(RequestError(f"{override}: that is for a sweep, which -m begins."))
        try:
            _prepare(without_hydra(config))
        except RequestError as error:
            _end_with(error)


def _prepare(cfg: DictConfig) -> None:
    """Check a config, and start the processes that it wants, unless somebody else has.

    It does not return in those that do not lead: all find out by themselves that a request is bad,
    and process 0 alone says so.
    """
    found = launched(os.environ)
    follows = found is not None and found.rank > 0
    trainer = config.check(cfg, files=not follows)["trainer"]
    if found is not None:
        place(trainer, os.environ)
        if follows:
            follow(found, SHOW_TRACEBACKS)
        return
    count, nodes = count_here(trainer, os.environ), wanted(trainer)[1] or 1
    if count * nodes > 1:
        environ = {**os.environ, FULL_ERROR: str(int(SHOW_TRACEBACKS))}
        start_and_wait(count, nodes, ARGUMENTS, environ)


def _end_with(error: HymenopteraError) -> NoReturn:
    # Hydra turns an Exception of a callback into a warning; SystemExit goes through
    print(error, file=sys.stderr)  # noqa: T201
    sys.exit(error.exit_status)


def without_hydra(cfg: DictConfig) -> DictConfig:
    """A composed config as it is checked: less Hydra's node, with a place for what a run leaves."""
    job = cfg.copy()
    OmegaConf.set_readonly(job, False)
    with open_dict(job):
        hydra = job.pop("hydra")
        # interpolations of the run folder are resolved when there is one
        for key in ("callbacks", "logger"):
            for node in job.get(key, {}).values():
                for name in ("dirpath", "save_dir"):
                    if node and name in node:
                        node[name] = str(hydra.run.dir)
    return job


def _leave_nothing(folder: Path) -> None:
    """Remove a run folder in which no training has begun, and its parent where that is empty."""
    if (folder / "checkpoints").exists() or (folder / "summary.json").exists():
        return
    logging.shutdown()  # closes train.log
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent != Path.cwd() and folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _check_options(arguments: list[str]) -> None:
    for argument in arguments:
        name = argument.split("=")[0]
        if name.startswith("--") and not any(option.startswith(name) for option in OPTIONS):
            raise RequestError(f"{argument}: there is no such option. {nearest(name, OPTIONS)}")


def _expand_home(argument: str) -> str:
    """KEY=~/PATH with the home folder in place: shells leave it, and Hydra cannot read it."""
    key, sign, value = argument.partition("=")
    return f"{key}={Path(value).expanduser()}" if sign and value.startswith("~/") else argument


def _continue_run(arguments: list[str]) -> list[str]:
    """With resume=RUN, put that run's own overrides and folder in front of the given ones."""
    given = [a.removeprefix("resume=") for a in arguments if a.startswith("resume=")]
    if not given or given[-1] in ("null", ""):
        return arguments
    path = Path(given[-1]).expanduser()
    if not path.exists():
        raise RequestError(
            f"resume={given[-1]}: there is no such run folder or checkpoint. "
            f"It takes one of the folders below runs/, or a .ckpt file in one."
        )
    folder = path if path.is_dir() else path.parent.parent
    overrides = folder / ".hydra" / "overrides.yaml"
    if path.is_dir() and not overrides.is_file():
        raise RequestError(f"resume={given[-1]}: that is not a run folder, it has no .hydra/.")
    if not overrides.is_file():
        return arguments  # a checkpoint that was moved out of its run folder starts a new one
    checkpoint = path if path.is_file() else folder / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        raise RequestError(
            f"resume={given[-1]}: {checkpoint} does not exist, the run ended before its first "
            f"epoch did. Start it again instead."
        )
    kept = [
        override
        for override in OmegaConf.to_object(OmegaConf.load(overrides))  # type: ignore[union-attr]
        if not str(override).startswith("resume=")
    ]
    for override in map(str, kept):  # Hydra's own keys and options could have it run anything
        if override.lstrip("+~").startswith(("hydra", "-")):
            raise RequestError(
                f"resume={given[-1]}: {overrides} holds {override}, which no run writes there. "
                f"Resume folders only that you trust."
            )
    # the run keeps the overrides it was begun with: what is given now may yet be refused
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return [*map(str, kept), *arguments, f"hydra.run.dir='{quoted}'", "hydra.output_subdir=null"]


def _translate(error: Exception) -> HymenopteraError:
    """Put an error of Hydra or OmegaConf into one to three lines, with the nearest valid words."""
    if isinstance(error, HymenopteraError):
        return error
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        hint = nearest(option, error.options or ())
        return RequestError(f"{group}={option}: there is no such option of {group}. {hint}")
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None:
        root = cause.parent_node._get_root()
        full_key = cause.full_key or str(cause.key)
        return RequestError(f"{full_key}: there is no such key. {_nearest_key(full_key, root)}")
    if isinstance(error, OverrideParseException):
        return RequestError(
            f"{error.override}: this cannot be read as KEY=VALUE. Quote values with spaces or "
            f"signs: 'key=\"a value\"'."
        )
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return RequestError(f"{where}{error.strerror or error}. Nothing was written there.")
    lines = [line for line in str(error).splitlines() if line.strip()]
    return RequestError("\n".join(lines[:3]))


def _nearest_key(key: str, root: Any) -> str:
    """Nearest valid keys: by the whole name, or by the last part of it."""
    container: dict[str, Any] = OmegaConf.to_container(root, resolve=False)  # type: ignore[assignment]
    container.pop("hydra", None)
    leaves = [k for k in config.flatten(container) if "_target_" not in k]
    groups = [k for k, value in container.items() if isinstance(value, dict)]
    last = key.rpartition(".")[2]
    same = [k for k in leaves if k.rpartition(".")[2] == last]
    if same:
        return f"Did you mean {' or '.join(same[:3])}?"
    parts = {k.rpartition(".")[2]: k for k in leaves}
    hint = nearest(key, [*leaves, *groups])
    if hint.startswith("Valid"):
        by_part = nearest(last, parts)
        hint = by_part if by_part.startswith("Did") else nearest(key, groups)
    return hint
