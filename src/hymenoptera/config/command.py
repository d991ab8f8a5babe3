"""Around `hydra.main`: arguments before Hydra reads them, exit statuses, errors in a few lines."""

import gc
import io
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any, NoReturn

import hydra
import omegaconf
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from hymenoptera.config.launched import rank
from hymenoptera.config.preflight import TAKEN
from hymenoptera.config.resume import with_resumed
from hymenoptera.config.schema import TRAINER, nearest_key
from hymenoptera.errors import ConfigError, HymenopteraError, RunError, in_one_line, nearest

log = logging.getLogger(__name__)

STARTED = time.monotonic()
EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm"}
INTERRUPTED = 130  # the shell's status for Ctrl-C
FULL_ERROR = "HYDRA_FULL_ERROR"
USERS_CHOICE = "HYMENOPTERA_FULL_ERROR"  # what FULL_ERROR was, for processes that this one starts
QUIET = (  # for all but rank zero, which writes the run's files
    "hydra.output_subdir=null",
    "~hydra.job_logging.handlers.file",
    "hydra.job_logging.root.handlers=[console]",
)
EXPLAINED = (HymenopteraError, HydraException, OmegaConfBaseException, YAMLError, OSError)
LIBRARIES = tuple(Path(str(module.__file__)).parent for module in (hydra, omegaconf))


def run_command(main: Callable[[], Any]) -> NoReturn:
    """Run a function that `hydra.main` made, and end the process with an honest exit status.

    The status is 0, or 1 for a run that failed, 2 for an invalid config, 130 after Ctrl-C. With
    HYDRA_FULL_ERROR=1 errors keep their tracebacks.
    """
    _set_up_process()
    ended = _run(main)
    folder = TAKEN.pop() if TAKEN else None
    path = folder.path if folder is not None else None
    status, message = ended, "Interrupted." if ended == INTERRUPTED else ""
    if isinstance(ended, Exception):
        known = explained(ended, path) if is_explained(ended) else None
        status, message = (known.exit_status, str(known)) if known else (1, "")
    if folder is not None:
        folder.release() if status in (0, 1) else folder.abandon()
    if isinstance(ended, Exception) and (not message or os.environ[USERS_CHOICE] != "0"):
        raise ended
    if message and (rank() == 0 or status == 1):  # rank zero finds an invalid config too
        print(message, file=sys.stderr)  # noqa: T201
    sys.exit(status)


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import torch and Lightning with the garbage collector held back.

    What they make stays. Scanning it, once for every 700 new objects and again at a run's
    end, takes a quarter of the time of a short run.
    """
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # a sweep's first job
            gc.freeze()
        gc.enable()


def _set_up_process() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # unfinished files are removed
    # TensorBoard's writer fails in a thread, then in the run
    threading.excepthook = lambda failure: log.debug("A thread failed: %r", failure.exc_value)
    logging.raiseExceptions = False  # a train.log that cannot be written ends nothing
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # LANG=C has no ±
            stream.reconfigure(errors="replace")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # for _target_=my_module.MyCallback
    os.environ.setdefault(USERS_CHOICE, os.environ.get(FULL_ERROR, "0"))
    os.environ[FULL_ERROR] = "1"  # Hydra raises its errors, and they are put into words here


def _run(main: Callable[[], Any]) -> Any:
    """Run the command: its exit status, or the error that it ended with."""
    try:
        if sys.argv[1:] in (["--help"], ["-h"]):  # with more, Hydra prints it
            print(_help_page())  # noqa: T201
        else:
            sys.argv[1:] = for_hydra(sys.argv[1:])
            main()
        return 0
    except SystemExit as ended:  # Hydra's own, or with an error from Preflight
        return ended.code or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return error


def _help_page() -> str:
    """What `--help` prints: the template of train.yaml. Hydra takes a second to fill it in."""
    conf = Path(__file__).parent / "conf"
    template = OmegaConf.load(conf / "train.yaml").hydra.help.template
    lines = [
        f"{folder.name}: {', '.join(sorted(path.stem for path in folder.glob('*.yaml')))}\n"
        for folder in sorted(conf.iterdir())
        if folder.is_dir() and folder.name != "hydra"
    ]
    return Template(template).substitute(APP_CONFIG_GROUPS="".join(lines))


def for_hydra(arguments: list[str]) -> list[str]:
    """The arguments in the form that Hydra understands.

    Returns:
        Hydra's options first, then the overrides: with home folders in place, `+` and `++` as the
        config needs them, and with resume=RUN that run's own overrides and folder.

    Raises:
        ConfigError: there is no such option, or no such run.
    """
    parser = get_args_parser()
    parser.error = _invalid_option  # type: ignore[method-assign]
    given: list[str] = parser.parse_intermixed_args(arguments).overrides
    options = [argument for argument in arguments if argument not in given]
    options, overrides = with_resumed(options, [_override(argument) for argument in given])
    overrides = [_override(one) for one in overrides]  # a resumed run's are as they were typed
    if rank() > 0:
        overrides += [override for override in QUIET if override not in overrides]
    return [*options, *overrides]


def _invalid_option(message: str) -> NoReturn:
    raise ConfigError(f"{message}. python train.py --hydra-help lists the options.")


def _override(argument: str) -> str:
    """An override as Hydra reads it: without ~/, and with `++` where a key may be new."""
    key, sign, value = argument.partition("=")
    if value.startswith("~/"):
        value = str(Path(value).expanduser())
    name = key.lstrip("+")
    is_option = name.startswith("trainer.") and name.split(".")[1] in TRAINER
    if is_option or (key.startswith("+") and not {"/", "@"} & set(name)):
        key = f"++{name}" if "." in name else name
    return f"{key}{sign}{value}"


def is_explained(error: Exception) -> bool:
    """Whether an error is the user's to put right, rather than a fault of the code."""
    if isinstance(error, EXPLAINED) or type(error).__name__ == "MisconfigurationException":
        return True  # the last is Lightning's
    # Hydra raises ValueError and others too
    frame = list(traceback.walk_tb(error.__traceback__))[-1][0]
    return any(library in Path(frame.f_code.co_filename).parents for library in LIBRARIES)


def explained(error: Exception, folder: Path | None = None) -> HymenopteraError:
    """Put an error for which `is_explained` holds into one to three lines; folder: of the run."""
    if isinstance(error, HymenopteraError):
        return error
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        hint = nearest(option, error.options)
        if group == "hydra/launcher" and option in EXTRAS:
            hint = f"It needs an extra: pip install -e '.[{EXTRAS[option]}]'"
        return ConfigError(f"{group}={option}: there is no such option of {group}. {hint}".strip())
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.parent_node is not None:
        key = cause.full_key or str(cause.key)
        hint = nearest_key(key, map(str, cause.parent_node))
        return ConfigError(f"{key}: there is no such key. {hint}".strip())
    if isinstance(error, OverrideParseException):
        advice = "Quote values with spaces or signs: 'key=\"a value\"'."
        return ConfigError(f"{error.override}: this cannot be read as KEY=VALUE. {advice}")
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        if folder is None or not (folder / "checkpoints" / "last.ckpt").is_file():
            return ConfigError(f"{in_one_line(error)}.")
        advice = f"Continue it with: python train.py resume={folder}"
        return RunError(f"The run failed: {in_one_line(error)}.\n{advice}")
    return ConfigError("\n".join([line for line in str(error).splitlines() if line.strip()][:3]))
