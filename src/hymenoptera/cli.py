"""The `hymenoptera` command: works on what runs leave behind, a run folder or a checkpoint.

Nothing here imports torch before a command needs it. Exit status: 0, 1 where part of the work
failed, 2 for a bad request.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from hymenoptera.check_command import check
from hymenoptera.errors import HymenopteraError, RequestError
from hymenoptera.results.rows import Format

CLICK_LINES = "\b\n"  # has click leave the lines of a paragraph as they are


def _examples(*commands: str) -> str:
    return "\n".join([f"{CLICK_LINES}Examples:", *(f"  {command}" for command in commands)])


UsageError: type[Exception] = typer.BadParameter.__mro__[2]  # of the click that is in use

app = typer.Typer(
    name="hymenoptera",
    help="Works on what `python train.py` leaves behind: a run folder, or a checkpoint in one.",
    no_args_is_help=True,
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


@app.command(
    short_help="Classify pictures.",
    epilog=_examples(
        "hymenoptera predict runs/TIME ant.jpg ~/pictures",
        "hymenoptera predict runs/TIME 'photos/**/*.jpg' --format csv --output found.csv",
        "hymenoptera predict best.ckpt ~/pictures --gallery found.html --grad-cam",
        "find . -name '*.jpg' | hymenoptera predict runs/TIME - --format jsonl",
    ),
)
def predict(
    checkpoint: Checkpoint,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files, folders, 'globs', or - for paths on stdin."),
    ],
    form: Annotated[Format, typer.Option("--format", help="How rows are written.")] = "table",
    top_k: Annotated[int, typer.Option(min=1, help="Classes in a row.")] = 2,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the rows to this file.")
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option(help="Write a page with each picture too.")
    ] = None,
    grad_cam: Annotated[
        bool, typer.Option("--grad-cam", help="Show in the gallery where each answer comes from.")
    ] = False,
    device: Device = "auto",
) -> int:
    """Classify pictures: a row each, with the classes and their probabilities.

    A picture that cannot be read is a row with the reason; the exit status is then 1.
    """
    if grad_cam and gallery is None:
        raise RequestError("--grad-cam is drawn in a gallery: name one with --gallery FILE.html.")
    _check_place(output, gallery)
    checkpoint = _checkpoint(checkpoint)
    from hymenoptera.predicting import predict_paths
    from hymenoptera.predictor import load_predictor

    whole = predict_paths(
        load_predictor(checkpoint, device),
        paths,
        form=form,
        top_k=top_k,
        output=output,
        gallery=gallery,
        grad_cam=grad_cam,
    )
    return 0 if whole else 1


@app.command(
    short_help="Judge a checkpoint.",
    epilog=_examples(
        "hymenoptera evaluate runs/TIME",
        "hymenoptera evaluate best.ckpt --data ~/other_pictures --json",
    ),
)
def evaluate(
    checkpoint: Checkpoint,
    data: Annotated[
        Path | None,
        typer.Option(help="Class folders; by default the pictures the run was judged on."),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Judge a checkpoint: all metrics with their intervals, each class, the confusion."""
    path = _checkpoint(checkpoint)
    from hymenoptera import evaluation
    from hymenoptera.results.tables import measures_table

    found = evaluation.evaluate(path, data, device)
    _print(found if as_json else measures_table(found))


@app.command(
    short_help="Write a checkpoint in a format that other programs run.",
    epilog=_examples(
        "hymenoptera export runs/TIME --format onnx",
        "hymenoptera export best.ckpt --format safetensors --output insects.safetensors",
    ),
)
def export(
    checkpoint: Checkpoint,
    form: Annotated[
        Literal["onnx", "torchscript", "pt2", "safetensors"],
        typer.Option("--format", help="onnx needs the extra hymenoptera[export]."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file; by default beside the checkpoint."),
    ] = None,
    compare_on: Annotated[
        Path | None, typer.Option(help="A folder of pictures; by default the run's own.")
    ] = None,
) -> None:
    """Write a checkpoint as ONNX, TorchScript, torch.export (pt2) or safetensors.

    Classes and preprocessing are in the file's metadata. The file is loaded again by its own
    runtime and compared with the checkpoint on real pictures; one whose logits differ by more
    than 1e-4 is not kept. Then ten lines are printed that use it without this project.
    """
    checkpoint = _checkpoint(checkpoint)
    _check_place(output)
    from hymenoptera.models import export as exporting
    from hymenoptera.models.snippets import snippet
    from hymenoptera.predicting import real_images
    from hymenoptera.predictor import load_predictor

    path = output or checkpoint.with_suffix(exporting.FORMATS[form].suffix)
    predictor = load_predictor(checkpoint, "cpu")
    images = real_images(predictor, compare_on)
    difference = exporting.export(predictor.checkpoint, form, path, images)
    print(  # noqa: T201
        f"{path} ({path.stat().st_size / 1e6:.1f} MB): logits differ by {difference:.2g} at the "
        f"most, on {len(images)} pictures.\nIt is used so: python THIS.py PICTURE",
        file=sys.stderr,
    )
    _print(snippet(form, path))


@app.command(
    short_help="Say what a checkpoint is.",
    epilog=_examples(
        "hymenoptera show runs/TIME", "hymenoptera show runs/TIME/checkpoints/last.ckpt --json"
    ),
)
def show(checkpoint: Checkpoint, as_json: Json = False) -> None:
    """Say what a checkpoint is: classes, network, weights, data, accuracy, command, size."""
    from hymenoptera.results.show import describe, description

    def look_inside(path: Path) -> dict[str, Any]:
        from hymenoptera.models.checkpoint import facts_inside

        return facts_inside(path)

    facts = describe(_checkpoint(checkpoint), look_inside)
    _print(facts if as_json else description(facts))


@app.command(
    short_help="Write a run's report.html again.",
    epilog=_examples("hymenoptera report runs/TIME"),
)
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
) -> None:
    """Write a run's report.html again, from the files in its folder; also of a run that died."""
    from hymenoptera.results.report import write_report

    _print(str(write_report(run.expanduser())))


@app.command(
    epilog=_examples(
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
        _print(rows if as_json else runs_table(rows))
    else:
        print(f"No such runs below {folder}.", file=sys.stderr)  # noqa: T201


@app.command(
    short_help="Build a sweep's table and page again.",
    epilog=_examples("hymenoptera sweep runs/rates"),
)
def sweep(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A sweep's folder.")],
) -> None:
    """Print a sweep's table, and write sweep.csv, sweep.json and sweep.html, from its jobs."""
    from hymenoptera.results.sweep_files import show_sweep

    show_sweep(folder.expanduser())


@app.command(epilog=_examples("hymenoptera compare runs/rates/0 runs/rates/5"))
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another one.")],
) -> None:
    """Compare two runs on the same validation pictures, by McNemar's exact test."""
    from hymenoptera.results.comparison import compare_runs

    _print(compare_runs(first.expanduser(), second.expanduser()))


app.command(
    short_help="Check a data set before anything is trained on it.",
    epilog=_examples("hymenoptera check ~/pictures", "hymenoptera check data --page check.html"),
)(check)


def main() -> NoReturn:
    """Run the command, and end the process with an honest exit status."""
    try:
        status = app(standalone_mode=False) or 0
        sys.stdout.flush()
    except UsageError as error:
        _end_with(f"{error.format_message()} --help says what there is.", 2)  # type: ignore[attr-defined]
    except HymenopteraError as error:
        _end_with(str(error), error.exit_status)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        _end_with(f"{error.filename or 'A file'}: {error.strerror or error}.", 2)
    except (KeyboardInterrupt, typer.Abort):
        _end_with("Interrupted.", 130)
    sys.exit(status)


def _checkpoint(path: Path) -> Path:
    from hymenoptera.results.runs import find_checkpoint

    return find_checkpoint(path)


def _check_place(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise RequestError(f"{path}: there is no folder {path.parent} to write it in.")


def _end_with(message: str, status: int) -> NoReturn:
    print(message, file=sys.stderr)  # noqa: T201
    sys.exit(status)


def _print(answer: Any) -> None:
    text = answer if isinstance(answer, str) else json.dumps(answer, indent=2, ensure_ascii=False)
    print(text)  # noqa: T201
