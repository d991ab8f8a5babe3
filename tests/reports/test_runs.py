"""Runs below a folder, the checkpoint that a path means, and two runs compared."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hymenoptera.errors import ConfigError
from hymenoptera.reports.record import Summary, read_summary, write_summary
from hymenoptera.reports.runs import (
    compare_runs,
    comparison_text,
    find_checkpoint,
    find_runs,
    run_of,
    runs_table,
    sort_runs,
)

Make = Callable[..., Path]


def test_runs_are_listed_whatever_became_of_them(make_run: Make, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    make_run("runs/deep/b", [True] * 30 + [False] * 10, ["experiment=head", "seed=1"])
    make_run("runs/a", overrides=["optimizer.lr=" + "1" * 80])
    for name in ("killed", "damaged", "failed"):
        (root / name / ".hydra").mkdir(parents=True)
        (root / name / ".hydra" / "config.yaml").touch()
    (root / "damaged" / "summary.json").write_text("{")
    write_summary(root / "failed", Summary("failed", error="no room"))
    rows = {Path(row["folder"]).name: row for row in find_runs(root)}
    assert list(rows) == ["a", "damaged", "b", "failed", "killed"]
    assert (rows["b"]["accuracy"], rows["b"]["experiment"]) == (0.75, "head")
    assert rows["killed"]["status"] == "unfinished"
    assert "damaged" in rows["damaged"]["error"] and rows["failed"]["error"] == "no room"
    best_first = sort_runs(list(rows.values()), "accuracy")
    assert [row["accuracy"] for row in best_first][:3] == [0.9, 0.75, None]
    table = runs_table(best_first)
    assert all(text in table for text in ("90.0 %", "2 of 3", "...", *rows))
    with pytest.raises(ConfigError, match="no such folder"):
        find_runs(tmp_path / "nowhere")


def test_the_best_checkpoint_is_the_recorded_one(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    best = run / "checkpoints" / "best.ckpt"
    assert find_checkpoint(run) == find_checkpoint(best) == best
    assert run_of(best) == run
    top = best.rename(run / "checkpoints" / "top.ckpt")
    with pytest.raises(ConfigError, match="no run with a best checkpoint"):
        find_checkpoint(run)
    summary = read_summary(run)
    summary.best["checkpoint"] = "checkpoints/top.ckpt"
    write_summary(run, summary)
    assert find_checkpoint(run) == top
    write_summary(run, Summary("failed"))
    with pytest.raises(ConfigError):
        find_checkpoint(run)
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError):
            find_checkpoint(path)


def run_with(make_run: Make, name: str, wrong: int) -> Path:
    return make_run(name, [number >= wrong for number in range(100)])


def test_two_runs_are_compared_by_mcnemars_exact_test(make_run: Make, tmp_path: Path) -> None:
    good, bad = run_with(make_run, "good", 2), run_with(make_run, "bad", 12)
    found = compare_runs(good, bad)
    assert (found["count"], found["differ"]) == (100, True)
    assert found["p"] == pytest.approx(2 / 2**10)
    assert [one["correct_alone"] for one in found["runs"]] == [10, 0]
    text = comparison_text(found)
    assert "correct in the first alone: 10; in the second alone: 0" in text
    assert "98.0 %" in text and "differ" in text and f"p = {2 / 2**10:.3g}" in text
    near = compare_runs(good, run_with(make_run, "near", 4))
    assert not near["differ"] and "cannot be told apart" in comparison_text(near)
    with pytest.raises(ConfigError, match=r"no predictions\.csv"):
        compare_runs(good, tmp_path)


def test_runs_on_other_data_of_the_same_paths_are_not_compared_in_silence(make_run: Make) -> None:
    good, other = run_with(make_run, "good", 2), run_with(make_run, "other", 12)
    assert len(comparison_text(compare_runs(good, other)).splitlines()) == 3
    summary = read_summary(other)
    summary.data["manifest_hash"] = "c" * 64
    write_summary(other, summary)
    text = comparison_text(compare_runs(good, other))
    assert text.startswith("the data sets are not the same file by file")
    (other / "summary.json").unlink()
    assert compare_runs(good, other)["same_data"] is None
    path = other / "predictions.csv"
    path.write_text(path.read_text().replace("val/bees/099.jpg,bees", "val/bees/099.jpg,ants"))
    assert compare_runs(good, other)["count"] == 99
    path.write_text(path.read_text().replace("val/", "elsewhere/"))
    with pytest.raises(ConfigError, match="no validation image"):
        compare_runs(good, other)
