"""What a process that does not lead does: it checks the request as all do, and says no word."""

import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

from hymenoptera.errors import HymenopteraError
from hymenoptera.ranks.layout import Layout

FAILED = 1
BAD_REQUEST = 2

console = sys.stderr
"""Where the user reads; all else that this process prints goes nowhere."""


def begin_to_follow(arguments: list[str], show_all: bool) -> None:
    """Fall silent: what this process and its libraries print is dropped.

    Args:
        arguments: of the command line.
        show_all: whether to print what is printed here too, tracebacks with it.
    """
    global console
    if not show_all:
        console = os.fdopen(os.dup(2), "w")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # while it waits, Python's own would wait with it
    if "-m" in arguments or "--multirun" in arguments:
        sys.exit(BAD_REQUEST)  # the leader says why


def follow(layout: Layout, show_all: bool) -> NoReturn:
    """Do what the leader says until it says that the run is over; end with its status.

    Args:
        layout: this process's place.
        show_all: as of `begin_to_follow`.
    """
    began = time.monotonic()
    status = FAILED
    try:
        status = _follow(layout, began, show_all)
    except HymenopteraError as error:
        if layout.rank == 1:  # for all: the leader is not there to say it
            print(error, file=console, flush=True)
        status = error.exit_status
    except Exception:  # which Hydra, around this, would take for a fault of no importance
        traceback.print_exc()
    if status:  # nothing of the computation is worth an orderly end any more
        os._exit(status)
    sys.exit(0)


def _follow(layout: Layout, began: float, show_all: bool) -> int:
    """As `follow`; return the status to end with."""
    from hymenoptera.callbacks.interruption import InterruptedTraining
    from hymenoptera.ranks.meeting import gather

    team = gather(layout, lambda line: print(line, file=console, flush=True))
    try:
        request = team.hear()
        from hymenoptera.training import train

        folder = Path(request["folder"])
        train(request["config"], folder, request["overrides"], began, team)
    except InterruptedTraining:
        pass  # the leader too
    except BaseException as error:
        team.report(error)
        if show_all:
            traceback.print_exc()
    return team.part()
