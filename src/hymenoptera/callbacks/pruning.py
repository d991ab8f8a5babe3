"""Stops a trial of a search that has no chance; its Optuna study lies beside its run folder."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl

from hymenoptera.errors import ConfigError
from hymenoptera.reports.jobs import read_manifest

if TYPE_CHECKING:
    import optuna

FILE = "study.log"
METRIC = "val/accuracy"


class Pruning(pl.Callback):
    """Reports each epoch's validation accuracy to an Optuna trial, and stops where it says so.

    It never stops in the first quarter of the epochs, where a schedule is still warming up, and
    reports nothing of an epoch without a validation.

    Attributes:
        pruned_after: the epoch after which the run was stopped; None where it was not.

    Args:
        trial: an Optuna trial that is running.
    """

    def __init__(self, trial: "optuna.Trial") -> None:
        self.pruned_after: int | None = None
        self._trial = trial

    @classmethod
    def of_run(cls, folder: Path) -> "Pruning | None":
        """The callback of a run folder that belongs to an open trial; None for any other."""
        sweep = next((one for one in folder.parents if (one / FILE).is_file()), None)
        if sweep is None:
            return None
        import optuna

        manifest, study = read_manifest(sweep), open_study(sweep)
        places = {manifest.folder_of(job).resolve(): job.number for job in manifest.jobs}
        number = places.get(folder.resolve())
        if number is None or study.trials[number].state.is_finished():
            return None
        return cls(optuna.Trial(study, study.trials[number]._trial_id))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        value = trainer.callback_metrics.get(METRIC)
        if value is None or epoch % (trainer.check_val_every_n_epoch or 1):
            return
        hopeless = False
        if trainer.is_global_zero:
            self._trial.report(float(value), epoch)
            hopeless = epochs / 4 <= epoch < epochs and self._trial.should_prune()
        if trainer.strategy.broadcast(hopeless):
            self.pruned_after = epoch
            trainer.should_stop = True


def open_study(folder: Path, *, seed: int = 0, pruning: bool | None = None) -> "optuna.Study":
    """Begin or open the study in a sweep's folder.

    It is a journal, a file that is only ever appended to: several processes may share it, and a
    process that is killed leaves it whole.

    Args:
        folder: the sweep's.
        seed: of the sampler.
        pruning: whether trials may be pruned, from now on; None leaves it as it is.

    Raises:
        ConfigError: Optuna is not installed.
    """
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    except ImportError as error:
        raise ConfigError("sweep=optuna needs Optuna: pip install -e '.[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = str(folder / FILE)
    backend = JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))
    study = optuna.create_study(
        study_name="sweep",
        storage=optuna.storages.JournalStorage(backend),
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=6),
        direction="maximize",
        load_if_exists=True,
    )
    if pruning is not None:
        study.set_user_attr("pruning", pruning)
    if study.user_attrs.get("pruning"):
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=4)
    else:
        study.pruner = optuna.pruners.NopPruner()
    return study
