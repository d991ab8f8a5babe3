"""Imported before Lightning: a fifth of its import time is for something that nobody uses here.

torchmetrics imports all of scipy.signal to give it back one function of old, `hamming`, which a
metric of speech wants. While it does so, an empty module stands in.
"""

import sys
from types import ModuleType

NAME = "scipy.signal"


def import_torchmetrics() -> None:
    """Import torchmetrics without scipy.signal; whoever imports that later gets the real one."""
    if "torchmetrics" in sys.modules or NAME in sys.modules:
        return
    stand_in: ModuleType = ModuleType(NAME)
    vars(stand_in)["hamming"] = None
    sys.modules[NAME] = stand_in
    try:
        import torchmetrics  # noqa: F401
    finally:
        del sys.modules[NAME]


import_torchmetrics()
