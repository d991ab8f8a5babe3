"""Two runs compared on the pictures that both judged."""

from pathlib import Path

import pytest

from hymenoptera.errors import RequestError
from hymenoptera.results.comparison import compare_runs, comparison_lines
from hymenoptera.results.records import write_predictions, write_summary


def run(folder: Path, wrong: int) -> Path:
    folder.mkdir()
    shares = [(0.1, 0.9) if number < wrong else (0.9, 0.1) for number in range(100)]
    names = [f"val/{number}.jpg" for number in range(100)]
    write_predictions(folder, names, [0] * 100, shares, ["ant", "bee"])
    return folder


def test_two_runs_are_compared_by_mcnemars_exact_test(tmp_path: Path) -> None:
    good, bad = run(tmp_path / "good", 2), run(tmp_path / "bad", 12)
    found = compare_runs(good, bad)
    assert (found["count"], found["p"], found["differ"]) == (100, 2 / 2**10, True)
    assert [r["right_alone"] for r in found["runs"]] == [10, 0]
    text = comparison_lines(found)
    assert "98.0 %" in text
    assert "right in the first alone: 10; right in the second alone: 0" in text
    assert "differ" in text
    assert f"p = {2 / 2**10:.3g}" in text
    near = compare_runs(good, run(tmp_path / "near", 4))
    assert not near["differ"] and "cannot be told apart" in comparison_lines(near)
    with pytest.raises(RequestError, match=r"no predictions\.csv"):
        compare_runs(good, tmp_path)


def test_runs_on_other_data_of_the_same_paths_are_not_compared_in_silence(tmp_path: Path) -> None:
    good, other = run(tmp_path / "good", 2), run(tmp_path / "other", 12)
    assert compare_runs(good, other)["same_data"] is None  # nothing is recorded
    for folder, recorded in ((good, "a"), (other, "a")):
        write_summary(folder, {"status": "completed", "data": {"manifest_hash": recorded * 64}})
    assert compare_runs(good, other)["same_data"] is True
    assert len(comparison_lines(compare_runs(good, other)).splitlines()) == 3
    write_summary(other, {"status": "completed", "data": {"manifest_hash": "b" * 64}})
    found = compare_runs(good, other)
    assert found["same_data"] is False
    assert comparison_lines(found).startswith("the data sets are not the same file by file")
    names = [f"val/{number}.jpg" for number in range(100)]
    labels = [0] * 99 + [1]
    write_predictions(other, names, labels, [(0.9, 0.1)] * 100, ["ant", "bee"])
    with pytest.raises(RequestError, match=r"val/99\.jpg is ant in the first and bee in the sec"):
        compare_runs(good, other)
