"""sweep.html: a sweep to look at, in one file that needs nothing else."""

import json
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
    data = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")  # it stands in a script
    name = content["name"].replace("&", "&amp;").replace("<", "&lt;")
    page = TEMPLATE.read_text(encoding="utf-8")
    write_file(path, page.replace("{{name}}", name).replace("{{data}}", data))
