"""Around `hydra.main`: exit statuses, errors in a few lines, signals, and the run folder's end."""

import inspect
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any, NoReturn

from omegaconf import OmegaConf

from hymenoptera.config.arguments import for_hydra
from hymenoptera.config.launched import rank
from hymenoptera.config.messages import explained, is_explained
from hymenoptera.config.run_folder import TAKEN

log = logging.getLogger(__name__)

STARTED = time.monotonic()
INTERRUPTED = 130  # the shell's status for Ctrl-C
FULL_ERROR = "HYDRA_FULL_ERROR"
USERS_CHOICE = "HYMENOPTERA_FULL_ERROR"  # what FULL_ERROR was, for processes that this one starts


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
            print(_help_page(Path(inspect.unwrap(main).__code__.co_filename).parent / "conf"))  # noqa: T201
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


def _help_page(conf: Path) -> str:
    """What `--help` prints: the template of train.yaml. Hydra takes a second to fill it in."""
    template = OmegaConf.load(conf / "train.yaml").hydra.help.template
    lines = [
        f"{folder.name}: {', '.join(sorted(path.stem for path in folder.glob('*.yaml')))}\n"
        for folder in sorted(conf.iterdir())
        if folder.is_dir() and folder.name != "hydra"
    ]
    return Template(template).substitute(APP_CONFIG_GROUPS="".join(lines))
