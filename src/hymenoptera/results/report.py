"""report.html: all that a run says of itself on one page, from the files that it left."""

from importlib.resources import files
from pathlib import Path

from PIL import Image

from hymenoptera.atomic import write_file
from hymenoptera.errors import RequestError
from hymenoptera.results import report_judgement, report_parts
from hymenoptera.results.page import begin_page, end_page
from hymenoptera.results.pictures import data_uri, jpeg_uri, thumbnail, thumbnails
from hymenoptera.results.run_files import RunFiles, read_run
from hymenoptera.results.runs import is_run

MOST_THUMBNAILS = 1000  # validation pictures in the table with one; beyond, the page gets heavy
THUMBNAIL_PX, WORST_PX = 56, 240  # the first as of callbacks.embeddings: decoded once for both


def write_report(folder: Path) -> Path:
    """Write a run's report.html, whole or not at all.

    Returns:
        The page's path.

    Raises:
        RequestError: the folder is not a run's.
    """
    if not is_run(folder):
        raise RequestError(
            f"{folder} is not a run folder: it has neither summary.json nor .hydra/."
        )
    run = read_run(folder)
    page = [begin_page(f"{folder.resolve().name}: {report_parts.headline(run.record)}")]
    page += [report_parts.result(run), report_parts.curves(run)]
    if run.judgement is not None:
        wrong = run.judgement.worst(12)
        page += [
            report_judgement.judged(run.judgement),
            report_judgement.worst(run, wrong, [_worst_picture(run, i) for i in wrong]),
            report_judgement.picture_table(run, _thumbnails(run)),
        ]
    page += [report_parts.usage(run), report_parts.facts(run)]
    script = files("hymenoptera.results").joinpath("report.js").read_text(encoding="utf-8")
    page.append(end_page(script))
    path = folder / "report.html"
    write_file(path, "\n".join(part for part in page if part))
    return path


def _worst_picture(run: RunFiles, position: int) -> str:
    """What the network saw and where it looked; else the picture's file; else nothing."""
    assert run.judgement is not None
    path = run.judgement.paths[position]
    heat = run.heat(path)
    if heat.is_file():
        return jpeg_uri(heat.read_bytes())
    return _address(thumbnail(run.picture(path), WORST_PX))


def _thumbnails(run: RunFiles) -> list[str]:
    assert run.judgement is not None
    if len(run.judgement.paths) > MOST_THUMBNAILS:
        return [""] * len(run.judgement.paths)
    paths = map(run.picture, run.judgement.paths)
    return [_address(small) for small in thumbnails(paths, THUMBNAIL_PX)]


def _address(picture: Image.Image | None) -> str:
    return "" if picture is None else data_uri(picture)
