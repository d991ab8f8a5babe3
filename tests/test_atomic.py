"""Files and folders are there whole or not at all."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hymenoptera.atomic import make_folder, new_file, new_folder, write_file


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_file(path, "one\r\n")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_file(path, "older")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_file(path, "newer")
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_made_once_however_many_ask(tmp_path: Path) -> None:
    calls = []

    def fill(folder: Path) -> None:
        calls.append(folder)
        (folder / "a").write_text("a")

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_folder(tmp_path / "deep" / "x", fill), range(8)))
    assert set(made) == {tmp_path / "deep" / "x"}
    assert len(calls) == 1
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x"]


def test_what_killed_processes_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    """A file and a folder of the path; what belongs to other names stays."""
    path = tmp_path / "x"
    theirs = [".x.tar.abcdefgh.half", ".x.settings", ".xy.abcdefgh.half", ".x.tar.lock"]
    for name in theirs:
        (tmp_path / name).write_text("")
    begun = new_file(path), new_folder(path)  # and never ended
    begun[0].__enter__().write(b"a")
    (begun[1].__enter__() / "a").write_text("a")
    assert len(list(tmp_path.iterdir())) == len(theirs) + 2
    make_folder(path, lambda folder: None)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*theirs, "x"])


def test_a_folder_that_cannot_be_filled_leaves_nothing(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "a").write_text("a")
        raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        make_folder(tmp_path / "deep" / "x", fill)
    assert list(tmp_path.iterdir()) == []
