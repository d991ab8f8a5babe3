"""HTML pages and console summaries from jinja2 templates; a page needs nothing from outside."""

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from hymenoptera.files import write_file
from hymenoptera.reports import tables


def render(template: str, **values: Any) -> str:
    """A page, or a part of one, from a file in `templates/`; in HTML all but Markup is escaped."""
    return _environment().get_template(template).render(values).rstrip("\n")


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template into a file, whole or not at all."""
    write_file(path, encoded(render(template, **values)))


def encoded(html: str) -> bytes:
    """A page as bytes; of a file name that is no text, its bytes are shown."""
    return html.encode(errors="backslashreplace")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hymenoptera.reports"),
        autoescape=select_autoescape(default=True, disabled_extensions=("txt",)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ("percent", "interval", "duration", "size", "count", "names", "path")
    environment.filters |= {f"as_{name}": getattr(tables, f"format_{name}") for name in names}
    environment.globals["asset"] = _asset
    return environment


def _asset(name: str) -> Markup:
    """A style sheet or a script of the project, for the inside of its element."""
    return Markup(files("hymenoptera.reports").joinpath("templates", name).read_text("utf-8"))
