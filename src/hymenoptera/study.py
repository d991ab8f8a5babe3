"""The Optuna study of a search: a file in the sweep's folder that outlives its processes."""

from pathlib import Path
from typing import TYPE_CHECKING

from hymenoptera.errors import RequestError

if TYPE_CHECKING:
    import optuna

FILE = "study.log"


def open_study(folder: Path, *, seed: int = 0, pruning: bool | None = None) -> "optuna.Study":
    """Begin or open the study in a sweep's folder.

    It is a journal, a file that is only ever appended to: several processes may share it, and a
    process that is killed leaves it whole.

    Args:
        folder: the sweep's.
        seed: of the sampler.
        pruning: whether trials may be pruned, from now on; None leaves it as it is.

    Raises:
        RequestError: Optuna is not installed.
    """
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    except ImportError as error:
        raise RequestError("sweep=optuna needs Optuna: pip install -e '.[optuna]'") from error
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
    study.pruner = (
        optuna.pruners.MedianPruner(n_startup_trials=4)
        if study.user_attrs.get("pruning")
        else optuna.pruners.NopPruner()
    )
    return study


def trial_of(folder: Path) -> "optuna.Trial | None":
    """The open trial that a run folder belongs to, if any: it has the folder's number."""
    if not (folder.parent / FILE).is_file() or not folder.name.isdigit():
        return None
    import optuna

    study = open_study(folder.parent)
    found = [t for t in study.trials if t.number == int(folder.name)]
    if not found or found[0].state.is_finished():
        return None
    return optuna.trial.Trial(study, found[0]._trial_id)
