"""Pages that hold all they need in themselves: no outside source, light and dark, any width."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

__all__ = [
    "begin_page",
    "card",
    "end_page",
    "escape",
    "figure",
    "image",
    "listing",
    "row",
    "section",
    "table",
]


def begin_page(title: str) -> str:
    """The beginning of a page, up to its content."""
    style = files("hymenoptera.results").joinpath("page.css").read_text(encoding="utf-8")
    return Template(_HEAD).substitute(title=escape(title), style=style)


def end_page(script: str = "") -> str:
    """The end of a page."""
    return f"</main>\n{f'<script>{script}</script>' if script else ''}\n</body>\n</html>\n"


def section(title: str, *pieces: str) -> str:
    """Pieces of HTML under a heading."""
    return "\n".join([f"<h2>{escape(title)}</h2>", *pieces])


def row(*pieces: str, wide: bool = False) -> str:
    """Pieces of HTML beside each other, as many as there is room for."""
    return f"<div class='row{' wide' * wide}'>{''.join(pieces)}</div>"


def card(title: str, content: str) -> str:
    """A piece of HTML in a frame, under a small heading."""
    return f"<div class='card'><h3>{escape(title)}</h3><div class='scroll'>{content}</div></div>"


def figure(content: str, caption: str) -> str:
    """A picture with its caption, both HTML."""
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>"


def image(address: str, description: str) -> str:
    """An image, or nothing where there is no address."""
    if not address:
        return ""
    return f"<img loading='lazy' src='{address}' alt='{escape(description)}'>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts."""

    def cells(texts: Sequence[str], kind: str) -> str:
        return "".join(f"<{kind}>{escape(text)}</{kind}>" for text in texts)

    body = "".join(f"<tr>{cells(texts, 'td')}</tr>" for texts in rows)
    return f"<table><thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def listing(facts: Mapping[str, Any]) -> str:
    """Names and what they stand for."""
    return "".join(
        [
            "<dl>",
            *(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items()),
            "</dl>",
        ]
    )


_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<link rel="icon" href="data:,">
<style>
$style</style>
</head>
<body>
<main>
"""
