"""Commands on folders of images, runs and sweeps: check, show, report, runs, sweep, compare."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from hymenoptera.cli.application import Checkpoint, Json, Page, Run, command, show_result
from hymenoptera.errors import ConfigError


@command("hymenoptera check ~/images", "hymenoptera check ~/images --page check.html")
def check(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Class folders, or train/, val/ and test/ of them."),
    ],
    weights: Annotated[
        str,
        typer.Option(help="To find label errors: a file, imagenet, none; auto: what is here."),
    ] = "auto",
    model: Annotated[str, typer.Option(help="The backbone of these weights.")] = "resnet18",
    page: Page = None,
    as_json: Json = False,
) -> int:
    """Check a data set before anything is trained on it.

    Counts, unreadable and other files, duplicates, suspected label errors. The exit status is 1
    where something was found that spoils a result, such as an image in two splits.
    """
    from hymenoptera.config.schema import BACKBONE

    if (fault := BACKBONE.fault(model)) is not None:
        raise ConfigError(f"--model {model}: {fault}")
    if weights not in ("auto", "imagenet", "none") and not Path(weights).expanduser().is_file():
        raise ConfigError(f"--weights {weights}: there is no such file.")
    from hymenoptera.cli.checking import check_data_set
    from hymenoptera.reports.check_page import check_text, write_check_page

    result = check_data_set(folder, weights, model)
    if page is not None:
        write_check_page(result, page)
    show_result(result if as_json else check_text(result))
    return 1 if result["spoils"] else 0


@command(
    "hymenoptera backbones",
    "hymenoptera backbones 'timm/convnextv2*'",
    "hymenoptera backbones resnet18 --json",
)
def backbones(
    pattern: Annotated[
        str, typer.Argument(metavar="[PATTERN]", help="A 'glob' or a part of the name.")
    ] = "[!t]*",
    as_json: Json = False,
) -> None:
    """List networks for model.backbone: parameters, input size, licence and source of the weights.

    Without a pattern those of torchvision; timm's 1,300 have names that begin with timm/.
    """
    from hymenoptera.cli.backbones import find_backbones
    from hymenoptera.reports.tables import format_table

    found = find_backbones(pattern)
    if as_json:
        show_result(found)
        return
    rows = [["name", "M parameters", "px", "licence", "weights"]]
    for one in found:
        rows.append(["" if value is None else str(value) for value in one.values()])
    show_result(format_table(rows))


@command("hymenoptera show runs/TIME", "hymenoptera show runs/TIME/checkpoints/last.ckpt --json")
def show(checkpoint: Checkpoint, as_json: Json = False) -> None:
    """Say what a checkpoint is.

    Classes, network, weights, data, accuracy, command, size.
    """
    from hymenoptera.cli.description import describe, description_text

    description = describe(checkpoint)
    show_result(description if as_json else description_text(description))


@command("hymenoptera report runs/TIME")
def report(run: Run) -> None:
    """Write a run's report.html again.

    From the files in its folder; also of a run that died.
    """
    from hymenoptera.reports.report import write_report

    show_result(str(write_report(run)))


@command("hymenoptera runs", "hymenoptera runs ~/runs --sort accuracy --json")
def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look, at any depth.")] = Path("runs"),
    sort: Annotated[
        Literal["folder", "accuracy", "time", "experiment", "status"],
        typer.Option(help="The best, or longest, first; names from a to z."),
    ] = "folder",
    as_json: Json = False,
) -> None:
    """List the runs below a folder."""
    from hymenoptera.reports.runs import find_runs, runs_table, sort_runs

    rows = sort_runs(find_runs(folder), sort)
    show_result(rows if as_json else runs_table(rows))


@command("hymenoptera sweep runs/rates")
def sweep(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A sweep's folder.")],
) -> None:
    """Build a sweep's table and page again.

    Prints the table, and writes sweep.csv, sweep.json and sweep.html, from its jobs.
    """
    from hymenoptera.reports.sweep_files import show_sweep

    show_sweep(folder)


@command("hymenoptera compare runs/rates/0 runs/rates/1 --json")
def compare(first: Run, second: Run, as_json: Json = False) -> None:
    """Compare two runs on the same images.

    On the validation images that both predicted, by McNemar's exact test.
    """
    from hymenoptera.reports.runs import compare_runs, comparison_text

    comparison = compare_runs(first, second)
    show_result(comparison if as_json else comparison_text(comparison))
