"""`hymenoptera export`: the file and the example that is printed with it."""

import ast
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Ended
from hymenoptera.models import Predictor

Command = Callable[..., Ended]


@pytest.mark.parametrize("form", ["onnx", "pt2", "safetensors"])
def test_the_printed_example_predicts_as_predict_does(
    tmp_path: Path,
    hymenoptera: Command,
    finished_run: Path,
    predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: str,
) -> None:
    """Fault 20: for a 16-bit grey image and one that lies on its side, too."""
    if form == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    file = f"model.{form}"
    ended = hymenoptera("export", str(finished_run), "--format", form, "--output", file)
    assert ended.status == 0, ended.err
    assert "logits differ by at most" in ended.err and "python THIS.py IMAGE" in ended.err
    assert "import hymenoptera" not in ended.out and "from hymenoptera" not in ended.out
    generator = np.random.default_rng(0)
    grey, rgb = generator.integers(0, 65536, (60, 80)), generator.integers(0, 256, (60, 80, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey.astype(np.uint16)).save(tmp_path / "grey.png")
    Image.fromarray(rgb.astype(np.uint8)).save(tmp_path / "turned.png", exif=exif)
    for name in ("grey.png", "turned.png"):
        monkeypatch.setattr(sys, "argv", ["THIS.py", name])
        exec(ended.out, {"__name__": "__main__"})
        (expected,) = predictor.predict(tmp_path / name)
        shown, sets = map(ast.literal_eval, capsys.readouterr().out.splitlines())
        assert shown == pytest.approx(expected.probabilities, abs=1e-4)
        assert list(sets) == ["0.8", "0.9"]  # what 12 validation images allow
        least = predictor.calibration.least_probability(0.8)
        assert sets["0.8"] == [name for name, p in shown.items() if p >= least]


def test_it_needs_images_to_compare_on(
    tmp_path: Path, hymenoptera: Command, finished_run: Path
) -> None:
    (tmp_path / "empty").mkdir()
    command = ("export", str(finished_run), "--format", "safetensors", "-o", "x.safetensors")
    ended = hymenoptera(*command, "--compare-on", "empty")
    assert ended.status == 2
    assert "empty: there are no images to compare the file on" in ended.err
    assert not (tmp_path / "x.safetensors").exists()
