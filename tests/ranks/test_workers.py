"""The command that starts the processes of a run ends with them, and leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import os, sys
from hymenoptera.ranks import workers
workers.GRACE_S = 0.5
sys.argv[0] = sys.argv.pop(1)
source = os.pathsep.join(filter(None, sys.path))
workers.start_and_wait(3, 1, sys.argv[1:], {"PATH": "", "PYTHONPATH": source})
"""
CHILD = """
import os, pathlib, signal, sys, time
rank = int(os.environ["RANK"])
assert os.environ["WORLD_SIZE"] == "3" and os.environ["LOCAL_RANK"] == os.environ["RANK"]
pathlib.Path(f"{rank}.pid").write_text(str(os.getpid()))
if sys.argv[1] == "well":
    time.sleep(0.2 * (3 - rank))  # the leader ends last, as it does
elif sys.argv[1] == "refused":
    rank == 0 and sys.exit(2)
    time.sleep(60)
elif sys.argv[1] == "killed":
    rank == 1 and os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
elif sys.argv[1] == "interrupted":
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    pathlib.Path(f"{rank}.ready").touch()
    time.sleep(60)
elif sys.argv[1] == "orphaned=yes":
    from hymenoptera.launch import launch
    def train():
        pathlib.Path(f"{rank}.ready").touch()
        time.sleep(600)
    launch(train)
elif sys.argv[1] == "noticed":
    rank == 1 and os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(1)
"""


@pytest.mark.parametrize(
    ("how", "status"), [("well", 0), ("refused", 2), ("killed", 1), ("noticed", 1)]
)
def test_one_status_and_no_process_left(tmp_path: Path, how: str, status: int) -> None:
    (tmp_path / "train.py").write_text(CHILD)
    command = [sys.executable, "-c", PARENT, str(tmp_path / "train.py"), how]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == status, ended.stderr
    assert ended.stderr == ""
    for rank in range(3):
        pid = (tmp_path / f"{rank}.pid").read_text()
        assert not Path(f"/proc/{pid}").exists()


def test_ctrl_c_reaches_each_process_once(tmp_path: Path) -> None:
    parent = start_and_wait_until_ready(tmp_path, "interrupted")
    os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
    assert parent.wait(timeout=120) == 130


def test_they_end_where_what_started_them_is_killed(tmp_path: Path) -> None:
    parent = start_and_wait_until_ready(tmp_path, "orphaned=yes")
    parent.kill()
    parent.wait(timeout=120)
    pids = [int((tmp_path / f"{rank}.pid").read_text()) for rank in range(3)]
    deadline = time.monotonic() + 60
    try:
        while any(map(is_running, pids)):
            assert time.monotonic() < deadline, "they go on"
            time.sleep(0.05)
    finally:
        for pid in filter(is_running, pids):
            os.kill(pid, signal.SIGKILL)


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended: whose child it is now may not ask."""
    status = Path(f"/proc/{pid}/status")
    try:
        return "State:\tZ" not in status.read_text()
    except OSError:
        return False


def start_and_wait_until_ready(tmp_path: Path, how: str) -> subprocess.Popen[bytes]:
    (tmp_path / "train.py").write_text(CHILD)
    command = [sys.executable, "-c", PARENT, str(tmp_path / "train.py"), how]
    parent = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("*.ready"))) < 3:
        assert parent.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return parent
