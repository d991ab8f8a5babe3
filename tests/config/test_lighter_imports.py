"""What is left out of the imports is there for whoever asks for it."""

import subprocess
import sys

PROGRAM = """
import hymenoptera.train, sys
assert "scipy.signal" not in sys.modules
import torchmetrics.audio, scipy.signal
assert scipy.signal.windows.hamming(3).shape == (3,)
"""


def test_scipy_signal_is_imported_when_it_is_used() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], check=True)
