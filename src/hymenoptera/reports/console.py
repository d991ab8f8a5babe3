"""Commands that the console summary of a run prints."""

import shlex
from pathlib import Path

from hymenoptera.reports.pages import render
from hymenoptera.reports.record import Summary
from hymenoptera.reports.tables import format_path


def start_lines(summary: Summary, folder: Path) -> str:
    """Images, model, device and run folder, a line or two each, from the record so far."""
    return render("start.txt", summary=summary, folder=folder)


def end_lines(summary: Summary, folder: Path, tensorboard: bool) -> str:
    """The result with its interval, the time, and where things are; its curves, if there are."""
    curves = curves_command(folder.parent) if tensorboard else None
    return render("end.txt", summary=summary, folder=folder, curves=curves)


def interrupted_lines(folder: Path) -> str:
    """How to resume a run that was interrupted."""
    if (folder / "checkpoints" / "last.ckpt").is_file():
        command = shlex.join(["python", "train.py", f"resume={format_path(folder)}"])
        return f"Interrupted. Resume it with: {command}"
    return "Interrupted before its first checkpoint: there is nothing to resume from."


def curves_command(folder: Path) -> str:
    """The command that shows the curves of all runs below a folder, quoted for a shell."""
    return shlex.join(["tensorboard", "--logdir", str(format_path(folder))])
