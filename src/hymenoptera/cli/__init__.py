"""The `hymenoptera` command: works on what runs leave behind, a run folder or a checkpoint.

Nothing here imports torch before a command needs it. Exit status: 0, 1 where part of the work
failed, 2 for a bad request.
"""

import io
import os
import sys
from typing import NoReturn

from hymenoptera.cli import check, checkpoints, runs, shard
from hymenoptera.cli.application import Abort, UsageError, app
from hymenoptera.errors import HymenopteraError, in_one_line

__all__ = ["check", "checkpoints", "main", "runs", "shard"]


def main() -> NoReturn:
    """Run the command, and end the process with an honest exit status."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)  # a path may be any bytes
    try:
        status = app(sys.argv[1:] or ["--help"], "hymenoptera", standalone_mode=False) or 0
        sys.stdout.flush()
    except UsageError as error:
        said = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        _end_with(f"{said}{'' if said[-1] in '.?' else '.'} --help says what there is.", 2)
    except HymenopteraError as error:
        _end_with(str(error), error.exit_status)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        _end_with(f"{in_one_line(error)}.", 2)
    except (KeyboardInterrupt, Abort):
        _end_with("Interrupted.", 130)
    sys.exit(status)


def _end_with(message: str, status: int) -> NoReturn:
    print(message, file=sys.stderr)  # noqa: T201
    sys.exit(status)
