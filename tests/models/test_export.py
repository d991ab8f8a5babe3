"""Exports: what they compute, what they say of themselves, and their use without this project."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hymenoptera.data.images import open_image, upright_rgb
from hymenoptera.errors import ConfigError, RunError
from hymenoptera.models import ImageClassifier, Predictor, export

pytest.importorskip("onnxruntime", reason="needs the extra export")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def model() -> ImageClassifier:
    torch.manual_seed(0)
    model = ImageClassifier(["ash", "birch", "cedar"], "resnet18", "none", 32)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


def write_images(folder: Path) -> list[Path]:
    """An image of each mode, an upside-down one, a long one, and a small one."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (60, 40, 4), dtype=np.uint8)
    pixels[:30, :, 0] //= 4
    rgb = Image.fromarray(pixels[..., :3].copy())
    images: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "RGB.png": (rgb, {}),
        "RGBA.png": (Image.fromarray(pixels), {}),
        "L.png": (rgb.convert("L"), {}),
        "LA.png": (rgb.convert("LA"), {}),
        "1.png": (rgb.convert("1"), {}),
        "P.png": (rgb.quantize(16), {}),
        "P-transparent.png": (rgb.quantize(16), {"transparency": bytes(range(16))}),
        "I16.png": (Image.fromarray(generator.integers(0, 65536, (50, 44)).astype(np.uint16)), {}),
        "I.tiff": (Image.fromarray(generator.integers(0, 65536, (50, 44)).astype(np.int32)), {}),
        "CMYK.tiff": (rgb.convert("CMYK"), {}),
        "YCbCr.jpg": (rgb, {}),
        "grey.jpg": (rgb.convert("L"), {}),
        "long.png": (rgb.resize((900, 9)), {}),
        "small.png": (rgb.resize((11, 7)), {}),
    }
    exif = Image.Exif()
    exif[0x0112] = 6
    images["turned.jpg"] = (rgb, {"exif": exif})
    for name, (image, options) in images.items():
        image.save(folder / name, **options)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("form", export.FORMATS)
def test_the_example_predicts_what_predict_does(
    tmp_path: Path,
    model: ImageClassifier,
    form: export.ExportFormat,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Fault 20: 16-bit greys too; the test below has every mode of image."""
    path = tmp_path / f"model{export.FORMATS[form].suffix}"
    difference = export.export(model, form, path, torch.randn(3, 3, 32, 32))
    assert difference < 1e-4
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    program = export.snippet(form, path)
    assert "hymenoptera." not in program.replace("hymenoptera.json", "")
    (tmp_path / "program.py").write_text(program)
    (tmp_path / "images").mkdir()
    paths = write_images(tmp_path / "images")
    paths = [p for p in paths if p.name in ("RGB.png", "I16.png", "long.png")]
    for image, expected in zip(paths, Predictor(model, "cpu").predict(paths), strict=True):
        monkeypatch.setattr(sys, "argv", ["program.py", str(image)])
        runpy.run_path(str(tmp_path / "program.py"))
        found, sets = map(json.loads, capsys.readouterr().out.replace("'", '"').splitlines())
        assert sets == {}
        assert expected.error is None, image
        assert found == pytest.approx(expected.probabilities, abs=1e-4), image.name


def test_the_example_is_short_and_sees_the_same_pixels(model: ImageClassifier, tmp_path: Path):
    """To the last pixel before the network, also where the probabilities would hide it."""
    preparing = export.snippet("onnx", Path("x")).split('hymenoptera"])\n')[1].split("logits = ")[0]
    assert len(export.snippet("onnx", Path("x")).splitlines()) <= 20
    about = export.export_metadata(model)
    for path in write_images(tmp_path):
        space: dict[str, Any] = {"about": about, "np": np, "sys": type("S", (), {})()}
        space["sys"].argv = ["", str(path)]
        exec("from PIL import Image, ImageOps\n" + preparing, space)
        with open_image(path) as opened:
            expected = model.preprocessing.eval_transform()(upright_rgb(opened))
        np.testing.assert_allclose(space["images"][0], expected, atol=1e-5, err_msg=path.name)


def test_a_file_that_differs_is_not_kept(
    tmp_path: Path, model: ImageClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head of what is written is off by a hair more than is allowed."""
    chosen = export.FORMATS["safetensors"]

    def write(classifier: ImageClassifier, *rest: Any) -> None:
        with torch.no_grad():
            classifier.head.bias += 2e-4
            chosen.write(classifier, *rest)
            classifier.head.bias -= 2e-4

    changed = export.Format(chosen.suffix, write, chosen.load, chosen.packages)
    monkeypatch.setitem(export.FORMATS, "safetensors", changed)
    (tmp_path / "model").write_text("older")
    with pytest.raises(RunError, match="not kept"):
        export.export(model, "safetensors", tmp_path / "model", torch.randn(3, 3, 32, 32))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_a_missing_extra_is_one_line(
    tmp_path: Path, model: ImageClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[export\]'"):
        export.export(model, "onnx", tmp_path / "x", torch.randn(2, 3, 32, 32))
