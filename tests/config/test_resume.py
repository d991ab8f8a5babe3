"""resume=RUN: the run's own overrides and folder, and what may be overridden now."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Ended
from hymenoptera.config.resume import check_resume
from hymenoptera.config.validation import check
from hymenoptera.errors import ConfigError

Run = Callable[..., Ended]


def test_a_run_is_continued_with_all_that_was_overridden_before(
    tmp_path: Path, program: Run, seen: Path
) -> None:
    """Fault 24."""
    program("hydra.run.dir=run", "optimizer=adamw", "trainer.max_epochs=2", "seed=3")
    first = (tmp_path / "run" / ".hydra" / "config.yaml").read_bytes()
    assert program("resume=run", "+trainer.max_steps=9", "trainer.max_epochs=4").status == 0
    assert program("resume=run/checkpoints/last.ckpt", "report=false").status == 0
    job = json.loads(seen.read_text())
    config = job["config"]
    assert job["folder"] == str(tmp_path / "run")
    assert (config["seed"], config["report"]) == (3, False)
    assert config["optimizer"]["_target_"] == "torch.optim.AdamW"
    assert (config["trainer"]["max_epochs"], config["trainer"]["max_steps"]) == (4, 9)
    assert sum("max_epochs" in override for override in job["overrides"]) == 1
    assert (tmp_path / "run" / ".hydra" / "config.yaml").read_bytes() == first


def test_a_folder_with_an_equals_sign_in_its_name(tmp_path: Path, program: Run, seen: Path) -> None:
    """Fault 25."""
    assert program("hydra.run.dir='a=b c/run'").status == 0
    for how in ("resume=a=b c/run", "resume='a=b c/run'", "resume=a=b c/run/"):
        assert program(how).status == 0
        assert json.loads(seen.read_text())["folder"] == str(tmp_path / "a=b c" / "run")


def test_the_folder_of_configs_is_found_again(tmp_path: Path, program: Run, seen: Path) -> None:
    """Fault 21."""
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    overlay = "# @package _global_\noptimizer:\n  lr: 0.5\n"
    (tmp_path / "mine" / "experiment" / "big.yaml").write_text(overlay)
    program("--config-dir", "mine", "experiment=big", "hydra.run.dir=run")
    assert program("resume=run").status == 0
    assert json.loads(seen.read_text())["config"]["optimizer"]["lr"] == 0.5
    (tmp_path / "mine").rename(tmp_path / "moved")
    ended = program("resume=run")
    assert ended.status == 2
    assert "mine' not found" in ended.err
    assert program("resume=run", "--config-dir=moved").status == 0


def test_a_process_that_lightning_starts_reads_the_same_arguments_again(
    tmp_path: Path, program: Run, seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("hydra.run.dir=run", "+callbacks.mine._target_=pytorch_lightning.Callback")
    program("resume=run", "trainer.max_epochs=3")
    first = json.loads(seen.read_text())["overrides"]
    monkeypatch.setenv("LOCAL_RANK", "1")
    added = ('hydra.run.dir="run"', "hydra.job.name=train_ddp_process_1")
    assert program(*sys.argv[1:], *added, "hydra.output_subdir=null").status == 0
    assert sorted(json.loads(seen.read_text())["overrides"]) == sorted(first)


@pytest.mark.parametrize(
    ("overrides", "arguments", "words"),
    [
        ("a: {", [], "overrides.yaml"),
        ("[]", ["hydra.run.dir=other"], "leave out hydra.run.dir"),
        ("[]", ["optimizer.lrr=1"], "Did you mean optimizer.lr"),
        (None, [], "nothing to continue"),
    ],
)
def test_what_cannot_be_resumed_is_explained_and_stays(
    tmp_path: Path, train: Run, overrides: str | None, arguments: list[str], words: str
) -> None:
    folder = tmp_path / "run"
    (folder / ".hydra").mkdir(parents=True)
    if overrides is not None:
        (folder / ".hydra" / "overrides.yaml").write_text(overrides)
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "last.ckpt").touch()
    files = sorted(folder.rglob("*"))
    ended = train("resume=run", *arguments)
    assert ended.status == 2
    assert 1 <= len(ended.err.splitlines()) <= 3
    assert words in ended.err
    assert sorted(folder.rglob("*")) == files


def test_what_torchrun_starts_again_continues(
    tmp_path: Path, program: Run, seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program("hydra.run.dir=run", "seed=3").status == 0
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert program("hydra.run.dir=run", "seed=3").status == 0
    config = json.loads(seen.read_text())["config"]
    assert (config["resume"], config["seed"]) == ("run", 3)
    (tmp_path / "run" / "checkpoints" / "last.ckpt").unlink()  # as if it failed earlier
    assert program("hydra.run.dir=run", "seed=3").status == 0
    assert json.loads(seen.read_text())["config"]["resume"] is None


def test_a_checkpoint_outside_of_a_run_folder_starts_a_new_run(
    tmp_path: Path, program: Run, seen: Path
) -> None:
    (tmp_path / "last.ckpt").touch()
    assert program("resume=last.ckpt", "seed=2", "hydra.run.dir=new").status == 0
    job = json.loads(seen.read_text())
    assert (job["config"]["resume"], job["config"]["seed"]) == ("last.ckpt", 2)


@pytest.mark.parametrize(
    "override",
    [
        *("optimizer.lr=1e-3", "seed=1", "model=resnet34", "data.batch_size=8", "transfer.views=2"),
    ],
)
def test_what_was_trained_with_cannot_be_changed(
    composed: Callable[..., Any], override: str
) -> None:
    """Fault 9."""
    key = override.split("=")[0]
    now = {**check(composed(override)), "resume": "runs/x"}
    with pytest.raises(ConfigError, match="resume cannot change that") as error:
        check_resume(check(composed()), now)
    assert str(error.value).startswith(key)
    assert "model.weights=runs/x/checkpoints/best.ckpt" in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


def test_what_may_change_is_honoured(composed: Callable[..., Any]) -> None:
    changes = (
        *("trainer.max_epochs=40", "callbacks.early_stopping.enabled=true", "logger=csv"),
        *("report=false", "compile=true", "channels_last=false"),
        *("data.num_workers=2", "data.source=.", "data.cache=ram", "data.augment_on=cpu"),
        *("data.on_error=skip", "data.eval_batch_size=8", "transfer.cache=false"),
    )
    check_resume(check(composed()), {**check(composed(*changes)), "resume": "runs/x"})
