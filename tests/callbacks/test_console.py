"""The table of epochs, and what of Lightning's lines is shown."""

import logging

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint

from callbacks.conftest import Fit, make_classifier, make_data
from hymenoptera.callbacks import EpochTable, History, quiet_libraries


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "hymenoptera")
    return lambda: [r.message for r in caplog.records if r.name == "hymenoptera.callbacks.console"]


def test_a_line_an_epoch_and_the_best_that_model_checkpoint_has(
    fit: Fit, tmp_path, images, lines
) -> None:
    """Of any name, monitor and number of checkpoints."""
    history = History()
    best = ModelCheckpoint(tmp_path, "top", monitor="val/loss", save_top_k=2)
    model, data = make_classifier(), make_data(images)
    fit(EpochTable(), history, best, model=model, data=data, max_epochs=4)
    header, *rows = lines()
    assert " ".join(header.split()) == "epoch train/loss train/accuracy val/loss val/accuracy time"
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4"]
    assert f"{history.rows[2]['val/loss']:.4f}" in rows[2]
    assert f"{100 * history.rows[2]['train/accuracy']:.1f} %" in rows[2]
    marked = [row for row in rows if row.endswith("best so far")]
    assert marked[0] is rows[0]
    losses = [row["val/loss"] for row in history.rows]
    assert rows.index(marked[-1]) == losses.index(min(losses))


def test_an_epoch_that_ends_without_validation_has_a_line_too(fit: Fit, lines) -> None:
    fit(EpochTable(), History(), max_epochs=-1, max_steps=4)
    assert lines()[0].split() == ["epoch", "train_loss", "valid_loss", "valid_score", "time"]
    assert [line.split().count("-") for line in lines()[1:]] == [0, 2]


def test_of_lightnings_lines_a_profile_is_shown_and_a_tip_is_not(
    fit: Fit, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["pytorch_lightning", "lightning_fabric", "lightning"]
    before = [(n, logging.getLogger(n).level, logging.getLogger(n).propagate) for n in names]
    try:
        quiet_libraries()
        fit(profiler="simple")
        ended = logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script")
        assert ended.isEnabledFor(logging.INFO)
    finally:
        logging.captureWarnings(capture=False)
        for name, level, propagate in before:
            logging.getLogger(name).setLevel(level)
            logging.getLogger(name).propagate = propagate
    shown = [r for r in caplog.records if r.name.startswith(("pytorch_lightning", "lightning"))]
    assert [r.name for r in shown] == ["pytorch_lightning.profilers.profiler"]
    assert "run_training_epoch" in shown[0].message
