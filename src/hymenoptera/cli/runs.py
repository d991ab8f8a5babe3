"""Commands that say what runs left behind: show, report, runs, sweep, compare."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hymenoptera.cli.application import (
    Checkpoint,
    Json,
    answer,
    app,
    checkpoint_at,
    examples,
    remark,
)


@app.command(
    short_help="Say what a checkpoint is.",
    epilog=examples(
        "hymenoptera show runs/TIME", "hymenoptera show runs/TIME/checkpoints/last.ckpt --json"
    ),
)
def show(checkpoint: Checkpoint, as_json: Json = False) -> None:
    """Say what a checkpoint is: classes, network, weights, data, accuracy, command, size."""
    from hymenoptera.results.show import describe, description

    def look_inside(path: Path) -> dict[str, Any]:
        from hymenoptera.models.checkpoint import facts_inside

        return facts_inside(path)

    facts = describe(checkpoint_at(checkpoint), look_inside)
    answer(facts if as_json else description(facts))


@app.command(
    short_help="Write a run's report.html again.",
    epilog=examples("hymenoptera report runs/TIME"),
)
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
) -> None:
    """Write a run's report.html again, from the files in its folder; also of a run that died."""
    from hymenoptera.results.report import write_report

    answer(str(write_report(run.expanduser())))


@app.command(
    epilog=examples(
        "hymenoptera runs",
        "hymenoptera runs --experiment scratch --status completed --sort accuracy",
        "hymenoptera runs ~/runs --min-accuracy 0.9 --json",
    ),
)
def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look, at any depth.")] = Path("runs"),
    sort: Annotated[
        Literal["folder", "accuracy", "time", "experiment", "status"],
        typer.Option(help="The best, or longest, first; names from a to z."),
    ] = "folder",
    experiment: Annotated[str | None, typer.Option(help="Only runs of this experiment.")] = None,
    status: Annotated[
        Literal["completed", "interrupted", "failed", "unfinished"] | None,
        typer.Option(help="Only runs that ended so."),
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only runs this good, from 0 to 1.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the runs below a folder."""
    from hymenoptera.results.runs import find_runs, runs_table, sort_runs

    rows = [
        row
        for row in sort_runs(find_runs(folder), sort)
        if experiment in (None, row["experiment"])
        and status in (None, row["status"])
        and (min_accuracy is None or (row["accuracy"] or 0) >= min_accuracy)
    ]
    if as_json or rows:
        answer(rows if as_json else runs_table(rows))
    else:
        remark(f"No such runs below {folder}.")


@app.command(
    short_help="Build a sweep's table and page again.",
    epilog=examples("hymenoptera sweep runs/rates"),
)
def sweep(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A sweep's folder.")],
) -> None:
    """Print a sweep's table, and write sweep.csv, sweep.json and sweep.html, from its jobs."""
    from hymenoptera.results.sweep_files import show_sweep

    show_sweep(folder.expanduser())


@app.command(
    short_help="Compare two runs on the same pictures.",
    epilog=examples(
        "hymenoptera compare runs/rates/0 runs/rates/5",
        "hymenoptera compare runs/MONDAY runs/TUESDAY --json",
    ),
)
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another one.")],
    as_json: Json = False,
) -> None:
    """Compare two runs on the same validation pictures, by McNemar's exact test."""
    from hymenoptera.results.comparison import compare_runs, comparison_lines

    found = compare_runs(first.expanduser(), second.expanduser())
    answer(found if as_json else comparison_lines(found))
