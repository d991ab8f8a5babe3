"""summary.json: written, read, resumed; damaged ones are said to be so."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hymenoptera.errors import ConfigError
from hymenoptera.reports.record import (
    Summary,
    accuracy_summary,
    command_line,
    merge_resumed,
    provenance,
    read_epochs,
    read_summary,
    record_failure,
    write_summary,
)

BEST = {"epoch": 3, "step": 12, "checkpoint": "checkpoints/best.ckpt", "accuracy": 0.9}
DONE = Summary(
    "completed",
    command="python train.py trainer.max_epochs=4",
    overrides=["trainer.max_epochs=4"],
    best=BEST,
    epochs=4,
    durations={"fit_s": 10.0, "total_s": 12.0},
    images_per_s=30.0,
)


def test_a_summary_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_summary(tmp_path) is None
    summary = replace(DONE, test={"accuracy": 0.8}, versions={"python": "3.11"}, seed=0)
    write_summary(tmp_path, summary)
    assert read_summary(tmp_path) == summary
    write_summary(tmp_path, replace(DONE, best=BEST | {"score": float("nan")}))
    content = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert (content["schema_version"], content["best"]["score"]) == (2, None)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"schema_version": 2, "status": "failed", "no such field": 1}']
)
def test_a_damaged_summary_is_said_to_be_so(tmp_path: Path, content: str) -> None:
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(ConfigError, match=r"summary\.json is damaged"):
        read_summary(tmp_path)
    (tmp_path / "summary.json").write_text('{"schema_version": 1, "status": "completed"}')
    with pytest.raises(ConfigError, match="schema version 1"):
        read_summary(tmp_path)


def test_accuracy_by_hand() -> None:
    found = accuracy_summary([0, 1, 1], [[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    assert (found["accuracy"], found["correct"], found["count"]) == (2 / 3, 2, 3)
    assert found["interval"] == pytest.approx([0.2077, 0.9385], abs=1e-4)


def test_metrics_of_epochs_without_validation_have_no_empty_cells(tmp_path: Path) -> None:
    assert read_epochs(tmp_path) == []
    (tmp_path / "metrics.csv").write_text("epoch,train/loss,val/loss\n1,0.5,\n2,0.25,0.75\n")
    assert read_epochs(tmp_path)[0] == {"epoch": 1, "train/loss": 0.5}


def test_durations_and_images_of_resumes_add_up_and_the_command_stays() -> None:
    longer = Summary(
        "completed",
        command="python train.py resume=runs/a trainer.max_epochs=8",
        overrides=["trainer.max_epochs=8"],
        best=BEST | {"epoch": 7, "step": 28},
        epochs=8,
        durations={"fit_s": 30.0, "total_s": 32.0},
        images_per_s=10.0,
        resumes=[{"from_epoch": 5}],
    )
    merged = merge_resumed(DONE, longer)
    assert merged.durations == {"fit_s": 40.0, "total_s": 44.0}
    assert merged.images_per_s == pytest.approx((30 * 10 + 10 * 30) / 40)
    assert (merged.command, merged.overrides) == (DONE.command, DONE.overrides)
    assert (merged.epochs, merged.best) == (8, longer.best)
    assert merged.resumes[0]["command"] == longer.command
    again = merge_resumed(merged, replace(longer, resumes=[{"from_epoch": 9}]))
    assert [one["from_epoch"] for one in again.resumes] == [5, 9]


@pytest.mark.parametrize("best", [None, BEST])
def test_a_completed_record_stays_one_until_there_is_something_better(best: dict) -> None:
    resume = Summary("failed", error="no room", best=best, durations={"total_s": 3.0})
    merged = merge_resumed(DONE, resume)
    assert (merged.status, merged.error, merged.best) == ("completed", None, BEST)
    assert merged.durations == {"fit_s": 10.0, "total_s": 15.0}
    assert (merged.resumes[-1]["status"], merged.resumes[-1]["error"]) == ("failed", "no room")
    better = Summary("interrupted", best=BEST | {"step": 20, "accuracy": 0.95}, epochs=6)
    merged = merge_resumed(DONE, better)
    assert (merged.status, merged.best, merged.epochs) == ("interrupted", better.best, 6)


def test_a_failure_keeps_what_was_known(tmp_path: Path) -> None:
    before = replace(DONE, status="interrupted", model={"backbone": "resnet18"})
    merged = merge_resumed(before, Summary("failed", error="its data are away"))
    assert (merged.status, merged.error) == ("failed", "its data are away")
    assert (merged.best, merged.model, merged.epochs) == (BEST, before.model, 4)
    write_summary(tmp_path, DONE)
    record_failure(tmp_path, "no such weights", ["a=1"])
    assert read_summary(tmp_path).status == "completed"
    (tmp_path / "summary.json").write_text("{")
    record_failure(tmp_path, "no such weights", ["a=1"])
    assert read_summary(tmp_path).status == "failed"


def test_the_command_is_quoted_and_leaves_the_sweep_out() -> None:
    overrides = ["data.root=/my images", "sweep=joblib", "+sweep.trials=3", "optimizer.lr=1e-3"]
    command = command_line(overrides)
    assert command == "python train.py 'data.root=/my images' optimizer.lr=1e-3"
    assert provenance(overrides)["command"] == command


APP = """
import hydra
from hymenoptera.reports.record import command_line
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base="1.3", config_path=None, config_name=None)
def main(cfg):
    print("COMMAND", command_line(list(HydraConfig.get().overrides.task)))

main()
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["+a='x y'", "hydra.run.dir=out", "+extra=extra"], [["+a='x y'", "+extra=extra"]]),
        (["-m", "+a=1,2"], [["+a=1"], ["+a=2"]]),
    ],
)
def test_the_command_names_the_config_folder_and_hydras_own_overrides(
    tmp_path: Path, arguments: list[str], expected: list[list[str]]
) -> None:
    (tmp_path / "app.py").write_text(APP)
    own = tmp_path / "my configs"
    own.mkdir()
    (own / "extra.yaml").write_text("z: 1\n")
    command = [sys.executable, "app.py", "--config-dir", "my configs", *arguments]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    lines = [shlex.split(line)[1:] for line in out.splitlines() if line.startswith("COMMAND")]
    start = ["python", "train.py", "--config-dir", str(own)]
    end = ["hydra.run.dir=out"] if "hydra.run.dir=out" in arguments else []
    assert lines == [[*start, *overrides, *end] for overrides in expected]
