"""What a check of a data set found, as a text and as a page with thumbnails."""

from pathlib import Path
from typing import Any

from hymenoptera.reports.images import data_uri, thumbnail
from hymenoptera.reports.pages import render, write_page
from hymenoptera.reports.tables import format_table

SIDE_PX = 180  # of a thumbnail
KINDS = {
    "unreadable": "Unreadable",
    "stray": "Files that are no images",
    "missing_classes": "Classes that a split lacks",
    "case_twins": "Classes whose names differ in case alone",
    "exact_duplicates": "Exact duplicates",
    "near_duplicates": "Near-duplicates",
    "misnamed": "Files named after another format",
    "suspected_labels": "Suspected label errors",
}


def check_text(result: dict[str, Any]) -> str:
    """The table of counts and what `cli.checking.check_data_set` found, a paragraph each."""
    table = format_table(_count_rows(result))
    return render("check.txt", **result, table=table, findings=_findings(result))


def write_check_page(result: dict[str, Any], path: Path) -> None:
    """Write a page of what was found, with a thumbnail of each image that it is about."""
    root = Path(result["root"])
    write_page(
        path,
        "check.html",
        title=f"Check of {root.name}",
        root=str(root),
        counts=_count_rows(result),
        summary=render("check_summary.txt", **result),
        findings=_findings(result),
        thumbnail=lambda name: data_uri(thumbnail(root / name, SIDE_PX)),
    )


def _count_rows(result: dict[str, Any]) -> list[list[str]]:
    splits, counts = result["splits"], result["counts"]
    rows = [[name, *(str(counts[s][name]) for s in splits)] for name in result["classes"]]
    totals = [str(sum(counts[split].values())) for split in splits]
    return [["class", *splits], *rows, ["all", *totals]]


def _findings(result: dict[str, Any]) -> dict[str, list[tuple[Any, str]]]:
    return {
        heading: [(one, render("check_words.txt", kind=kind, one=one)) for one in result[kind]]
        for kind, heading in KINDS.items()
        if result[kind]
    }
