"""Runs a command and watches it: when its lines came, its checkpoints were stored, its memory."""

import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

POLL_S = 0.03
MEMORY_EVERY_S = 0.5
MEMORY_SHARE = 0.02  # of a core that measuring the memory may take


@dataclass
class Watched:
    """What was seen of a command, with times in seconds since its process was started.

    Attributes:
        exit_status: of the process.
        total_s: until it had ended.
        peak_memory_mib: the most that it and the processes it started held at a time. Shared
            memory counts once; looked at up to twice a second, the main process itself exactly.
        lines: of its stdout, each with the time it came.
        checkpoints: files that appeared under the watched name, kept as links, each with its time.
        complaint: the last lines of its stderr.
    """

    exit_status: int = 0
    total_s: float = 0.0
    peak_memory_mib: float = 0.0
    lines: list[tuple[float, str]] = field(default_factory=list)
    checkpoints: list[tuple[float, Path]] = field(default_factory=list)
    complaint: str = ""


def watch(
    command: list[str], folder: Path, environment: dict[str, str], checkpoint: Path | None = None
) -> Watched:
    """Run a command to its end.

    Args:
        command: and its arguments.
        folder: for its stderr, and for links to its checkpoints.
        environment: beside the one at hand.
        checkpoint: a file that the command replaces as it improves, whole each time; every
            version of it is kept as a link in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    watched = Watched()
    with (folder / "stderr.txt").open("w+") as stderr:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, **environment},
        )

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                watched.lines.append((time.monotonic() - began, line.rstrip("\n")))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            _poll(process.pid, watched, began, folder, checkpoint)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        process.returncode = watched.exit_status  # _poll has waited for it
        reader.join(timeout=5)
        stderr.seek(0)
        watched.complaint = "\n".join(stderr.read().strip().splitlines()[-3:])
    return watched


def _poll(pid: int, watched: Watched, began: float, folder: Path, checkpoint: Path | None) -> None:
    seen: int | None = None
    next_memory = 0.0
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        now = time.monotonic() - began
        if checkpoint is not None:
            seen = _keep(checkpoint, seen, now, folder, watched.checkpoints)
        if ended:
            watched.exit_status = os.waitstatus_to_exitcode(status)
            watched.total_s = now
            own_mib = usage.ru_maxrss / 1024
            watched.peak_memory_mib = max(watched.peak_memory_mib, own_mib)
            return
        if now >= next_memory:
            watched.peak_memory_mib = max(watched.peak_memory_mib, _memory_mib(_tree(pid)))
            taken_s = time.monotonic() - began - now
            next_memory = now + max(MEMORY_EVERY_S, taken_s / MEMORY_SHARE)
        time.sleep(POLL_S)


def _keep(
    checkpoint: Path, seen: int | None, now: float, folder: Path, kept: list[tuple[float, Path]]
) -> int | None:
    """Link a new version of the checkpoint; the link stays what it is when the name moves on."""
    link = folder / f"checkpoint_{len(kept)}"
    try:
        if checkpoint.stat().st_ino == seen:
            return seen
        os.link(checkpoint, link)
    except FileNotFoundError:
        return seen
    kept.append((now, link))
    return link.stat().st_ino


def _tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def _memory_mib(pids: list[int]) -> float:
    """Memory of processes, what they share counted once (proportional set size)."""
    total_kib = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total_kib += sum(int(r.split()[1]) for r in rollup.splitlines() if r.startswith("Pss:"))
    return total_kib / 1024
