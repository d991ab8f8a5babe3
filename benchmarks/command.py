"""Runs a command that a figure hangs on."""

import os
import subprocess
import sys
from pathlib import Path

TRAIN_PY = str(Path(__file__).parent.parent / "train.py")


def must_run(command: list[str], folder: Path | None = None, **environment: str) -> str:
    """Run it with this Python, and end the benchmark where it fails, with its last words.

    Args:
        command: the program and what it is given.
        folder: to run it in.
        environment: is added to this process's.

    Returns:
        What it printed.
    """
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr.strip()[-500:]}")
    return done.stdout
