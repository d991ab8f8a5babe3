"""The Slurm script in docs/cluster.md, with an srun and an scontrol that note their calls."""

import re
import subprocess
from pathlib import Path

from conftest import ROOT


def script() -> str:
    text = (ROOT / "docs" / "cluster.md").read_text()
    (block,) = re.findall(r"```bash\n(#!.*?)```", text, flags=re.DOTALL)
    return str(block)


def submit(folder: Path, srun_status: int) -> tuple[int, list[str]]:
    """Run the script in a folder; its status, and the calls that it made."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name, status in (("srun", srun_status), ("scontrol", 0)):
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >> calls\nexit {status}\n')
        (tools / name).chmod(0o755)
    (folder / "calls").write_text("")
    ended = subprocess.run(
        ["bash", "-c", script()],
        cwd=folder,
        env={"PATH": f"{tools}:/usr/bin:/bin", "SLURM_JOB_ID": "77"},
    )
    return ended.returncode, (folder / "calls").read_text().splitlines()


def test_out_of_time_is_requeued_and_goes_on(tmp_path: Path) -> None:
    status, calls = submit(tmp_path, srun_status=130)
    assert status == 130
    first, requeued = calls
    assert "--kill-on-bad-exit=1 python train.py trainer=ddp" in first
    assert "hydra.run.dir=runs/77" in first
    assert requeued == "scontrol requeue 77"

    (tmp_path / "runs/77/checkpoints").mkdir(parents=True)
    (tmp_path / "runs/77/checkpoints/last.ckpt").touch()
    status, calls = submit(tmp_path, srun_status=0)
    assert (status, calls) == (0, ["srun --kill-on-bad-exit=1 python train.py resume=runs/77"])


def test_a_failure_is_not_requeued_by_the_script(tmp_path: Path) -> None:
    status, calls = submit(tmp_path, srun_status=1)
    assert (status, len(calls)) == (1, 1)
