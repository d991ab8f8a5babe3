"""Archives that mean harm, or are merely odd: nothing is written outside the target."""

import io
import random
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hymenoptera.data import archive as archives
from hymenoptera.data.archive import unpack
from hymenoptera.errors import RequestError
from loopback import zip_bytes

PICTURE = random.Random(0).randbytes(500)  # does not compress, as pictures do not
GOOD = {"set/train/ants/1.jpg": PICTURE}


def link(name: str, to: str) -> bytes:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO(zip_bytes(GOOD))
    with zipfile.ZipFile(buffer, "a") as zipped:
        zipped.writestr(info, to)
    return buffer.getvalue()


def encrypted() -> bytes:
    data = bytearray(zip_bytes({"secret.jpg": PICTURE}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "leads up": (lambda: zip_bytes({**GOOD, "../outside": b"x"}), "leads out"),
    "leads up further down": (lambda: zip_bytes({"set/a/../../../outside": b"x"}), "leads out"),
    "absolute": (lambda: zip_bytes({"/outside": b"x"}), "absolute path"),
    "a drive": (lambda: zip_bytes({"C:/outside": b"x"}), "drive letter"),
    "a backslash": (lambda: zip_bytes({"..\\outside": b"x"}), "backslash"),
    "a link": (lambda: link("set/link", "/etc/passwd"), "symbolic link"),
    "a link to a folder": (lambda: link("set/train/bees", "../../.."), "symbolic link"),
    "a bomb": (
        lambda: zip_bytes({"zeros.jpg": bytes(3_000_000)}, zipfile.ZIP_DEFLATED),
        "100 times",
    ),
    "a class twice under other case": (
        lambda: zip_bytes({"train/Ants/1.jpg": b"1", "train/ants/2.jpg": b"2"}),
        "differ in case",
    ),
    "a class twice under other accents": (
        lambda: zip_bytes({"train/K\u00e4fer/1.jpg": b"1", "train/Ka\u0308fer/2.jpg": b"2"}),
        "differ in case or accents",
    ),
    "encrypted": (encrypted, "is encrypted"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_archives_that_are_refused(tmp_path: Path, kind: str) -> None:
    make, words = REFUSED[kind]
    archive = tmp_path / "some.zip"
    archive.write_bytes(make())
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    with pytest.raises(RequestError, match=words) as raised:
        unpack(archive, target)
    assert len(str(raised.value).splitlines()) == 1
    assert {p.name for p in tmp_path.rglob("*")} == {"some.zip", "deep", "target"}


def test_archives_over_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[..., None]
) -> None:
    archive = tmp_path / "some.zip"
    archive.write_bytes(zip_bytes({f"train/ants/{n}.jpg": PICTURE for n in range(5)}))
    target = tmp_path / "target"
    target.mkdir()
    limits = {"MAX_TOTAL_BYTES": 2499, "MAX_RATIO": 0.5, "MAX_MEMBERS": 4}
    for name, value in limits.items():
        with monkeypatch.context() as patch:
            patch.setattr(archives, name, value)
            with pytest.raises(RequestError, match=r"is refused: it (unpacks to|has) .*more than"):
                unpack(archive, target)
        assert not list(target.iterdir())
    record_property("tried", len(limits))


@pytest.mark.parametrize(
    ("files", "junk"),
    [
        ({"Ümläute/Käfer und Bäume/größe 1.jpg": PICTURE}, b""),
        ({"set/蚂蚁/🐜 .jpg": PICTURE, "set/ bees /  2  .jpg": PICTURE}, b""),
        (GOOD, b"junk after the end " * 50),
        ({f"{'d' * 100}/{'f' * 200}.jpg": PICTURE}, b""),
    ],
    ids=["umlauts", "spaces and other scripts", "trailing junk", "long names"],
)
def test_archives_that_are_odd_but_good(
    tmp_path: Path, files: dict[str, bytes], junk: bytes
) -> None:
    archive = tmp_path / "some archive.zip"
    archive.write_bytes(zip_bytes(files) + junk)
    unpack(archive, tmp_path)
    archive.unlink()
    assert {
        p.relative_to(tmp_path).as_posix(): p.read_bytes()
        for p in tmp_path.rglob("*")
        if p.is_file()
    } == files


def test_an_archive_cut_anywhere(tmp_path: Path, record_property: Callable[..., None]) -> None:
    whole = zip_bytes({f"set/{n}.jpg": PICTURE for n in range(3)})
    archive = tmp_path / "some.zip"
    cuts = range(0, len(whole) - 1, 20)
    for cut in cuts:
        archive.write_bytes(whole[:cut])
        target = tmp_path / "targets" / str(cut)
        target.mkdir(parents=True)
        with pytest.raises(RequestError, match=r"cut short|not a zip"):
            unpack(archive, target)
        assert not list(target.iterdir())
    record_property("tried", len(cuts))
