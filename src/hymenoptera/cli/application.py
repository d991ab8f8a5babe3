"""What all commands share: the application, the options that several take, how they answer."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Abort

from hymenoptera.errors import RequestError

__all__ = ["Abort", "UsageError", "app"]

CLICK_LINES = "\b\n"  # has click leave the lines of a paragraph as they are

UsageError: type[Exception] = next(  # of the click that is in use, which typer may bring itself
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError"
)

app = typer.Typer(
    name="hymenoptera",
    help="Works on what `python train.py` leaves behind: a run folder, or a checkpoint in one.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Checkpoint = Annotated[
    Path, typer.Argument(metavar="CKPT", help="A run folder (its best checkpoint) or a .ckpt file.")
]
Device = Annotated[
    Literal["auto", "cpu", "gpu", "mps"], typer.Option(help="What it is computed on.")
]
Json = Annotated[bool, typer.Option("--json", help="For a script: JSON on stdout.")]


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\n".join([f"{CLICK_LINES}Examples:", *(f"  {command}" for command in commands)])


def answer(given: Any) -> None:
    """Print text as it is, anything else as JSON."""
    text = given if isinstance(given, str) else json.dumps(given, indent=2, ensure_ascii=False)
    print(text)  # noqa: T201


def remark(text: str) -> None:
    """Print what is for the user alone, not for the next program: on stderr."""
    print(text, file=sys.stderr)  # noqa: T201


def checkpoint_at(path: Path) -> Path:
    """The checkpoint that is meant; as `results.runs.find_checkpoint`, imported when needed."""
    from hymenoptera.results.runs import find_checkpoint

    return find_checkpoint(path)


def check_places(*paths: Path | None) -> None:
    """Refuse files that could not be written, before there is anything to write.

    Raises:
        RequestError: naming the first of them.
    """
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise RequestError(f"{path}: there is no folder {path.parent} to write it in.")
        if path is not None and path.is_dir():
            raise RequestError(f"{path} is a folder: name a file in it.")
