"""`hymenoptera predict` from inside: what goes where, while it goes on."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hymenoptera.predicting import predict_paths
from hymenoptera.predictor import AHEAD, Predictor, load_predictor


@pytest.fixture(scope="module")
def predictor(finished_run: Path) -> Predictor:
    return load_predictor(finished_run, "cpu")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_goes_to_stderr_alone(
    predictor: Predictor,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = [str(path) for path in sorted((pictures / "val").rglob("*.png"))]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert predict_paths(predictor, paths, form="csv", top_k=9)
    assert "/12 [" in terminal.getvalue()
    head, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert head == ["path", *(f"{w}_{n}" for n in "123" for w in ("class", "probability")), "error"]
    assert [row[0] for row in rows] == paths
    assert all(sum(map(float, row[2:7:2])) == pytest.approx(1, abs=1e-6) for row in rows)


def test_rows_come_while_pictures_are_still_to_come(
    predictor: Predictor, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However many pictures there are, a few batches of them are held at a time."""
    picture = str(pictures / "val/ash/000.png")
    written: list[int] = []

    def endless() -> Iterator[str]:
        for _ in range(8 * 32):
            written.append(len(capsys.readouterr().out.splitlines()))
            yield picture

    assert predict_paths(predictor, endless(), form="jsonl", top_k=1)
    behind = [asked - sum(written[: asked + 1]) for asked in range(len(written))]
    assert max(behind) <= (AHEAD + 1) * 32


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
def test_a_path_may_be_any_bytes(
    predictor: Predictor, pictures: Path, tmp_path: Path, form: str
) -> None:
    odd = tmp_path / b'\xff, "odd" <b>\n'.decode(errors="surrogateescape")
    odd.write_bytes((pictures / "val/ash/000.png").read_bytes())
    page = tmp_path / "page.html"
    rows = tmp_path / "rows"
    assert predict_paths(predictor, [str(odd)], form=form, top_k=1, output=rows, gallery=page)
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
    assert "\\udcff, &quot;odd&quot; &lt;b&gt;" in page.read_text()
