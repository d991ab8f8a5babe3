import hashlib
from pathlib import Path

import pytest

from hymenoptera.data.hymenoptera import MANIFEST_PATH
from hymenoptera.data.manifest import Entry, check, fingerprint, manifest_hash, read_manifest
from hymenoptera.errors import RequestError

FILES = [f"{split}/{name}/{n}.jpg" for split in ("train", "val") for name in "ab" for n in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in FILES:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"picture {path}")
    return tmp_path


def test_fingerprint_measures_size_and_sha256(folder):
    entries = fingerprint(folder, ["val/b/2.jpg", "train/a/0.jpg"])
    assert list(entries) == ["val/b/2.jpg", "train/a/0.jpg"]
    content = b"picture train/a/0.jpg"
    assert entries["train/a/0.jpg"] == Entry(len(content), hashlib.sha256(content).hexdigest())


def test_fingerprint_names_a_file_that_is_missing(folder):
    with pytest.raises(RequestError, match=r"no\.jpg cannot be read"):
        fingerprint(folder, ["train/a/no.jpg"])


def test_the_hash_identifies_content_whatever_the_order(folder):
    entries = fingerprint(folder, FILES)
    turned = dict(reversed(entries.items()))
    assert manifest_hash(entries) == manifest_hash(turned)
    line = "x.jpg\t3\tabc\n"
    assert manifest_hash({"x.jpg": Entry(3, "abc")}) == hashlib.sha256(line.encode()).hexdigest()
    (folder / FILES[0]).write_text("another picture")
    assert manifest_hash(fingerprint(folder, FILES)) != manifest_hash(entries)


def test_a_folder_as_written_down_passes_stray_files_and_all(folder):
    manifest = fingerprint(folder, FILES)
    (folder / "train" / "a" / "imageNotFound.gif").write_bytes(b"GIF89a")
    (folder / "README.txt").write_text("stray")
    (folder / "cover.jpg").write_text("a picture outside the class folders")
    check(folder, manifest)


def test_errors_count_everything_and_name_three(folder):
    manifest = fingerprint(folder, FILES)
    (folder / "train/a/0.jpg").unlink()
    (folder / "train/b/1.jpg").write_text("picture train/b/x.jpg")  # of the same size
    (folder / "val/a/2.jpg").write_text("")
    (folder / "val/b/new.PNG").write_text("unexpected")
    with pytest.raises(RequestError) as raised:
        check(folder, manifest, advice="Delete it.")
    assert str(raised.value) == (
        f"{folder} is not the data set it should be, of 12 files: 1 file missing, "
        "2 files different, 1 file that should not be there (missing train/a/0.jpg, "
        "different train/b/1.jpg, different val/a/2.jpg, ...).\nDelete it."
    )


def test_a_missing_class_folder_is_named_as_one(folder):
    manifest = fingerprint(folder, FILES)
    for path in (folder / "val" / "b").iterdir():
        path.unlink()
    (folder / "val" / "b").rmdir()
    with pytest.raises(RequestError) as raised:
        check(folder, manifest, name="the archive")
    assert str(raised.value) == (
        "the archive is not the data set it should be, of 12 files: 3 files missing "
        "(missing class folder val/b/)."
    )


@pytest.mark.parametrize("path", ["train/a/extra.jpeg", "train/c/0.webp", "val/a/deep/0.jpg"])
def test_pictures_that_training_would_read_must_be_known(folder, path):
    manifest = fingerprint(folder, FILES)
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text("extra")
    with pytest.raises(RequestError, match=f"1 file that should not be there .unexpected {path}"):
        check(folder, manifest)


def test_reading_gives_back_what_is_written(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text(f"# a comment\nx y.jpg\t12\t{'a' * 64}\n")
    assert read_manifest(path) == {"x y.jpg": Entry(12, "a" * 64)}


@pytest.mark.parametrize("line", ["a.jpg 12 abc", f"a.jpg\tx\t{'a' * 64}", "a.jpg\t12\tabc"])
def test_a_wrong_line_is_named(tmp_path, line):
    path = tmp_path / "m.tsv"
    path.write_text(f"# header\n{line}\n")
    with pytest.raises(RequestError, match="Line 2"):
        read_manifest(path)


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(RequestError, match="cannot be read"):
        read_manifest(tmp_path / "none.tsv")


def test_the_packaged_manifest_has_the_published_counts():
    manifest = read_manifest(MANIFEST_PATH)
    counts: dict[str, int] = {}
    for path in manifest:
        counts[path.rpartition("/")[0]] = counts.get(path.rpartition("/")[0], 0) + 1
    assert counts == {"train/ants": 123, "train/bees": 121, "val/ants": 70, "val/bees": 83}
    assert sum(entry.size_bytes for entry in manifest.values()) == 47_380_420
    assert MANIFEST_PATH.read_text().startswith("#")
