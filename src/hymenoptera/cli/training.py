"""`hymenoptera train`: what `python train.py` does, from anywhere."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hymenoptera.cli.application import app

# conf/ of the checkout, and a copy in the package
CONF = Path(__file__).parent.parent / "config" / "conf"


@app.command(
    "train",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    add_help_option=False,
    epilog="\b\nExamples:\n  hymenoptera train --help\n  hymenoptera train experiment=demo",
)
def train(
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
) -> None:
    """Train: all that `python train.py` does, where there is no checkout."""
    # processes that Lightning starts for more devices run this file
    sys.argv = [__file__, *(overrides or [])]
    _train()


def _train() -> None:
    import hydra

    from hymenoptera.config.command import run_command

    decorate = hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
    run_command(decorate(main))


def main(cfg: Any) -> float | None:
    """Train as the config says; returns the best validation accuracy."""
    from hymenoptera.config.command import quick_imports

    with quick_imports():
        from hymenoptera.train import run

    return run(cfg)


if __name__ == "__main__":
    _train()
