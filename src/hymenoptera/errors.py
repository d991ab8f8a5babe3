"""Errors that a user can act on: what is wrong, where, and what to do.

Code raises one of these with one to three full sentences; the command prints them and ends with
the error's exit status.
"""

import difflib
from collections.abc import Iterable

MAX_LISTED = 12  # options in an error; a longer list helps nobody


class HymenopteraError(Exception):
    """Base of every error that is shown to the user as its message alone.

    Attributes:
        exit_status: of the process that ends with it.
    """

    exit_status = 1


class ConfigError(HymenopteraError):
    """Invalid input: a wrong value, file, folder or address (exit status 2)."""

    exit_status = 2


class RunError(HymenopteraError):
    """A run that had begun could not be finished (exit status 1)."""


def nearest(word: str, options: Iterable[str], count: int = 3) -> str:
    """Say which valid options are closest to a wrong word.

    Args:
        word: what the user wrote.
        options: everything that would have been valid.
        count: how many to name at most.

    Returns:
        A sentence to end an error with: "Did you mean a or b?" if some are close, otherwise
        "Valid: a, b, c.", or nothing if there are too many to list.
    """
    valid = sorted(set(options))
    close = difflib.get_close_matches(word, valid, n=count, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Valid: {', '.join(valid)}." if 0 < len(valid) <= MAX_LISTED else ""


def in_one_line(error: BaseException) -> str:
    """Say in one line what went wrong; for a disk error, which file and how.

    Args:
        error: as raised. An error of a DataLoader worker carries that process's whole traceback,
            whose last line is the reason.
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
