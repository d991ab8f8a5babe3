"""Errors that a user can act on: what is wrong, where, and what to do.

Nothing a user can cause ends in a traceback. Code raises one of these with a message of one to
three full sentences; `hymenoptera.launch` prints it and ends with its exit status.
"""

import difflib
from collections.abc import Iterable

MOST_LISTED = 12  # options in an error; beyond that, a list helps nobody


class HymenopteraError(Exception):
    """Base of every error that is shown to the user as its message alone.

    Attributes:
        exit_status: what the process ends with, 1 for a run that failed.
    """

    exit_status = 1


class RequestError(HymenopteraError):
    """What was asked for cannot be done: a wrong value, file, folder or address (exit status 2)."""

    exit_status = 2


class RunError(HymenopteraError):
    """A run that had begun could not be finished (exit status 1)."""


def nearest(word: str, options: Iterable[str], count: int = 3) -> str:
    """Say which of the valid options come closest to a wrong word.

    Args:
        word: what the user wrote.
        options: everything that would have been valid there.
        count: how many to name at the most.

    Returns:
        A sentence to end an error with: "Did you mean a or b?" where some are close,
        otherwise "Valid: a, b, c.", unless there are too many to list.
    """
    valid = sorted(set(options))
    close = difflib.get_close_matches(word, valid, n=count, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Valid: {', '.join(valid)}." if 0 < len(valid) <= MOST_LISTED else ""


def in_one_line(error: Exception) -> str:
    """Say in one line what went wrong; of a disk, with the file or folder that failed and how.

    Args:
        error: as it was raised, in a process that reads pictures too: torch puts a report of many
            lines in place of its fields then, of which the last says what it was.
    """
    text = str(error).strip()
    if "Original Traceback" in text:
        name, _, reason = (last := text.splitlines()[-1]).partition(": ")
        return reason if name.startswith(f"{__name__}.") else last
    if isinstance(error, HymenopteraError):
        return text
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no reason given'}"
