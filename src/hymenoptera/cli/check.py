"""`hymenoptera check DIR`: a data set, before anything is trained on it."""

from pathlib import Path
from typing import Annotated

import typer

from hymenoptera.cli.application import Json, answer, app, examples
from hymenoptera.errors import RequestError, nearest


@app.command(
    short_help="Check a data set before anything is trained on it.",
    epilog=examples("hymenoptera check ~/pictures", "hymenoptera check data --page check.html"),
)
def check(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Class folders, or train/ and val/ of them."),
    ],
    weights: Annotated[
        str,
        typer.Option(
            help="To doubt labels with: a state dict's file, imagenet, none; auto: what is at hand."
        ),
    ] = "auto",
    model: Annotated[str, typer.Option(help="The backbone of these weights.")] = "resnet18",
    page: Annotated[
        Path | None, typer.Option(help="Write a page with thumbnails to this file too.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Check a data set: counts, unreadable and stray files, duplicates, likely wrong labels.

    The exit status is 1 where something was found that spoils a result: an unreadable picture, a
    picture in two parts, a class that a part lacks, duplicates with different labels.
    """
    from hymenoptera.rules import BACKBONES

    if model not in BACKBONES:
        raise RequestError(f"--model {model}: there is no such model. {nearest(model, BACKBONES)}")
    known = weights in ("auto", "imagenet", "none")
    if not known and not Path(weights).expanduser().is_file():
        raise RequestError(f"--weights {weights}: there is no such file.")
    if page is not None and not page.parent.is_dir():
        raise RequestError(f"{page}: there is no folder {page.parent} to write it in.")
    from hymenoptera.checking import check_data_set
    from hymenoptera.results.data_check import check_text, write_check_page

    found = check_data_set(folder.expanduser(), weights, model)
    if page is not None:
        write_check_page(found, page)
    answer(found if as_json else check_text(found))
    return 1 if found["spoils"] else 0
