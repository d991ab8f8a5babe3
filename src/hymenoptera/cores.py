"""The cores that a process may use."""

import os


def usable_cores() -> list[int]:
    """Their numbers, in order."""
    # where a process may not be tied to cores (macOS), it may use all of them
    affinity = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    return sorted(affinity(0))


def reader_count(processes: int = 1) -> int:
    """How many processes read pictures where nobody says: one a core, 8 at the most.

    Args:
        processes: of a run on this machine, which share its cores.
    """
    return max(1, min(8, len(usable_cores()) // processes))
