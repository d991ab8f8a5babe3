"""A process that was started to do a part of the work ends with the one that started it."""

import os
import threading
import time

STARTER = "HYMENOPTERA_STARTER"
"""Where `ranks.workers` tells the processes of a run its own number."""


def end_with_parent(parent: int) -> None:
    """End this process, with status 1, half a second after its parent at the latest.

    A parent that is killed with -9 has no time to end anybody.

    Args:
        parent: its number, as itself gave it: by now it may be gone.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
