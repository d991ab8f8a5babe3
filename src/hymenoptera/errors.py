"""Errors that a user can act on: what is wrong, where, and what to do.

Code raises one of these with one to three full sentences; the command prints them and ends with
the error's exit status.
"""

import difflib
from collections.abc import Iterable
from urllib.error import URLError

MAX_LISTED = 12  # options in an error; a longer list helps nobody


class HymenopteraError(Exception):
    """Base of every error that is shown to the user as its message alone."""

    exit_status = 1  # of the process that ends with it


class ConfigError(HymenopteraError):
    """Invalid input: a wrong value, file, folder or address (exit status 2)."""

    exit_status = 2


class RunError(HymenopteraError):
    """A run that had begun could not be finished (exit status 1)."""


def nearest(word: str, options: Iterable[str], count: int = 3) -> str:
    """Say which valid options, `count` at most, are closest to a wrong word.

    A sentence to end an error with: "Did you mean a or b?" if some are close, otherwise "Valid: a,
    b, c.", or nothing if there are too many to list.
    """
    valid = sorted(set(options))
    close = difflib.get_close_matches(word, valid, n=count, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Valid: {', '.join(valid)}." if 0 < len(valid) <= MAX_LISTED else ""


def first_cause(error: BaseException) -> BaseException:
    """What was raised first, or an error of ours that was raised from it."""
    while error.__cause__ is not None and not isinstance(error, HymenopteraError):
        error = error.__cause__
    return error


def in_one_line(error: BaseException) -> str:
    """Say in one line what went wrong; for a disk error, which file and how."""
    text = str(error).strip()
    # a DataLoader worker's error has that process's traceback, whose last line is the reason
    if "Original Traceback" in text:
        name, _, reason = (last := text.splitlines()[-1]).partition(": ")
        return reason if name.startswith(f"{__name__}.") else last
    if isinstance(error, URLError) and isinstance(error.reason, BaseException):
        return in_one_line(error.reason)
    if isinstance(error, HymenopteraError | URLError):
        return text
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no reason given'}"
