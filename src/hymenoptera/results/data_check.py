"""What `checking.check_data_set` found, as a text and as a page with thumbnails."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hymenoptera.atomic import write_file
from hymenoptera.results.page import begin_page, card, end_page, escape, figure, image, section
from hymenoptera.results.page import table as html_table
from hymenoptera.results.pictures import data_uri, thumbnail
from hymenoptera.results.tables import format_table

MOST_LINES = 8  # of a finding, on the console
MOST_TILES = 60  # of a finding, on the page
SIDE_PX = 180


def check_text(found: dict[str, Any]) -> str:
    """The table of counts and what was found, a paragraph each."""
    return "\n\n".join(
        [
            f"{found['root']}: {found['pictures']} pictures, {len(found['classes'])} classes",
            format_table(_count_rows(found)),
            *_paragraphs(found),
            "\n".join(_facts(found)),
            _verdict(found),
        ]
    )


def write_check_page(found: dict[str, Any], path: Path) -> None:
    """Write a page of what was found, with a thumbnail of each picture that it is about."""
    root = Path(found["root"])
    facts = "".join(f"<p class='soft'>{escape(line)}</p>" for line in _facts(found))
    pieces = [
        begin_page(f"Check of {root.name}"),
        f"<h1>{escape(str(root))}</h1>\n<p>{escape(_verdict(found))}</p>\n",
        card("Pictures", html_table(_count_rows(found)[0], _count_rows(found)[1:]) + facts),
    ]
    for title, findings in _findings(found).items():
        if not findings:
            continue
        tiles = [
            figure("".join(_tile(root, name) for name in paths), escape(words))
            for paths, words in findings[:MOST_TILES]
        ]
        more = len(findings) - MOST_TILES
        if more > 0:
            tiles.append(f"<p class='soft'>and {more} more</p>")
        heading = f"{title} ({len(findings)})"
        pieces.append(section(heading, f"<div class='tiles'>{''.join(tiles)}</div>"))
    pieces.append(end_page())
    write_file(path, "\n".join(pieces))


def _count_rows(found: dict[str, Any]) -> list[list[str]]:
    rows = [["class", *found["parts"]]]
    for name in found["classes"]:
        rows.append([name, *(str(found["counts"][part][name]) for part in found["parts"])])
    totals = [str(sum(found["counts"][part].values())) for part in found["parts"]]
    return [*rows, ["all", *totals]]


Finding = tuple[list[str], str]


def _findings(found: dict[str, Any]) -> dict[str, list[Finding]]:
    """By what they are: the paths that a finding is about, and the words for it."""

    def group(finding: dict[str, Any]) -> Finding:
        notes = [words for words in ("across parts",) if finding["across"]]
        notes += ["labels differ"] * finding["labels_differ"]
        notes += [f"{100 * finding['likeness']:.0f} % alike"] if "likeness" in finding else []
        return finding["paths"], f"{' = '.join(finding['paths'])}{_bracket(', '.join(notes))}"

    return {
        "Unreadable": [([], f"{item['path']}: {item['reason']}") for item in found["unreadable"]],
        "Stray files": [([], path) for path in found["stray"]],
        "Classes that a part lacks": [
            ([], f"{item['part']} has no {item['class']}") for item in found["missing_classes"]
        ],
        "Classes whose names differ in case alone": [
            ([], " and ".join(names)) for names in found["case_twins"]
        ],
        "Exact duplicates": [group(finding) for finding in found["exact_duplicates"]],
        "Near duplicates": [group(finding) for finding in found["near_duplicates"]],
        "Files named after another format": [([path], path) for path in found["misnamed"]],
        "Labels in doubt": [
            (
                [item["path"]],
                f"{item['path']}: {item['label']}, or {item['suggested']} "
                f"({100 * item['probability']:.1f} %)?",
            )
            for item in found["doubtful_labels"] or ()
        ],
    }


def _paragraphs(found: dict[str, Any]) -> Iterator[str]:
    for title, findings in _findings(found).items():
        if findings:
            lines = [f"  {words}" for _, words in findings[:MOST_LINES]]
            more = len(findings) - MOST_LINES
            lines += [f"  ... and {more} more; --json or --page has all"] if more > 0 else []
            yield "\n".join([f"{title}: {len(findings)}", *lines])


def _facts(found: dict[str, Any]) -> Iterator[str]:
    """Sizes, modes, formats, and what labels were doubted with."""
    sizes = "; ".join(
        f"{side} side {low} to {high}, median {middle}"
        for side, (low, middle, high) in found["sizes"].items()
    )
    modes = ", ".join(f"{count} {mode}" for mode, count in found["modes"].items())
    formats = ", ".join(f"{count} {form}" for form, count in found["formats"].items())
    yield f"Pixels: {sizes}"
    yield f"Modes: {modes}; formats: {formats}"
    doubts = found["doubtful_labels"]
    what = found["doubted_with"] if doubts is not None else f"not checked, {found['doubted_with']}"
    yield f"Labels: {what}"


def _verdict(found: dict[str, Any]) -> str:
    if not found["spoils"]:
        return "Nothing that spoils a result."
    return f"This spoils a result: {', '.join(found['spoils'])}."


def _bracket(words: str) -> str:
    return f" ({words})" if words else ""


def _tile(root: Path, path: str) -> str:
    small = thumbnail(root / path, SIDE_PX)
    return "" if small is None else image(data_uri(small), path)
