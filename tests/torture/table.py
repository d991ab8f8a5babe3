"""The table of faults: what was tried and what held, by test and by kind; of `make torture`."""

from collections import defaultdict

import pytest

TABLE = pytest.StashKey[dict[str, list[int]]]()


FAULTS = (
    *("torture/", "ranks/", "test_download.py", "test_atomic.py"),
    *("data/test_archive.py", "data/test_features.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.partition("tests/")[2].startswith(FAULTS):
            item.add_marker("fault")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = defaultdict(lambda: [0, 0, 0])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):  # a generator, as pluggy has it
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" and report.passed:
        return
    name = item.nodeid.split("[")[0].rpartition("/")[2].removeprefix("test_")
    row = item.config.stash[TABLE][name.replace(".py::test_", ": ").replace("_", " ")]
    count = int(dict(item.user_properties).get("tried", 1))
    row[0] += count * (not report.skipped)
    row[1] += count * report.passed
    row[2] += report.skipped


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    if "fault" not in config.getoption("markexpr"):
        return
    rows = config.stash[TABLE]
    kinds: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for name, counts in rows.items():
        for kind in (name.partition(":")[0], "all"):
            kinds[kind] = [sum(pair) for pair in zip(kinds[kind], counts, strict=True)]
    kinds["all"] = kinds.pop("all", [0, 0, 0])  # last
    for head, table in (("fault", rows), ("kind of fault", kinds)):
        terminalreporter.write_line(f"\n| {head} | tried | held |\n|---|---|---|")
        for name, (tried, held, skipped) in table.items():
            note = f" ({skipped} skipped)" if skipped else ""
            terminalreporter.write_line(f"| {name}{note} | {tried} | {held} |")
