"""What a process that does not lead does: no command line, no config of its own, no word."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from hymenoptera.errors import HymenopteraError
from hymenoptera.ranks.layout import Layout

BAD_REQUEST = 2
INTERRUPTED = 130
ANSWERS = ("-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "--info", "-i")


def follow(layout: Layout, arguments: list[str], show_all: bool) -> NoReturn:
    """Do what the leader says until it says that the run is over; end with its status.

    Args:
        layout: this process's place.
        arguments: of the command line, which the leader reads.
        show_all: whether to print what is printed here too, tracebacks with it.
    """
    if any(argument.split("=")[0] in ANSWERS for argument in arguments):
        sys.exit(0)  # the leader answers
    if "-m" in arguments or "--multirun" in arguments:
        sys.exit(BAD_REQUEST)  # the leader says why
    began = time.monotonic()
    from hymenoptera.callbacks.interruption import InterruptedTraining
    from hymenoptera.ranks.meeting import gather

    say = None if show_all else _fall_silent()
    try:
        team = gather(layout, say)
    except HymenopteraError as error:
        (say or print)(str(error))
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
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
            raise
    status = team.part()
    if status:  # nothing of the computation is worth an orderly end any more
        os._exit(status)
    sys.exit(0)


def _fall_silent() -> Callable[[str], None]:
    """Drop all that this process and its libraries print; return what prints a line yet."""
    console = os.fdopen(os.dup(2), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    return lambda line: print(line, file=console, flush=True)
