"""Decoded pictures: the pixels that reading gives, kept once for all processes."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from hymenoptera.data import decoded, room
from hymenoptera.data.decoded import (
    Decoded,
    file_sizes,
    in_memory,
    on_disk,
    plan_framed,
    plan_whole,
)
from hymenoptera.data.pictures import read_picture
from hymenoptera.errors import RequestError
from hymenoptera.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(32, 28, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A picture of each kind that a reader must not get wrong."""
    folder = tmp_path_factory.mktemp("kinds")
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype("uint8")
    picture, turned = Image.fromarray(noise), Image.Exif()
    turned[0x0112] = 6  # shown after a quarter turn
    picture.save(folder / "a.jpg")
    picture.save(folder / "b.jpg", exif=turned)
    picture.convert("CMYK").save(folder / "c.jpg")
    picture.convert("L").save(folder / "d.png")
    picture.save(folder / "e.png", exif=turned)
    picture.convert("P").save(folder / "f.png", transparency=0)
    picture.resize((20, 400)).save(folder / "g.jpg")
    picture.save(folder / "h.tiff", exif=turned)
    return sorted(folder.iterdir())


def same(ours: Image.Image, theirs: Image.Image) -> bool:
    return np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_pictures_that_are_small_enough_are_kept_as_they_are_read(paths: list[Path]) -> None:
    kept = in_memory(plan_whole(paths, 60, file_sizes(paths)))
    for position, path in enumerate(paths):
        assert same(kept.picture(position), read_picture(path)), path.name
    assert kept.picture(1).size == (60, 90)
    assert kept.picture(4).size == (60, 90)
    assert kept.picture(7).size == (60, 90)


def test_larger_ones_are_made_smaller_and_none_is_enlarged(paths: list[Path]) -> None:
    kept = in_memory(plan_whole(paths, 30, file_sizes(paths)))
    assert [kept.picture(n).size for n in (0, 1, 6)] == [(45, 30), (30, 45), (20, 400)]
    small, large = (np.asarray(p, dtype=float) for p in (kept.picture(0), read_picture(paths[0])))
    assert small.mean() == pytest.approx(large.mean(), abs=1)


def test_framed_pictures_are_what_validation_computes(paths: list[Path]) -> None:
    kept = in_memory(plan_framed(paths, PREPROCESSING))
    transform, to_tensor = PREPROCESSING.transform(), PREPROCESSING.to_tensor()
    for position, path in enumerate(paths):
        theirs = transform(read_picture(path))
        assert torch.equal(to_tensor(kept.picture(position)), theirs)
        pixels = torch.from_numpy(np.array(kept.picture(position))).permute(2, 0, 1)
        assert torch.equal(PREPROCESSING.normalise(pixels[None])[0], theirs)


def test_a_file_is_made_once_and_holds_what_memory_does(
    tmp_path: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = (tmp_path, "manifest", paths[0].parent)
    plan = plan_whole(paths, 30, decoded.file_sizes_on_disk(paths, *known))
    first, made = on_disk(plan, *known)
    assert made
    assert torch.equal(first.pixels, in_memory(plan).pixels)
    monkeypatch.setattr(decoded, "open_picture", None)  # nothing is read again
    monkeypatch.setattr(decoded, "read_picture", None)
    plan = plan_whole(paths, 30, decoded.file_sizes_on_disk(paths, *known))
    second, made = on_disk(plan, *known)
    assert not made
    assert torch.equal(second.pixels, first.pixels)
    monkeypatch.undo()
    assert on_disk(plan, tmp_path, "another manifest", paths[0].parent)[1]
    assert on_disk(plan_whole(paths, 20, file_sizes(paths)), *known)[1]
    assert {p.suffix for p in tmp_path.iterdir()} == {".safetensors"}  # no lock, nothing half-made


def test_pictures_are_told_apart_by_their_whole_name_below_the_root(tmp_path: Path) -> None:
    deep = [tmp_path / "root" / top / "train" / "ash" / "0.png" for top in "ab"]
    for level, path in enumerate(deep):
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), (level, 0, 0)).save(path)
    for paths in (deep, deep[::-1]):
        plan = plan_whole(paths, 8, file_sizes(paths))
        kept, _ = on_disk(plan, tmp_path / "cache", "manifest", tmp_path / "root")
        assert torch.equal(kept.pixels, in_memory(plan).pixels)
    moved = (tmp_path / "root").rename(tmp_path / "moved")
    plan = plan_whole([moved / path.relative_to(tmp_path / "root") for path in deep], 8, plan.sizes)
    assert not on_disk(plan, tmp_path / "cache", "manifest", moved)[1]


def test_a_disk_without_room_is_refused_before_it_is_full(
    tmp_path: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "free_disk_bytes", lambda folder: 1000)
    plan = plan_whole(paths, 60, file_sizes(paths))
    with pytest.raises(RequestError, match=r"8 decoded pictures take 137 kB, and 1 kB are free"):
        on_disk(plan, tmp_path / "cache", "manifest", paths[0].parent)
    assert list(tmp_path.iterdir()) == []


def test_what_is_free_is_asked_of_the_nearest_folder_there_is(tmp_path: Path) -> None:
    assert room.free_disk_bytes(tmp_path / "not" / "yet") == room.free_disk_bytes(tmp_path) > 0
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < room.free_memory_bytes() <= physical


def control_group(folder: Path, files: tuple[str, str, str], *numbers: object) -> None:
    """Limit and usage in bytes, and what of the usage are files that can be given back."""
    folder.mkdir(parents=True, exist_ok=True)
    limit, usage, given_back = files
    (folder / limit).write_text(f"{numbers[0]}\n")
    (folder / usage).write_text(f"{numbers[1]}\n")
    (folder / "memory.stat").write_text(f"active_file 5\n{given_back} {numbers[2]}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_memory_is_limited_by_the_process_s_own_group_and_by_those_above(
    tmp_path: Path, version: int
) -> None:
    if version == 1:
        line, mount, none = "4:cpu,memory:/jobs/7\n0::/\n", "sys/fs/cgroup/memory", 2**63 - 4096
        files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    else:
        line, mount, none = "0::/jobs/7\n", "sys/fs/cgroup", "max"
        files = ("memory.max", "memory.current", "inactive_file")
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 90 kB\nMemAvailable:   50 kB\n")
    (tmp_path / "proc" / "self" / "cgroup").write_text(f"2:pids:/\n{line}")
    top = tmp_path / mount
    assert room.free_memory_bytes(tmp_path) == 50 * 1024
    control_group(top / "jobs" / "7", files, 9000, 2000, 500)
    assert room.free_memory_bytes(tmp_path) == 7500
    control_group(top / "jobs", files, 4000, 3000, 10)
    assert room.free_memory_bytes(tmp_path) == 1010
    control_group(top / "jobs", files, none, 3000, 10)
    assert room.free_memory_bytes(tmp_path) == 7500
    control_group(top / "another", files, 1, 1, 0)
    assert room.free_memory_bytes(tmp_path) == 7500


class PrivateMemory(Dataset[int]):
    """Reads all pictures, and says how much memory of theirs became the process's own, in kB."""

    def __init__(self, kept: Decoded) -> None:
        self.kept = kept

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        for position in range(len(self.kept.sizes)):
            np.asarray(self.kept.picture(position)).sum()
        place, counts, inside = self.kept.pixels.data_ptr(), {}, False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                first, last = (int(word, 16) for word in words[0].split("-"))
                inside = first <= place < last
            elif inside:
                counts[words[0]] = int(words[1]) if words[1].isdigit() else 0
        assert counts["Rss:"] > 45_000, "the buffer was not looked at"
        return counts["Private_Dirty:"] + counts["Private_Clean:"]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_processes_that_read_pictures_share_one_copy() -> None:
    pixels = torch.ones(100 * 400 * 400, 3, dtype=torch.uint8)  # 48 MB
    sizes = np.full((100, 2), 400, dtype=np.int32)
    kept = Decoded(pixels, np.arange(100, dtype=np.int64) * 400 * 400, sizes)
    loader = DataLoader(PrivateMemory(kept), batch_size=None, num_workers=2)
    # what else lies in that part of memory, a picture in work for one, takes a few MB
    assert max(int(kilobytes) for kilobytes in loader) < 12_000
