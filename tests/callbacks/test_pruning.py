"""A trial of a search is stopped where its study says so."""

from pathlib import Path

import pytest

from callbacks.conftest import Fit, Foreign
from hymenoptera.callbacks.pruning import Pruning, open_study
from hymenoptera.reports.jobs import Job, Manifest

pytest.importorskip("optuna")


class Scored(Foreign):
    """Logs what it is given as its validation accuracy, an epoch after the other."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = scores

    def on_validation_epoch_end(self) -> None:
        self.log("val/accuracy", self.scores[self.current_epoch])


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A study with four good trials that are over, and a fifth that is open."""
    study = open_study(tmp_path, pruning=True)
    for _ in range(4):
        trial = study.ask()
        for epoch in range(1, 9):
            trial.report(0.9, epoch)
        study.tell(trial, 0.9)
    study.ask()
    manifest = Manifest(tmp_path, ["optimizer.lr"], "optuna", "command")
    manifest.jobs = [Job(number, [], str(number), f"lr/{number}") for number in range(5)]
    manifest.write()
    return tmp_path


def test_a_hopeless_trial_is_pruned_after_a_quarter(fit: Fit, sweep: Path) -> None:
    pruning = Pruning.of_run(sweep / "lr" / "4")
    assert pruning is not None
    trainer = fit(pruning, model=Scored([0.1] * 8), max_epochs=8)
    assert pruning.pruned_after == 2
    assert trainer.current_epoch == 2


def test_epochs_without_validation_are_not_reported(fit: Fit, sweep: Path) -> None:
    pruning = Pruning.of_run(sweep / "lr" / "4")
    assert pruning is not None
    fit(pruning, model=Scored([0.95] * 4), max_epochs=4, check_val_every_n_epoch=2)
    assert list(open_study(sweep).trials[4].intermediate_values) == [2, 4]


def test_other_folders_belong_to_no_trial(sweep: Path) -> None:
    assert Pruning.of_run(sweep / "lr" / "0") is None  # it is over
    assert Pruning.of_run(sweep / "4") is None
    assert Pruning.of_run(sweep.parent / "4") is None
