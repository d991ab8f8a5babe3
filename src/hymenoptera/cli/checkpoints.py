"""Commands that use a checkpoint: predict, suggest, evaluate, calibrate, export, serve."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from hymenoptera.cli.application import (
    Checkpoint,
    Device,
    Format,
    Json,
    Output,
    Page,
    command,
    show_result,
)
from hymenoptera.errors import ConfigError


@command(
    "hymenoptera predict runs/TIME ant.jpg ~/images",
    "hymenoptera predict runs/TIME 'photos/**/*.jpg' --format csv --output predictions.csv",
    "hymenoptera predict best.ckpt ~/images --gallery gallery.html --grad-cam",
    "hymenoptera predict runs/TIME ~/images --coverage 0.95",
    "find . -name '*.jpg' | hymenoptera predict runs/TIME - --format jsonl",
)
def predict(
    checkpoint: Checkpoint,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Files, folders, 'globs', or - for paths on stdin."),
    ],
    form: Annotated[Format, typer.Option("--format", help="How rows are written.")] = "table",
    top_k: Annotated[int, typer.Option(min=1, help="Classes in a row.")] = 2,
    output: Output = None,
    gallery: Page = None,
    grad_cam: Annotated[
        bool, typer.Option("--grad-cam", help="Show in the gallery what each prediction rests on.")
    ] = False,
    coverage: Annotated[
        float | None, typer.Option(help="Say unsure, so that this share of answers is right.")
    ] = None,
    precision: Annotated[
        Literal["as trained", "float32", "bf16"],
        typer.Option(help="bf16 is twice as fast on a CPU that has it."),
    ] = "as trained",
    device: Device = "auto",
) -> int:
    """Classify images.

    A row each, on stdout or in a file, with the classes and their probabilities, and whether the
    image is like those that the checkpoint was trained on. With --coverage 0.95 the answer is a
    set of classes that has the right one for 95 % of such images: unsure, if it is not one class.
    An image that cannot be read is a row with the reason; the exit status is then 1.
    """
    if grad_cam and gallery is None:
        raise ConfigError("--grad-cam is drawn in a gallery: name one with --gallery FILE.html.")
    from hymenoptera.data.images import find_images

    images: Iterable[str] = find_images(paths) if "-" in paths else _images_in(*paths)
    from hymenoptera.cli.predicting import predict_paths
    from hymenoptera.models import Predictor

    lightnings = {"float32": "32-true", "bf16": "bf16-mixed"}.get(precision)
    predictor = Predictor(checkpoint, device, lightnings, coverage)
    all_read = predict_paths(predictor, images, form, top_k, output, gallery, grad_cam=grad_cam)
    return 0 if all_read else 1


@command(
    "hymenoptera evaluate runs/TIME",
    "hymenoptera evaluate runs/TIME --test",
    "hymenoptera evaluate best.ckpt --data ~/other_images --json",
)
def evaluate(
    checkpoint: Checkpoint,
    data: Annotated[
        Path | None, typer.Option(help="Class folders; by default the run's own images.")
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="On the held-out test images.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Evaluate a checkpoint.

    All metrics with their intervals, each class, the confusion.
    """
    from hymenoptera.cli import evaluation
    from hymenoptera.reports.tables import measures_table

    measures = evaluation.evaluate(checkpoint, data, device, "test" if test else "val")
    show_result(measures if as_json else measures_table(measures))


@command(
    "hymenoptera export runs/TIME --format onnx",
    "hymenoptera export best.ckpt --format safetensors --output insects.safetensors",
)
def export(
    checkpoint: Checkpoint,
    form: Annotated[
        Literal["onnx", "pt2", "safetensors"],
        typer.Option("--format", help="onnx needs the extra export."),
    ],
    output: Output = None,
    compare_on: Annotated[
        Path | None, typer.Option(help="A folder of images; by default the run's own.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a checkpoint in a format that other programs run.

    Beside the checkpoint, or where --output says. Classes and preprocessing are in the file's
    metadata. The file is loaded again by its own runtime and compared with the checkpoint on real
    images; one whose logits differ by more than 1e-4 is not kept. Then a short program is printed
    that uses it without this project.
    """
    from hymenoptera.cli.exporting import export_checkpoint

    exported = export_checkpoint(checkpoint, form, output, compare_on)
    if as_json:
        show_result(exported)
        return
    typer.echo(
        f"{exported['file']} ({exported['size_bytes'] / 1e6:.1f} MB): logits differ by at most "
        f"{exported['largest_difference']:.2g}, on {exported['images']} images.\n"
        f"Use it like this: python THIS.py IMAGE",
        err=True,
    )
    show_result(exported["snippet"])


@command(
    "hymenoptera suggest runs/TIME ~/unlabelled --count 20",
    "hymenoptera suggest runs/TIME ~/unlabelled --gallery first.html --output first.csv",
)
def suggest(
    checkpoint: Checkpoint,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Unlabelled images.")],
    count: Annotated[int, typer.Option(min=1, help="How many to label first.")] = 20,
    output: Output = None,
    gallery: Page = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say which of many unlabelled images to label first.

    Those that the classifier is least sure of, the least sure first. Images that are unlike the
    training images are listed separately: they may be of no class at all. Of near-duplicates one is
    enough.
    """
    images = _images_in(str(folder))
    from hymenoptera.cli import suggesting
    from hymenoptera.models import Predictor
    from hymenoptera.reports.record import write_csv

    predictor = Predictor(checkpoint, device)
    rows = suggesting.suggest_images(predictor, images, count)
    if output is not None:
        write_csv(output, [list(rows[0]), *(list(row.values()) for row in rows)])
    if gallery is not None:
        suggesting.write_gallery(gallery, rows, predictor)
    show_result(rows if as_json else suggesting.as_table(rows))


def _images_in(*paths: str) -> list[str]:
    from hymenoptera.data.images import find_images

    if images := list(find_images(paths)):
        return images
    raise ConfigError(f"{', '.join(paths)}: there are no images in it.")


@command("hymenoptera calibrate runs/TIME")
def calibrate(
    checkpoint: Checkpoint,
    unfamiliar_share: Annotated[
        float, typer.Option(min=0, max=1, help="Of such images, that may be called unfamiliar.")
    ] = 0.05,
    device: Device = "auto",
) -> None:
    """Add to a checkpoint what its predictions are worth.

    A run does so at its end; this is for checkpoints from before, and for another share of
    unfamiliar images. Weights and predicted classes stay as they are.
    """
    from hymenoptera.cli.evaluation import calibrate as calibrate_checkpoint

    found = calibrate_checkpoint(checkpoint, device, unfamiliar_share)
    show_result(
        f"temperature  {found['temperature']:.2f}: calibration error {found['error_before']:.3f} "
        f"before, {found['error_after']:.3f} after (cross-fitted)\n"
        f"coverage     up to {int(1000 * found['max_coverage']) / 1000:g}\n"
        f"familiarity  by {found['training_images'] or 'no'} training images"
    )


@command("hymenoptera serve runs/TIME", "hymenoptera serve best.ckpt --host 0.0.0.0 --port 8080")
def serve(
    checkpoint: Checkpoint,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 lets the whole network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 7860,
    device: Device = "auto",
) -> None:
    """Open a page to try a checkpoint.

    Drop an image, and it shows the classes, what the prediction rests on (Grad-CAM), and the
    nearest training images. An image goes to this machine alone, and is not kept.
    """
    from hymenoptera.cli.serving import run_server

    run_server(checkpoint, host, port, device)
