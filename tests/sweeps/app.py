"""train.py with a task that takes a tenth of a second an epoch, and needs no torch.

The environment says what goes wrong: KILL, REFUSE (a learning rate each), HIDE (a plugin that is
not installed).
"""

import logging
import multiprocessing
import os
import pkgutil
import signal
import time
from pathlib import Path
from typing import Any

HIDDEN = os.environ.get("HIDE", "-")
walk_packages = pkgutil.walk_packages
pkgutil.walk_packages = lambda *a, **k: (p for p in walk_packages(*a, **k) if HIDDEN not in p.name)

import hydra  # noqa: E402
from hydra.core.hydra_config import HydraConfig  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from hymenoptera.config.command import run_command  # noqa: E402
from hymenoptera.config.launched import task_overrides  # noqa: E402

CONF = Path(__file__).parents[2] / "conf"


LOCKS = []


def is_asked(name: str, lr: float) -> bool:
    return name in os.environ and float(os.environ[name]) == lr


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg: DictConfig) -> Any:
    from hymenoptera.errors import ConfigError
    from hymenoptera.reports.record import Summary, record_failure, write_summary

    folder, lr = Path(HydraConfig.get().runtime.output_dir), cfg.optimizer.lr
    overrides = task_overrides()
    last = folder / "checkpoints" / "last.ckpt"
    logging.getLogger("hymenoptera").info("epoch line")
    try:
        if is_asked("REFUSE", lr):
            raise ConfigError("data.root: there is no such folder")
        if lr > 1e10:
            raise ArithmeticError("train/loss is nan")
    except Exception as error:
        record_failure(folder, str(error), overrides)
        return None
    last.parent.mkdir(exist_ok=True)
    first = 0
    if cfg.resume is not None:
        assert cfg.resume == str(folder)
        first = int(last.read_text())
    LOCKS.append(multiprocessing.RLock())  # as tqdm does
    asked: list[int] = []  # to stop, which it does after an epoch
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, lambda n, _: asked.append(n)) for number in numbers}
    for epoch in range(first, cfg.trainer.max_epochs):
        time.sleep(0.1)
        last.write_text(str(epoch + 1))
        with (folder / "epochs.txt").open("a") as file:
            file.write(f"{epoch} {os.getpid()}\n")
        if is_asked("KILL", lr):
            os.kill(os.getpid(), signal.SIGKILL)
        if asked:
            write_summary(folder, Summary("interrupted", overrides=overrides))
            raise KeyboardInterrupt
    for number, handler in handlers.items():
        signal.signal(number, handler)
    accuracy = 1 / (1 + abs(lr - 1e-3))
    best = {"epoch": 1, "accuracy": accuracy, "correct": 9, "count": 10, "interval": [0.5, 1.0]}
    epochs = cfg.trainer.max_epochs
    write_summary(folder, Summary("completed", overrides=overrides, best=best, epochs=epochs))
    return accuracy


if __name__ == "__main__":
    run_command(main)
