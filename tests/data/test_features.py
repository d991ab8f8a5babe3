"""The cache of features: made once, found again, made anew when it is damaged."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hymenoptera.atomic import alone
from hymenoptera.data.features import cached
from hymenoptera.errors import RequestError

FACTS = {"weights": "abc", "views": 2}


class Source:
    """Gives the same features each time, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.features = torch.randn(7, 3, 2, generator=torch.Generator().manual_seed(0))

    def __call__(self) -> Iterator[Tensor]:
        self.asked += 1
        yield from self.features.split(3)


def test_features_are_computed_once(tmp_path: Path) -> None:
    source = Source()
    for computed in (True, False):
        found, was_computed = cached(tmp_path / "cache", FACTS, 7, source)
        assert torch.equal(found, source.features)
        assert was_computed == computed
    assert source.asked == 1
    cached(tmp_path / "cache", {**FACTS, "weights": "abd"}, 7, source)
    assert source.asked == 2


@pytest.mark.parametrize("fault", ["cut short", "one bit", "another's facts", "text"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, fault: str) -> None:
    source = Source()
    cached(tmp_path, FACTS, 7, source)
    (path,) = tmp_path.glob("*.safetensors")
    data = bytearray(path.read_bytes())
    if fault == "one bit":
        data[-5] ^= 1
    elif fault == "cut short":
        data = data[:-8]
    elif fault == "another's facts":
        data = data.replace(b"abc", b"abd")
    else:
        data = bytearray(b"features")
    path.write_bytes(data)
    found, computed = cached(tmp_path, FACTS, 7, source)
    assert computed
    assert torch.equal(found, source.features)


def test_features_that_are_there_are_verified_while_another_process_holds_the_lock(
    tmp_path: Path,
) -> None:
    source = Source()
    cached(tmp_path, FACTS, 7, source)
    (path,) = tmp_path.glob("*.safetensors")
    with alone(path), ThreadPoolExecutor() as pool:
        found, computed = pool.submit(cached, tmp_path, FACTS, 7, source).result(timeout=60)
    assert torch.equal(found, source.features)
    assert not computed


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def fails() -> Iterator[Tensor]:
        yield torch.zeros(3, 2)
        raise KeyError("a picture went away")

    with pytest.raises(KeyError):
        cached(tmp_path, FACTS, 7, fails)
    assert list(tmp_path.iterdir()) == []


def test_features_are_mapped_not_read(tmp_path: Path) -> None:
    """Fetching and looking at a row leaves the rest of a large file on the disk."""
    rows, width = 4096, 8192  # 128 MiB

    def batches() -> Iterator[Tensor]:
        for _ in range(rows // 256):
            yield torch.ones(256, width)

    cached(tmp_path, FACTS, rows, batches)
    before = _resident_bytes()
    found, computed = cached(tmp_path, FACTS, rows, batches)
    assert not computed
    assert found[rows // 2].sum() == width
    assert _resident_bytes() - before < rows * width  # a quarter of its size


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"transfer\.cache_folder=.*transfer\.cache=false"):
        cached(tmp_path / "file" / "cache", FACTS, 7, Source())


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
