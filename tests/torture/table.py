"""The table of faults: what was tried and what held, by kind and by test; of `make torture`."""

import os
from collections import defaultdict

import pytest

from loopback import loopback  # noqa: F401 - a fixture

FAULTS = (  # tests that inject faults, beside those of tests/torture
    *("torture/", "data/test_fetching.py", "data/test_features.py", "models/test_checkpoint.py"),
    *("callbacks/test_interruption.py", "callbacks/test_finite.py", "test_resume.py"),
    *("test_processes.py::test_a_killed", "test_training.py::test_an_image_that_vanishes"),
    *("test_training.py::test_unreadable", "data/test_folders.py", "data/test_images.py"),
    *("sweeps/test_sweeps.py::test_kill", "sweeps/test_sweeps.py::test_jobs_of"),
    *("sweeps/test_sweeps.py::test_a_signal", "sweeps/test_sweeps.py::test_a_killed"),
)
HEAD = """# Faults that are injected

Written by `make torture`: first the sums by kind, then a row a test. It counts stops, cut points,
images, archives, lists of overrides or files of random bytes, whichever the test tries.
"""
ROWS: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])


@pytest.fixture
def small(tiny):
    """Overrides for a run of a small network."""
    return [*tiny, "model=mobilenet_v3_small"]


@pytest.fixture
def tried(record_property):
    """Says how many faults a test has tried."""
    return lambda count: record_property("tried", count)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.removeprefix("tests/").startswith(FAULTS):
            item.add_marker("fault")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count; of tests that other processes run, this one gets the reports."""
    if (report.when != "call" and report.passed) or "fault" not in report.keywords:
        return
    file, _, test = report.nodeid.split("[")[0].rpartition("/")[2].partition(".py::test_")
    row = ROWS[f"{file.removeprefix('test_')}: {test}".replace("_", " ")]
    count = int(dict(report.user_properties).get("tried", 1))
    row[0] += count * (not report.skipped)
    row[1] += count * report.passed
    row[2] += report.skipped


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Print the table; where FUZZ is set, as by `make torture`, write docs/faults.md too."""
    tests = dict(sorted(ROWS.items()))
    if "fault" not in config.option.markexpr or not tests:
        return
    kinds: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for name, counts in tests.items():
        for kind in (name.partition(":")[0], "all"):
            kinds[kind] = [sum(pair) for pair in zip(kinds[kind], counts, strict=True)]
    kinds["all"] = kinds.pop("all")  # last
    text = HEAD
    for rows in (kinds, tests):
        text += "\n| fault | tried | held |\n|---|---|---|\n"
        for name, (tried, held, skipped) in rows.items():
            note = f" ({skipped} skipped)" if skipped else ""
            text += f"| {name}{note} | {tried} | {held} |\n"
    terminalreporter.write_line(f"\n{text}")
    if "FUZZ" in os.environ and not config.option.keyword:  # not of a part of the tests
        (config.rootpath / "docs" / "faults.md").write_text(text, encoding="utf-8")
