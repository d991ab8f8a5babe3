"""The command line before Hydra reads it: options, home folders, added keys, a run to resume."""

from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from hymenoptera.config.launched import rank
from hymenoptera.config.resume import with_resumed
from hymenoptera.config.schema import TRAINER
from hymenoptera.errors import ConfigError

QUIET = (  # for all but rank zero, which writes the run's files
    "hydra.output_subdir=null",
    "~hydra.job_logging.handlers.file",
    "hydra.job_logging.root.handlers=[console]",
)


def for_hydra(arguments: list[str]) -> list[str]:
    """The arguments in the form that Hydra understands.

    Returns:
        Hydra's options first, then the overrides: with home folders in place, `+` and `++` as the
        config needs them, and with resume=RUN that run's own overrides and folder.

    Raises:
        ConfigError: there is no such option, or no such run.
    """
    parser = get_args_parser()
    parser.error = _invalid_option  # type: ignore[method-assign]
    given: list[str] = parser.parse_intermixed_args(arguments).overrides
    options = [argument for argument in arguments if argument not in given]
    options, overrides = with_resumed(options, [_override(argument) for argument in given])
    if rank() > 0:
        overrides += [override for override in QUIET if override not in overrides]
    return [*options, *overrides]


def _invalid_option(message: str) -> NoReturn:
    raise ConfigError(f"{message}. python train.py --hydra-help lists the options.")


def _override(argument: str) -> str:
    """An override as Hydra reads it: without ~/, and with `++` where a key may be new."""
    key, sign, value = argument.partition("=")
    if value.startswith("~/"):
        value = str(Path(value).expanduser())
    name = key.lstrip("+")
    is_option = name.startswith("trainer.") and name.split(".")[1] in TRAINER
    if is_option or (key.startswith("+") and not {"/", "@"} & set(name)):
        key = f"++{name}" if "." in name else name
    return f"{key}{sign}{value}"
