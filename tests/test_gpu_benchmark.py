"""The measuring script for a GPU, with small settings on the CPU."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from conftest import ROOT, tiny_overrides

WAYS = ["project", "torchvision"]


@pytest.mark.torture
def test_it_measures_every_part(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "gpu.json"
    monkeypatch.chdir(tmp_path)
    command = ["gpu.py", "--device", "cpu", "--quick", "--json", str(record)]
    monkeypatch.setattr(sys, "argv", [*command, *tiny_overrides(pictures)])
    runpy.run_path(str(ROOT / "benchmarks" / "gpu.py"), run_name="__main__")
    found = json.loads(record.read_text())
    assert found["device"]["accelerator"] == "cpu"
    assert found["decoding"] == []  # none of the pictures is a JPEG
    feeds = [(row["cache"], row["augment_on"]) for row in found["feeding"]]
    assert len(feeds) == len(set(feeds)) == 5
    for row in found["feeding"]:
        assert row["loader"] > 0
        assert row["training"] > 0
    (step,) = found["steps"]
    assert step["ratio"] == pytest.approx(step["project"] / step["limit"])
    assert [row["run"] for row in found["runs"]] == ["article, 4", "article, 32", "head"]
    assert all(0 < row["fit_s"] < row["whole_s"] for row in found["runs"])
