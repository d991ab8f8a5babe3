"""How much memory and disk there is to keep something in."""

import os
import shutil
from contextlib import suppress
from pathlib import Path


def free_memory_bytes() -> int:
    """What a process may still take: of the machine, or of its container where that has less."""
    free = []
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(1024 * int(next(x for x in lines if x.startswith("MemAvailable")).split()[1]))
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, StopIteration):  # "max" is no number: no limit
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
        given_back = int(next(x for x in lines if x.startswith("inactive_file")).split()[1])
        free.append(limit - used + given_back)
    return min(free) if free else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


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
