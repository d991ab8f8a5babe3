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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import yaml  # type: ignore[import-untyped]
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from hymenoptera.arguments import for_hydra
from hymenoptera.config import check, without_hydra
from hymenoptera.errors import HymenopteraError, RequestError, RunError, in_one_line
from hymenoptera.help_page import help_page
from hymenoptera.parent import STARTER, end_with_parent
from hymenoptera.ranks.follow import begin_to_follow, follow
from hymenoptera.ranks.layout import Layout, launched, place, wanted
from hymenoptera.ranks.workers import count_here, start_and_wait
from hymenoptera.wording import disk_error, in_words, is_request

if TYPE_CHECKING:
    from hymenoptera.ranks.team import Team

log = logging.getLogger(__name__)

STARTED = time.monotonic()
INTERRUPTED = 130  # the shell's status for Ctrl-C
FULL_ERROR = "HYDRA_FULL_ERROR"
SHOW_TRACEBACKS = os.environ.get(FULL_ERROR, "0") != "0"
ARGUMENTS: list[str] = []  # as they were given to `launch`


def launch(main: Callable[[], None]) -> NoReturn:
    """Run a function that `hydra.main` made, and end the process with an honest exit status.

    The status is 0, or 1 for a run that failed, 2 for a bad request, 130 after Ctrl-C. With
    HYDRA_FULL_ERROR=1 errors keep their tracebacks.
    """
    ARGUMENTS[:] = sys.argv[1:]
    signal.signal(signal.SIGTERM, _stop)  # as Ctrl-C: what is half-made is removed on the way out
    threading.excepthook = _note  # TensorBoard's writer fails in a thread, then in the run too
    logging.raiseExceptions = False  # a train.log that cannot be written ends nothing
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # LANG=C has no ±
            stream.reconfigure(errors="replace")
    if STARTER in os.environ:
        end_with_parent(int(os.environ.pop(STARTER)))
    found = launched(os.environ)
    if found is not None:
        # torch warns of looking for parameters without a gradient in an epoch that has none
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        if found.rank > 0:
            begin_to_follow(ARGUMENTS, SHOW_TRACEBACKS)
    os.environ[FULL_ERROR] = "1"  # has Hydra raise its errors, to be put in our words below
    # what OmegaConf derives its loader from: libyaml reads conf/ in a seventh of the time
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if ARGUMENTS in (["--help"], ["-h"]):  # with more, Hydra prints the same, more slowly
            print(help_page(Path(inspect.unwrap(main).__code__.co_filename).parent / "conf"))  # noqa: T201
            sys.exit(0)
        sys.argv[1:] = for_hydra(ARGUMENTS)
        main()
    except Exception as error:
        if SHOW_TRACEBACKS or not is_request(error):
            raise
        _end_with(in_words(error))
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)
    sys.exit(0)


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
        # Preflight sees neither what a search chooses nor the jobs of another sweeper, and the run
        # folder's path can be filled in only now; a second check of the others takes 9 ms
        checked = check(cfg)
        del checked["sweep"]  # says how jobs are run, not what one is
        layout = place(checked["trainer"], os.environ) if alone else Layout()
        with _without_collecting():
            if cfg.find_lr is None:
                from hymenoptera.training import train

                work: Callable[..., int] = train
            else:
                from hymenoptera.finding import find_learning_rate

                work = find_learning_rate
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
            error = disk_error(error, folder)
        if alone and isinstance(error, RequestError):
            _leave_nothing(folder)
        if SHOW_TRACEBACKS or (alone and not isinstance(error, HymenopteraError)):
            raise
        if not (alone and isinstance(error, RequestError)):
            _record_failure(folder, error, overrides)
        if isinstance(error, HymenopteraError):
            error = type(error)(in_one_line(error))  # one of a process that reads pictures is long
        if alone:
            assert isinstance(error, HymenopteraError)
            status = error.exit_status
            _end_with(error)
        status = 1
        log.error("%s", error)
    finally:
        if team is not None:
            team.end(status)
        if not alone:
            _free_memory()
    if status == INTERRUPTED or (status and alone):
        sys.exit(status)


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
    trainer = check(cfg, files=not follows)["trainer"]
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


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Import without garbage collection, which is a seventh of the time and finds nothing."""
    is_first = "torch" not in sys.modules
    gc.disable()
    try:
        yield
        if is_first:
            gc.freeze()  # it stays: looking through it takes half a second each time
    finally:
        gc.enable()


def _free_memory() -> None:
    """Free what a job held, decoded pictures for one, before the next one looks what is free."""
    gc.collect()  # Trainer and data refer to each other
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _record_failure(folder: Path, error: Exception, overrides: list[str]) -> None:
    """Record why a job failed, unless its training has."""
    if isinstance(error, RunError) and (folder / "summary.json").exists():
        return
    from hymenoptera.results.records import write_failure

    log.debug("The job failed.", exc_info=error)
    with suppress(OSError):  # of a disk that is full
        write_failure(folder, in_one_line(error), overrides)


def _leave_nothing(folder: Path) -> None:
    """Remove a run folder in which no training has begun, and its parent where that is empty."""
    if (folder / "checkpoints").exists() or (folder / "summary.json").exists():
        return
    logging.shutdown()  # closes train.log
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent != Path.cwd() and folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
