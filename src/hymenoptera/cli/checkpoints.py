"""Commands on a checkpoint: predict, evaluate, export, serve."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from hymenoptera.cli.application import (
    Checkpoint,
    Device,
    Json,
    answer,
    app,
    check_places,
    checkpoint_at,
    examples,
    remark,
)
from hymenoptera.errors import RequestError
from hymenoptera.results.rows import Format


@app.command(
    short_help="Classify pictures.",
    epilog=examples(
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
        typer.Argument(metavar="PATH", help="Files, folders, 'globs', or - for paths on stdin."),
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
    check_places(output, gallery)
    checkpoint = checkpoint_at(checkpoint)
    from hymenoptera.data.pictures import find_pictures

    pictures: Iterable[str] = find_pictures(paths)
    if "-" not in paths:
        pictures = list(pictures)
        if not pictures:
            raise RequestError(f"{', '.join(paths)}: there are no pictures in it.")
    from hymenoptera.predicting import predict_paths
    from hymenoptera.predictor import load_predictor

    whole = predict_paths(
        load_predictor(checkpoint, device),
        pictures,
        form=form,
        top_k=top_k,
        output=output,
        gallery=gallery,
        grad_cam=grad_cam,
    )
    return 0 if whole else 1


@app.command(
    short_help="Judge a checkpoint.",
    epilog=examples(
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
    path = checkpoint_at(checkpoint)
    from hymenoptera import evaluation
    from hymenoptera.results.tables import measures_table

    found = evaluation.evaluate(path, data, device)
    answer(found if as_json else measures_table(found))


@app.command(
    short_help="Write a checkpoint in a format that other programs run.",
    epilog=examples(
        "hymenoptera export runs/TIME --format onnx",
        "hymenoptera export best.ckpt --format safetensors --output insects.safetensors",
    ),
)
def export(
    checkpoint: Checkpoint,
    form: Annotated[
        Literal["onnx", "torchscript", "pt2", "safetensors"],
        typer.Option("--format", help="onnx needs the extra export."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file; by default beside the checkpoint."),
    ] = None,
    compare_on: Annotated[
        Path | None, typer.Option(help="A folder of pictures; by default the run's own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a checkpoint as ONNX, TorchScript, torch.export (pt2) or safetensors.

    Classes and preprocessing are in the file's metadata. The file is loaded again by its own
    runtime and compared with the checkpoint on real pictures; one whose logits differ by more
    than 1e-4 is not kept. Then ten lines are printed that use it without this project.
    """
    path = checkpoint_at(checkpoint)
    check_places(output)
    from hymenoptera.exporting import export_checkpoint

    made = export_checkpoint(path, form, output, compare_on)
    if as_json:
        answer(made)
        return
    remark(
        f"{made['file']} ({made['size_bytes'] / 1e6:.1f} MB): logits differ by "
        f"{made['largest_difference']:.2g} at the most, on {made['pictures']} pictures.\n"
        f"It is used so: python THIS.py PICTURE"
    )
    answer(made["snippet"])


@app.command(
    short_help="Open a page to try a checkpoint.",
    epilog=examples(
        "hymenoptera serve runs/TIME",
        "hymenoptera serve best.ckpt --port 8080 --max-mb 5",
        "hymenoptera serve runs/TIME --host 0.0.0.0",
    ),
)
def serve(
    checkpoint: Checkpoint,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 lets the whole network in.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="By default the first that is free, from 7860."),
    ] = None,
    max_mb: Annotated[float, typer.Option(min=0.1, help="Of a file that is dropped.")] = 20,
    max_megapixels: Annotated[float, typer.Option(min=0.1, help="Of a picture.")] = 50,
    device: Device = "auto",
) -> None:
    """Open a page to try a checkpoint: drop a picture, see what the network makes of it.

    It shows the classes, where the answer comes from (Grad-CAM), and the training pictures that
    the network finds nearest. What is dropped goes to this machine alone, and is not kept.
    """
    path = checkpoint_at(checkpoint)
    from hymenoptera.serving import Server, build_page

    server = Server(host, port, int(max_mb * 1e6), int(max_megapixels * 1e6))
    from hymenoptera.looking import Looker
    from hymenoptera.models.checkpoint import facts_inside
    from hymenoptera.results.show import describe

    look = Looker(path, device)
    if look.missing:
        remark(f"There will be no nearest training pictures. {look.missing}")
    remark(f"{server.address}    Ctrl-C ends it")
    server.serve(look, build_page(describe(path, facts_inside), server.largest_bytes))
