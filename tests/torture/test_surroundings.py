"""Clocks, locales and folders that are not as they should be."""

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT, Ended, write_pictures
from torture.commands import with_a_clock_that_jumps


@pytest.mark.torture
def test_a_clock_that_jumps_back(
    tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str]
) -> None:
    context = multiprocessing.get_context("forkserver")
    arguments = [*tiny, "hydra.run.dir=jumped"]
    process = context.Process(target=with_a_clock_that_jumps, args=(arguments, tmp_path))
    process.start()
    process.join(timeout=200)
    assert process.exitcode == 0, (tmp_path / "err.txt").read_text()
    assert (tmp_path / "err.txt").read_text() == ""
    assert run_train(*tiny, "hydra.run.dir=steady").status == 0
    for file in ("metrics.csv", "predictions.csv"):
        assert (tmp_path / "jumped" / file).read_bytes() == (
            tmp_path / "steady" / file
        ).read_bytes()
    durations = json.loads((tmp_path / "jumped" / "summary.json").read_text())["durations"]
    assert 0 < durations["fit_s"] < durations["total_s"] < 200


@pytest.mark.torture
def test_no_locale_no_home_and_a_folder_with_spaces_and_umlauts(
    tmp_path: Path, tiny: list[str]
) -> None:
    """A whole run and a report in a process of their own, whose console knows ASCII only."""
    place = tmp_path / "Käfer & Bäume, 2. Versuch (größer)"
    place.mkdir()
    names = {"Ähre": 3, "süß sauer": 3}
    write_pictures(place / "Bilder für alle", {"train": names, "val": names})
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONUTF8"))},
        **{"LANG": "C", "LC_ALL": "C", "HOME": "/proc/nowhere", "PYTHONIOENCODING": "ascii"},
        "HYDRA_FULL_ERROR": "0",
    }
    root = "data.root='Bilder für alle'"
    command = [*tiny, root, "trainer.max_epochs=1", "hydra.run.dir='Läufe/Nr. 1'"]
    ended = subprocess.run(
        [sys.executable, ROOT / "train.py", *command],
        cwd=place,
        env=environment,
        capture_output=True,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert b"Traceback" not in ended.stderr
    run = place / "Läufe" / "Nr. 1"
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert summary["data"]["classes"] == sorted(names)
    assert "Ähre" in (run / "predictions.csv").read_text(encoding="utf-8")
    assert "Ähre" in (run / "report.html").read_text(encoding="utf-8")
    assert (run / "checkpoints" / "best.ckpt").exists()
