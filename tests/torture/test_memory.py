"""Memory that runs out: the run says with which batch, or goes on in smaller ones."""

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from conftest import Ended, write_pictures
from torture.commands import with_little_memory


def run_limited(folder: Path, limit: int, kind: str, *arguments: str) -> Ended:
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=with_little_memory, args=(limit, kind, [*arguments], folder))
    process.start()
    process.join(timeout=200)
    return Ended(
        process.exitcode, (folder / "out.txt").read_text(), (folder / "err.txt").read_text()
    )


@pytest.mark.parametrize("kind", ["gpu", pytest.param("cpu", marks=pytest.mark.torture)])
def test_out_of_memory_names_the_batch(tmp_path: Path, tiny: list[str], kind: str) -> None:
    ended = run_limited(tmp_path, 4, kind, *tiny, "hydra.run.dir=run")
    assert ended.status == 1
    assert "Memory ran out with batches of 8 pictures" in ended.err
    assert "data.batch_size=4 +trainer.accumulate_grad_batches=2" in ended.err
    assert len(ended.err.strip().splitlines()) <= 3
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"


@pytest.mark.torture
def test_batches_are_halved_and_accumulated(
    tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str]
) -> None:
    """As often as it takes, from the first weights again: as if it had been asked for."""
    plain = ("optimizer=sgd", "optimizer.lr=1e-2", "data.batch_size=8")
    ended = run_limited(
        tmp_path, 2, "gpu", *tiny, *plain, "out_of_memory=halve", "hydra.run.dir=halved"
    )
    assert ended.status == 0, ended.err + ended.out
    assert "batches of 8 pictures: going on with batches of 4, 2 of them to a step" in ended.out
    assert "batches of 4 pictures: going on with batches of 2, 4 of them to a step" in ended.out
    asked = run_train(
        *tiny,
        *plain,
        "data.batch_size=2",
        "+trainer.accumulate_grad_batches=4",
        "hydra.run.dir=asked",
    )
    assert asked.status == 0, asked.err
    for file in ("metrics.csv", "predictions.csv"):
        halved = (tmp_path / "halved" / file).read_bytes()
        assert halved == (tmp_path / "asked" / file).read_bytes()
    steps = [row.split(",")[1] for row in halved_rows(tmp_path / "halved")]
    assert steps == ["3", "6"]  # 24 pictures, 8 to a step
    kept = yaml.safe_load((tmp_path / "halved" / ".hydra" / "overrides.yaml").read_text())
    assert "data.batch_size=8" in kept


def halved_rows(run: Path) -> list[str]:
    return (run / "metrics.csv").read_text().splitlines()[1:]


@pytest.mark.torture
def test_a_batch_of_one_cannot_be_halved(tmp_path: Path, tiny: list[str]) -> None:
    ended = run_limited(tmp_path, 0, "cpu", *tiny, "data.batch_size=3", "out_of_memory=halve")
    assert ended.status == 1
    assert "Memory ran out with batches of 1 pictures" in ended.err


@pytest.mark.torture
def test_memory_that_runs_out_later_goes_on_from_the_last_checkpoint(
    tmp_path: Path, tiny: list[str]
) -> None:
    """A resumed run with larger batches than fit: what was trained before is not lost."""
    write_pictures(tmp_path / "trees", {"train": {"ash": 4, "birch": 4}, "val": {"ash": 2}})
    trees = (*tiny, "data.root=trees", "data.batch_size=4", "hydra.run.dir=run")
    assert run_limited(tmp_path, 4, "gpu", *trees).status == 0
    before = (tmp_path / "run" / "metrics.csv").read_text()
    ended = run_limited(
        tmp_path, 2, "gpu", "resume=run", "trainer.max_epochs=3", "out_of_memory=halve"
    )
    assert ended.status == 0, ended.err
    assert "going on with batches of 2" in ended.out
    after = (tmp_path / "run" / "metrics.csv").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 4
