"""The `hymenoptera` command: works on what runs leave behind, a run folder or a checkpoint.

Nothing here imports torch before a command needs it. Exit status: 0, 1 where part of the work
failed, 2 for invalid input.
"""

import io
import os
import sys
from typing import NoReturn

import typer

from hymenoptera.cli import checkpoints, environment, folders, training
from hymenoptera.cli.application import UsageError, app
from hymenoptera.errors import HymenopteraError, in_one_line

__all__ = ["checkpoints", "environment", "folders", "main", "training"]


def main() -> NoReturn:
    """Run the command and end the process with its exit status."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)  # a path may be any bytes
    try:
        status = app(sys.argv[1:] or ["--help"], "hymenoptera", standalone_mode=False) or 0
        sys.stdout.flush()
    except UsageError as error:
        message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        end = "" if message[-1] in ".?" else "."
        _end_with(f"{message}{end} --help lists commands and options.", 2)
    except HymenopteraError as error:
        _end_with(str(error), error.exit_status)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        _end_with(f"{in_one_line(error)}.", 2)
    except (KeyboardInterrupt, typer.Abort):
        _end_with("Interrupted.", 130)
    sys.exit(status)


def _end_with(message: str, status: int) -> NoReturn:
    if os.environ.get("HYDRA_FULL_ERROR") == "1" and status != 130:
        raise  # always called while an exception is handled
    typer.echo(message, err=True)
    sys.exit(status)
