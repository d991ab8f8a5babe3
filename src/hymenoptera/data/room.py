"""How much memory and disk there is to keep something in."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path, PurePosixPath

JOBS_AT_ONCE = "HYMENOPTERA_JOBS_AT_ONCE"
"""In the environment of a sweep's jobs: how many of them share the machine at a time."""
VERSION_2 = ("", "memory.max", "memory.current", "inactive_file")
VERSION_1 = (
    "memory",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
)


def jobs_at_once() -> int:
    """How many jobs of a sweep share the machine, of which this process runs one."""
    return int(os.environ.get(JOBS_AT_ONCE, 1))


def free_memory_bytes(root: Path = Path("/")) -> int:
    """What a process may still take: of the machine, or of its control groups with a limit.

    Args:
        root: under which proc and sys lie.
    """
    free = list(_free_in_groups(root))
    with suppress(OSError, StopIteration):
        lines = (root / "proc/meminfo").read_text().splitlines()
        free.append(1024 * int(next(x for x in lines if x.startswith("MemAvailable")).split()[1]))
    return min(free) if free else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _free_in_groups(root: Path) -> Iterator[int]:
    """In each limited control group from the process's own up to the topmost one that is seen."""
    groups: list[str] = []
    with suppress(OSError):
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, limit, usage, cached = VERSION_1 if controllers else VERSION_2
        # a container may see its own group alone, as the topmost one, under another path
        parts = PurePosixPath(path).parts[1:]
        for group in accumulate(parts, Path.joinpath, initial=root / "sys/fs/cgroup" / mount):
            with suppress(OSError, ValueError, StopIteration):  # "max" is no number: no limit
                room = int((group / limit).read_text()) - int((group / usage).read_text())
                lines = (group / "memory.stat").read_text().splitlines()
                given_back = next(x for x in lines if x.startswith(f"{cached} ")).split()[1]
                yield room + int(given_back)


def free_disk_bytes(folder: Path) -> int:
    """What the file system has room for, that a folder lies or would lie on."""
    folder = folder.absolute()
    place = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(place).free


def in_units(size_bytes: int) -> str:
    """A size as people read it: 143 MB, 1.2 GB."""
    if size_bytes < 1e6:
        return f"{max(1, round(size_bytes / 1e3))} kB"
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:.1f} GB"
