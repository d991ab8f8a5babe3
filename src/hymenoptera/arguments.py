"""What the command line says before Hydra reads it: options, home folders, a run to go on with."""

from pathlib import Path

from omegaconf import OmegaConf

from hymenoptera.errors import RequestError, nearest

OPTIONS = (  # Hydra's own, by their long names
    *("--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--info"),
    *("--multirun", "--shell-completion", "--config-path", "--config-name", "--config-dir"),
    "--experimental-rerun",
)


def for_hydra(arguments: list[str]) -> list[str]:
    """The arguments as Hydra is to have them.

    Args:
        arguments: as the user gave them.

    Returns:
        The same with home folders in place; with resume=RUN, that run's own overrides and folder
        are in front of them.

    Raises:
        RequestError: there is no such option, or no such run.
    """
    _check_options(arguments)
    return _with_resumed([_expand_home(argument) for argument in arguments])


def _check_options(arguments: list[str]) -> None:
    for argument in arguments:
        name = argument.split("=")[0]
        if name.startswith("--") and not any(option.startswith(name) for option in OPTIONS):
            raise RequestError(f"{argument}: there is no such option. {nearest(name, OPTIONS)}")


def _expand_home(argument: str) -> str:
    """KEY=~/PATH with the home folder in place: shells leave it, and Hydra cannot read it."""
    key, sign, value = argument.partition("=")
    return f"{key}={Path(value).expanduser()}" if sign and value.startswith("~/") else argument


def _with_resumed(arguments: list[str]) -> list[str]:
    """With resume=RUN, put that run's own overrides and folder in front of the given ones."""
    given = [a.removeprefix("resume=") for a in arguments if a.startswith("resume=")]
    if not given or given[-1] in ("null", ""):
        return arguments
    path = Path(given[-1]).expanduser()
    if not path.exists():
        raise RequestError(
            f"resume={given[-1]}: there is no such run folder or checkpoint. "
            f"It takes one of the folders below runs/, or a .ckpt file in one."
        )
    folder = path if path.is_dir() else path.parent.parent
    overrides = folder / ".hydra" / "overrides.yaml"
    if path.is_dir() and not overrides.is_file():
        raise RequestError(f"resume={given[-1]}: that is not a run folder, it has no .hydra/.")
    if not overrides.is_file():
        return arguments  # a checkpoint that was moved out of its run folder starts a new one
    checkpoint = path if path.is_file() else folder / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        raise RequestError(
            f"resume={given[-1]}: {checkpoint} does not exist, the run ended before its first "
            f"epoch did. Start it again instead."
        )
    kept = [
        override
        for override in OmegaConf.to_object(OmegaConf.load(overrides))  # type: ignore[union-attr]
        if not str(override).startswith("resume=")
    ]
    for override in map(str, kept):  # Hydra's own keys and options could have it run anything
        if override.lstrip("+~").startswith(("hydra", "-")):
            raise RequestError(
                f"resume={given[-1]}: {overrides} holds {override}, which no run writes there. "
                f"Resume folders only that you trust."
            )
    # the run keeps the overrides it was begun with: what is given now may yet be refused
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return [*map(str, kept), *arguments, f"hydra.run.dir='{quoted}'", "hydra.output_subdir=null"]
