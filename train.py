"""Train a classifier: compose a config from conf/ and the command line, hand it to the library.

python train.py --help
"""

import hydra
from omegaconf import DictConfig

from hymenoptera.launch import launch, run


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    """Run the composed config."""
    run(cfg)


if __name__ == "__main__":
    launch(main)
