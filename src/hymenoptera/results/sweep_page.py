"""sweep.html: a sweep to look at, in one file that needs nothing else."""

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from hymenoptera.atomic import write_file
from hymenoptera.results import page


def write_page(path: Path, content: dict[str, Any]) -> None:
    """Write the page.

    Args:
        path: of the file.
        content: as `sweep_files.as_dict` makes it, without NaN.
    """
    # a tag in a value would end the script
    data = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
    script = files("hymenoptera.results").joinpath("sweep.js").read_text(encoding="utf-8")
    name = page.escape(content["name"])
    parallel = (
        page.section("All parameters at once", "<div class='row wide' id='parallel'></div>")
        if len({key for setting in content["settings"] for key in setting["values"]}) > 1
        else ""
    )
    pieces = [
        page.begin_page(content["name"]),
        f"<h1>{name}</h1>\n<p id='summary'></p>",
        "<div class='card sweep'><div class='scroll'><table id='table'></table></div></div>",
        page.section(
            "Accuracy against each parameter",
            _pointed("A ring is a setting with its 95 % interval, a dot one of its runs."),
            "<div class='row wide' id='parameters'></div>",
        ),
        page.section(
            "Validation accuracy by epoch",
            _pointed("A line is a run. Point at a row, a ring or a line to find it everywhere."),
            "<div class='row wide' id='curves'></div>",
        ),
        parallel,
        page.section("The best again, and for twice as long", "<pre id='commands'></pre>"),
        page.end_page(f"const sweep = {data};\n{script}"),
    ]
    write_file(path, "\n".join(pieces))


def finite(value: Any) -> Any:
    """The same with None for what JSON has no number for: NaN and infinity."""
    match value:
        case dict():
            return {key: finite(item) for key, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _pointed(idle: str) -> str:
    """A line that says what is pointed at."""
    return f"<p class='soft pointed'>{page.escape(idle)}</p>"
