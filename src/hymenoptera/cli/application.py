"""What all commands share: the application, options that several of them take, their output."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from hymenoptera.errors import ConfigError

Callback = TypeVar("Callback", bound=Callable[..., Any])
Format = Literal["table", "csv", "jsonl"]

UsageError: type[Exception] = next(  # of the click in use, which typer may bring itself
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError"
)

app = typer.Typer(
    name="hymenoptera",
    help="Works on what `python train.py` leaves behind: a run folder, or a checkpoint in one.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def command(*examples: str) -> Callable[[Callback], Callback]:
    """Make a function a command; the examples end its help."""
    lines = ["\b", "Examples:", *(f"  {example}" for example in examples)]  # \b: lines as they are
    return app.command(epilog="\n".join(lines))


def _checkpoint(path: Path) -> Path:
    from hymenoptera.reports.runs import find_checkpoint

    return find_checkpoint(path)


def _output(path: Path | None) -> Path | None:
    """Check that a file can be written, before there is anything to write."""
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent} to write it in.")
    if path is not None and path.is_dir():
        raise ConfigError(f"{path} is a folder: name a file in it.")
    return path


_CHECKPOINT_HELP = "A run folder (its best checkpoint) or a .ckpt file."
Checkpoint = Annotated[
    Path, typer.Argument(metavar="CKPT", callback=_checkpoint, help=_CHECKPOINT_HELP)
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", callback=_output, help="The file to write.")
]
Page = Annotated[
    Path | None, typer.Option(callback=_output, help="Write a page with the images too.")
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Device = Annotated[Literal["auto", "cpu", "gpu", "mps"], typer.Option(help="Where to compute.")]
Json = Annotated[bool, typer.Option("--json", help="For a script: JSON on stdout.")]


def show_result(result: Any) -> None:
    """Print text as it is, anything else as JSON."""
    text = result if isinstance(result, str) else json.dumps(result, indent=2, ensure_ascii=False)
    typer.echo(text)
