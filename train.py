"""Train a classifier: Hydra composes a config from conf/ and the command line.

python train.py --help
"""

import hydra
from omegaconf import DictConfig

from hymenoptera.config.command import quick_imports, run_command


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Train as the config says; returns the best validation accuracy."""
    with quick_imports():
        from hymenoptera.train import run  # imports torch, which takes seconds

    return run(cfg)


if __name__ == "__main__":
    run_command(main)
