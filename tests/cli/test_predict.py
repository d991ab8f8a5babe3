"""`hymenoptera predict`: a row for each image, whatever it is."""

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import Ended
from hymenoptera.cli.predicting import predict_paths, write_rows
from hymenoptera.models import Prediction, Predictor
from hymenoptera.models.predictor import AHEAD

Command = Callable[..., Ended]

ROWS = [
    Prediction('a, "b".png', {"ant": 0.75, "bee": 0.25}),
    Prediction("c.png", {}, "it is torn"),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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
        ended = hymenoptera("predict", str(finished_run), name, "--format", "json")
        rows = {Path(row["path"]).name: row for row in json.loads(ended.out)}
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
        assert page.count("<img") == page.count('src="data:image/jpeg;base64,') == 4
        assert "there is no such file" in page and "http" not in page
        sizes.append(sum(map(len, re.findall('base64,([^"]+)', page))))
    assert sizes[1] > 1.2 * sizes[0]  # two images side by side


def test_progress_goes_to_stderr_alone(
    predictor: Predictor,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = [str(path) for path in sorted((images / "val").rglob("*.png"))]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert predict_paths(predictor, paths, form="csv", top_k=9)
    assert "/12 [" in terminal.getvalue()
    head, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert head == ["path", *(f"{w}_{n}" for n in "123" for w in ("class", "probability")), "error"]
    assert [row[0] for row in rows] == paths
    assert all(sum(map(float, row[2:7:2])) == pytest.approx(1, abs=1e-6) for row in rows)


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


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
def test_a_path_may_be_any_bytes(
    predictor: Predictor, images: Path, tmp_path: Path, form: str
) -> None:
    odd = tmp_path / b'\xff, "odd" <b>\n'.decode(errors="surrogateescape")
    odd.write_bytes((images / "val/ash/000.png").read_bytes())
    page, rows = tmp_path / "page.html", tmp_path / "rows"
    assert predict_paths(predictor, [str(odd)], form=form, top_k=1, output=rows, gallery=page)  # type: ignore[arg-type]
    text = rows.read_text()
    match form:
        case "json":
            assert json.loads(text)[0]["path"] == str(odd)
        case "jsonl":
            assert json.loads(text)["path"] == str(odd)
        case "csv":
            (row,) = list(csv.DictReader(rows.open(newline="")))
            assert row["path"] == str(odd).encode(errors="backslashreplace").decode()
        case "table":
            assert '\\udcff, "odd" <b>' in text
    assert "\\udcff, &#34;odd&#34; &lt;b&gt;" in page.read_text()


def as_text(rows: list[Prediction], form: Any, top_k: int) -> str:
    file = io.StringIO()
    write_rows(rows, form, ["ant", "bee"], top_k, file)
    return file.getvalue()


def test_csv_and_json_lines_hold_the_same() -> None:
    first, second = csv.DictReader(io.StringIO(as_text(ROWS, "csv", 5)))
    assert (first["path"], first["class_1"], first["probability_2"]) == (
        *('a, "b".png', "ant", "0.25000000"),
    )
    assert (second["class_1"], second["error"]) == ("", "it is torn")
    lines = [json.loads(line) for line in as_text(ROWS, "jsonl", 1).splitlines()]
    assert lines[0]["predictions"] == [{"class": "ant", "probability": 0.75}]
    assert lines[1] == {"path": "c.png", "error": "it is torn"}
    assert json.loads(as_text(ROWS, "json", 1)) == lines


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
def test_no_rows_are_valid_too(form: str) -> None:
    text = as_text([], form, 2)
    assert form != "json" or json.loads(text) == []
    assert len(text.splitlines()) <= 2
