"""What a check of a data set found, as a text and as a page."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hymenoptera.reports.check_page import check_text, write_check_page


@pytest.fixture
def result(tmp_path: Path) -> dict[str, Any]:
    for name in ("a.png", "b.png", "c<x>.png"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    return {
        **{"root": str(tmp_path), "images": 5, "splits": ["train", "val"]},
        "classes": ["ants", "bees"],
        "counts": {"train": {"ants": 2, "bees": 1}, "val": {"ants": 2, "bees": 0}},
        "unreadable": [{"path": "broken.jpg", "reason": "it is empty"}],
        **{"stray": ["notes.txt"], "hidden": 3},
        "missing_classes": [{"split": "val", "class": "bees"}],
        "case_twins": [["Ants", "ants"]],
        "exact_duplicates": [{"paths": ["a.png", "b.png"], "across": True, "labels_differ": True}],
        "near_duplicates": [
            {"paths": ["a.png", "gone.png"], "across": False, "labels_differ": False}
            | {"similarity": 0.97}
        ],
        "misnamed": [f"{i}.png" for i in range(70)],
        "suspected_labels": [
            {"path": "c<x>.png", "label": "ants", "suggested": "bees", "score": 0.93}
        ],
        "label_check": "resnet18, weights imagenet",
        **{"sizes": {"shorter": [8, 9, 10]}, "modes": {"RGB": 4}, "formats": {"PNG": 4}},
        "spoils": ["images that cannot be read", "classes that a split lacks"],
    }


def test_the_text_has_a_paragraph_for_each_kind_of_finding(result: dict[str, Any]) -> None:
    text = check_text(result)
    for line in (
        *("broken.jpg: it is empty", "notes.txt", "val has no bees", "Ants and ants"),
        "a.png = b.png (across splits, labels differ)",
        "a.png = gone.png (97 % similar)",
        "c<x>.png: ants, or bees (93.0 %)?",
        *("Files named after another format: 70", "... and 62 more; --json or --page has all"),
        "Hidden files left out: 3",
        "This spoils a result: images that cannot be read, classes that a split lacks.",
    ):
        assert line in text
    clean = result | {"spoils": [], "suspected_labels": None, "label_check": "no weights"}
    text = check_text(clean | {"unreadable": []})
    assert "Unreadable" not in text
    assert "Labels: not checked, no weights" in text
    assert text.endswith("Nothing that spoils a result.")


def test_the_page_shows_the_images_that_it_is_about(result: dict[str, Any], tmp_path: Path) -> None:
    write_check_page(result, tmp_path / "check.html")
    page = (tmp_path / "check.html").read_text()
    assert page.count("<img") == 4  # two twins, one near-duplicate that is there, one label
    assert "c&lt;x&gt;.png: ants, or bees (93.0 %)?" in page
    assert "Files named after another format (70)" in page and "and 10 more" in page
