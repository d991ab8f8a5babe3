"""What a sweep leaves: a table in the console, sweep.csv, sweep.json and sweep.html."""

import json
from pathlib import Path
from typing import Any

from hymenoptera.atomic import write_file
from hymenoptera.results.records import write_csv
from hymenoptera.results.sweep_page import finite, write_page
from hymenoptera.results.sweep_words import (
    judged_jobs,
    longer_command,
    notes,
    rerun_command,
    test_says,
    verdict_of,
)
from hymenoptera.results.sweeps import JobResult, Setting, Sweep, read_sweep
from hymenoptera.results.tables import format_interval, make_table

SCHEMA_VERSION = 1
WIDTH = 80  # of the console, where nobody says; and for each key after the first
KEY_WIDTH = 16
FIGURES = ("accuracy", "95 % interval", "n", "runs")
STYLES = {"best": "bold", "worse": "dim", "": "red"}  # by verdict


def show_sweep(folder: Path) -> Sweep:
    """Build everything from what is on disk, and print the table.

    Raises:
        RequestError: the folder is not a sweep's.
    """
    sweep = read_sweep(folder)
    content = finite(as_dict(sweep))
    write_file(folder / "sweep.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    write_csv(folder / "sweep.csv", _csv_rows(sweep))
    write_page(folder / "sweep.html", content)
    _print(sweep)
    return sweep


def as_dict(sweep: Sweep) -> dict[str, Any]:
    """A sweep as sweep.json has it.

    Schema, version 1:
        schema_version, name, command, swept, shared, states (how many jobs are in each).
        settings: `values` by key, `mean`, `deviation`, `interval`, `count`, `verdict`, `p`,
            `says` (the table's words) and the numbers of its `jobs`. Accuracies are on the scale
            0 to 1.
        jobs: `number`, `state`, `reason`, `overrides`, `val_accuracy`, `correct`, `count`,
            `interval`, `epoch`, `total_s`, `pruned_after`, and its `curve`, a row an epoch.
        best: `setting` (its place among the settings), `job`, `optimism`, `test` (how the winner
            did on the test set, or null), `judged` (numbers of all jobs that were judged there,
            the winner and earlier ones), `test_says` (in words, or null), and the commands
            `rerun` and `train_longer`; null without any result.
        same_data: whether all jobs that are done had the same pictures, to the byte.
    """
    winner = sweep.winner
    return {
        "schema_version": SCHEMA_VERSION,
        "name": sweep.folder.name,
        "command": sweep.manifest.command,
        "swept": sweep.swept,
        "shared": sweep.shared,
        "states": {
            state: sweep.manifest.count(state)
            for state in ("done", "failed", "interrupted", "running", "to do")
        },
        "settings": [
            {**_plain(setting), "jobs": [job.number for job in setting.jobs]}
            for setting in sweep.settings
        ],
        "jobs": [_job(job) for job in sweep.jobs],
        "same_data": sweep.is_of_one_data_set,
        "best": None
        if sweep.best is None or winner is None
        else {
            "setting": sweep.settings.index(sweep.best),
            "job": winner.number,
            "optimism": sweep.optimism,
            "test": winner.test,
            "judged": judged_jobs(sweep),
            "test_says": test_says(sweep),
            "rerun": rerun_command(winner),
            "train_longer": longer_command(winner),
        },
    }


def _print(sweep: Sweep) -> None:
    from rich.console import Console
    from rich.text import Text

    keys = sweep.setting_keys
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH + KEY_WIDTH * max(0, len(keys) - 1))
    settings = sorted(sweep.settings, key=lambda s: -(s.mean if s.mean is not None else -1))
    rows = [
        [*([setting.values.get(key, "") for key in keys] or ["all"]), *_figures(setting)]
        for setting in settings
    ]
    head = [*([_short_key(key, keys) for key in keys] or ["setting"]), *FIGURES, "against the best"]
    styles = [STYLES.get(setting.verdict, "") for setting in settings]
    console.print()
    if sweep.shared:
        console.print(Text(f"all with {' '.join(sweep.shared)}"), soft_wrap=True)
    console.print(make_table(head, rows, right=FIGURES, styles=styles))
    for line in notes(sweep):
        console.print(Text(line), soft_wrap=True)


def _figures(setting: Setting) -> list[str]:
    says = verdict_of(setting)
    if setting.mean is None:
        return ["", "", "", f"0 of {len(setting.jobs)}", says]
    spread = "" if setting.deviation is None else f" ± {100 * setting.deviation:.1f}"
    done, asked = len(setting.done), len(setting.jobs)
    return [
        f"{100 * setting.mean:.1f}{spread} %",
        format_interval(setting.interval) if setting.interval else "",
        str(setting.count or ""),
        str(done) if done == asked else f"{done} of {asked}",
        says,
    ]


def _csv_rows(sweep: Sweep) -> list[list[str]]:
    keys = sweep.setting_keys
    names = ["mean", "deviation", "low", "high", "count", "done", "jobs", "verdict", "p", "reason"]
    rows = [[*keys, *names]]
    for setting in sweep.settings:
        low, high = setting.interval or (None, None)
        reason = next((job.reason for job in setting.jobs if job.reason), None)
        figures: list[Any] = [setting.mean, setting.deviation, low, high, setting.count]
        figures += [len(setting.done), len(setting.jobs), setting.verdict, setting.p, reason]
        cells = [*(setting.values.get(key) for key in keys), *figures]
        rows.append(["" if cell is None else str(cell) for cell in cells])
    return rows


def _plain(setting: Setting) -> dict[str, Any]:
    names = ("values", "mean", "deviation", "interval", "count", "verdict", "p")
    return {name: getattr(setting, name) for name in names} | {"says": verdict_of(setting)}


def _job(job: JobResult) -> dict[str, Any]:
    best = job.summary.get("best") or {}
    return {
        "number": job.number,
        "state": job.state,
        "reason": job.reason,
        "overrides": job.overrides,
        **{
            name: best.get(name)
            for name in ("val_accuracy", "correct", "count", "interval", "epoch")
        },
        "total_s": job.summary.get("durations", {}).get("total_s"),
        "pruned_after": job.summary.get("pruned_after"),
        "curve": job.curve,
    }


def _short_key(key: str, keys: list[str]) -> str:
    """The last part of a key, where no other key has the same."""
    last = key.rpartition(".")[2]
    same = [other for other in keys if other.rpartition(".")[2] == last]
    return last if len(same) == 1 else key
