"""The feature cache: computed once, whole or made again."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hymenoptera.data.features import cached
from hymenoptera.errors import ConfigError

KEY = {"weights": "abc", "images": [1, 2]}
ROWS = torch.arange(15.0).view(5, 3)


class Counted:
    """Computes the rows in batches, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> list[Tensor]:
        self.calls += 1
        return [ROWS[:2], ROWS[2:4], ROWS[4:]]


def test_features_are_computed_once_for_all_that_determines_them(tmp_path: Path) -> None:
    compute = Counted()
    folder = tmp_path / "new" / "cache"
    for _ in range(2):
        features, was_computed = cached(folder, KEY, 5, compute)
        assert torch.equal(features, ROWS)
        assert was_computed == (compute.calls == 1) or not was_computed
    assert compute.calls == 1
    assert cached(folder, {**KEY, "weights": "abd"}, 5, compute)[1]
    assert compute.calls == 2
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"cut", None])
def test_a_damaged_file_is_made_again(tmp_path: Path, content: bytes | None) -> None:
    compute = Counted()
    cached(tmp_path, KEY, 5, compute)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7] if content is None else content)
    for calls, is_new in ((2, True), (2, False)):
        features, was_computed = cached(tmp_path, KEY, 5, compute)
        assert torch.equal(features, ROWS)
        assert (was_computed, compute.calls) == (is_new, calls)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(json.dumps({}))
    with pytest.raises(ConfigError, match=r"transfer\.cache_folder=.*transfer\.cache=false"):
        cached(tmp_path / "file" / "cache", KEY, 5, Counted())
