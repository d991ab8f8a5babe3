"""The notebook runs as it is, on the real images."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from command_line import ROOT


@pytest.mark.torture
@pytest.mark.real_data
def test_the_notebook_runs_and_shows_what_it_says(
    real_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYMENOPTERA_SOURCE", str(real_archive))
    monkeypatch.setenv("HYMENOPTERA_WEIGHTS", os.environ.get("HYMENOPTERA_TEST_WEIGHTS", "none"))
    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    texts = " ".join(str(out.get("data", {}).get("text/plain", "")) for out in outputs)
    assert "val/accuracy" in texts
    assert any("image/png" in out.get("data", {}) for out in outputs)


def test_the_notebook_is_kept_small() -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert len(outputs) == 1
