"""Exports: what they compute, what they say of themselves, and their use without this project."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import Ended
from hymenoptera.errors import RunError
from hymenoptera.models import export
from hymenoptera.models.checkpoint import load_checkpoint
from hymenoptera.predictor import load_predictor

FORMATS = list(export.FORMATS)
SUFFIX = {name: form.suffix for name, form in export.FORMATS.items()}
CHILD = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        assert not name.startswith("hymenoptera"), "the snippet needs the project"
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
exec(open(sys.argv[0]).read())
"""


@pytest.mark.parametrize("form", FORMATS)
def test_the_snippet_predicts_what_the_checkpoint_does(
    tmp_path: Path,
    hymenoptera: Callable[..., Ended],
    finished_run: Path,
    pictures: Path,
    form: str,
) -> None:
    """Ten lines, in a process to which this project's code is out of reach."""
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    path = tmp_path / f"model{SUFFIX[form]}"
    ended = hymenoptera("export", str(finished_run), "--format", form, "-o", str(path))
    assert ended.status == 0, ended.err
    assert "logits differ by" in ended.err
    assert {p.name for p in tmp_path.iterdir()} == {path.name, "out.txt", "err.txt"}
    program = tmp_path / "snippet.py"
    program.write_text(ended.out)
    assert len(ended.out.strip().splitlines()) == 10
    picture = pictures / "val/birch/001.png"
    command = [sys.executable, "-I", "-c", CHILD, str(program), str(picture)]
    found = subprocess.run(
        command, cwd=tmp_path, check=True, capture_output=True, text=True, env={**os.environ}
    )
    (expected,) = load_predictor(finished_run).predict(picture)
    shares = json.loads(found.stdout.replace("'", '"'))
    assert shares == pytest.approx(expected.probabilities, abs=1e-5)


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_differs_is_not_kept(
    tmp_path: Path, finished_run: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head of what is written is off by a hair more than is allowed."""
    checkpoint = load_checkpoint(finished_run / "checkpoints" / "best.ckpt")
    chosen = export.FORMATS[form]

    def write(classifier: nn.Module, *rest: object) -> None:
        with torch.no_grad():
            classifier.head.bias += 2e-4
            chosen.write(classifier, *rest)
            classifier.head.bias -= 2e-4

    monkeypatch.setitem(
        export.FORMATS, form, export._Format(chosen.suffix, write, chosen.load, chosen.packages)
    )
    with pytest.raises(RunError, match="not kept"):
        export.export(checkpoint, form, tmp_path / "model", torch.randn(3, 3, 32, 32))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_one_line(
    hymenoptera: Callable[..., Ended], finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load_checkpoint(finished_run / "checkpoints" / "best.ckpt")
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(export.RequestError, match=r"pip install -e '\.\[export\]'"):
        export.export(checkpoint, "onnx", finished_run / "x", torch.randn(2, 3, 32, 32))


def test_no_pictures_to_compare_on(
    tmp_path: Path, hymenoptera: Callable[..., Ended], finished_run: Path
) -> None:
    command = ("export", str(finished_run), "--format", "safetensors", "--output")
    ended = hymenoptera(*command, "x.safetensors", "--compare-on", str(tmp_path))
    assert ended.status == 2
    assert "--compare-on FOLDER" in ended.err
    ended = hymenoptera(*command, "x.onnx")
    assert ended.status == 2
    assert "ends in .safetensors" in ended.err
    assert {path.name for path in tmp_path.iterdir()} == {"out.txt", "err.txt"}
