"""Work on many files in several threads: reading, hashing and decoding let other threads run."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Piece = TypeVar("Piece")
Done = TypeVar("Done")


def in_threads(work: Callable[[Piece], Done], pieces: Iterable[Piece]) -> Iterator[Done]:
    """What work makes of each piece, in order; few more pieces are taken than are worked on."""
    pending: deque[Future[Done]] = deque()
    workers = min(32, (os.cpu_count() or 1) + 4)
    with ThreadPoolExecutor(workers) as pool:
        for piece in pieces:
            pending.append(pool.submit(work, piece))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def with_bar(
    done: Iterable[Done],
    total: int,
    title: str,
    *,
    unit: str = "picture",
    size: Callable[[Done], int] = lambda item: 1,
) -> Iterator[Done]:
    """What is done, with a progress bar where that takes more than a second.

    Args:
        done: as it comes.
        total: how many units there will be.
        title: what is going on.
        unit: what is counted.
        size: how many units an item is.
    """
    with tqdm(total=total, desc=title, unit=unit, leave=False, delay=1.0, disable=None) as bar:
        for item in done:
            yield item
            bar.update(size(item))
