"""`hymenoptera predict`: a row for each image, whatever it is."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from conftest import Ended
from hymenoptera.cli.predicting import predict_paths
from hymenoptera.models import Predictor
from hymenoptera.models.predictor import AHEAD

Command = Callable[..., Ended]


def test_an_unreadable_image_is_a_row_and_the_others_are_done(
    tmp_path: Path, hymenoptera: Command, finished_run: Path, images: Path
) -> None:
    good = f"{images}/val/ash/001.png"
    (tmp_path / "half.png").write_bytes((images / "val/ash/000.png").read_bytes()[:300])
    (tmp_path / "in.txt").write_text(f"half.png\n{good}\n\nnowhere.png\n")
    ended = hymenoptera("predict", str(finished_run), "-", "--format", "jsonl")
    assert (ended.status, ended.err) == (1, "")
    half, fine, nowhere = map(json.loads, ended.out.splitlines())
    assert "truncated" in half["error"] and len(fine["predictions"]) == 2
    assert nowhere == {"path": "nowhere.png", "error": "there is no such file"}
    table = hymenoptera("predict", str(finished_run), "half.png", good)
    assert "unreadable" in table.out and "001.png" in table.out


def test_folders_and_patterns(
    tmp_path: Path, hymenoptera: Command, finished_run: Path, images: Path
) -> None:
    """Fault 28: a .heic file in a folder has a row with the reason."""
    (tmp_path / "photos").mkdir()
    original = Image.open(images / "val/ash/000.png")
    original.save(tmp_path / "photos" / "a.png")
    original.convert("L").save(tmp_path / "photos" / "b.gif")
    (tmp_path / "photos" / "c.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    for name, count in (("photos/[ab].*", 2), ("photos", 3)):
        ended = hymenoptera("predict", str(finished_run), name, "--format", "jsonl")
        rows = {Path(row["path"]).name: row for row in map(json.loads, ended.out.splitlines())}
        assert list(rows) == ["a.png", "b.gif", "c.heic"][:count]
        assert ended.status == int("error" in rows.get("c.heic", {})) == int(count == 3)


def test_a_gallery_with_heat_maps(
    tmp_path: Path, hymenoptera: Command, finished_run: Path, images: Path
) -> None:
    command = ("predict", str(finished_run), str(images / "val" / "ash"), "nowhere.png")
    sizes = []
    for options in ((), ("--grad-cam",)):
        assert hymenoptera(*command, "--gallery", "page.html", *options).status == 1
        page = (tmp_path / "page.html").read_text()
        assert page.count("<img") == page.count('src="data:image/jpeg;base64,') == 4 + 12
        assert "there is no such file" in page and "http" not in page
        sizes.append(len(re.findall('base64,([^"]+)', page)[0]))
    assert sizes[1] > 1.2 * sizes[0]  # two images side by side


def test_rows_come_while_images_are_still_to_come(
    predictor: Predictor, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[int] = []

    def endless() -> Iterator[str]:
        for _ in range(8 * 32):
            written.append(len(capsys.readouterr().out.splitlines()))
            yield str(images / "val/ash/000.png")

    assert predict_paths(predictor, endless(), form="jsonl", top_k=1)
    assert 8 * 32 - sum(written) <= (AHEAD + 1) * 32


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_a_path_may_be_any_bytes(
    predictor: Predictor, images: Path, tmp_path: Path, form: str
) -> None:
    odd = tmp_path / b'\xff, "odd" <b>\n'.decode(errors="surrogateescape")
    odd.write_bytes((images / "val/ash/000.png").read_bytes())
    page, rows = tmp_path / "page.html", tmp_path / "rows"
    assert predict_paths(predictor, [str(odd)], form=form, top_k=1, output=rows, gallery=page)  # type: ignore[arg-type]
    text = rows.read_text()
    match form:
        case "jsonl":
            assert json.loads(text)["path"] == str(odd)
        case "csv":
            (row,) = list(csv.DictReader(rows.open(newline="")))
            assert row["path"] == str(odd).encode(errors="backslashreplace").decode()
        case "table":
            assert '\\udcff, "odd" <b>' in text
    assert "\\udcff, &#34;odd&#34; &lt;b&gt;" in page.read_text()
