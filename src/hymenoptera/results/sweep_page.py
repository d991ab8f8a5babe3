"""sweep.html: a sweep to look at, in one file that needs nothing else."""

import json
import math
from pathlib import Path
from typing import Any

from hymenoptera.atomic import write_file

TEMPLATE = Path(__file__).with_name("sweep.html")


def write_page(path: Path, content: dict[str, Any]) -> None:
    """Write the page.

    Args:
        path: of the file.
        content: as `sweep_files.as_dict` makes it.
    """
    data = json.dumps(content, ensure_ascii=False).replace(
        "<", "\\u003c"
    )  # a tag would end the script
    name = content["name"].replace("&", "&amp;").replace("<", "&lt;")
    page = TEMPLATE.read_text(encoding="utf-8")
    write_file(path, page.replace("{{name}}", name).replace("{{data}}", data))


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
