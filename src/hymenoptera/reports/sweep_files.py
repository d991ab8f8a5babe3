"""What a sweep leaves: a table on the console, sweep.csv, sweep.json and sweep.html."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hymenoptera.reports.console import curves_command
from hymenoptera.reports.jobs import STATES
from hymenoptera.reports.pages import render, write_page
from hymenoptera.reports.record import read_epochs, write_csv, write_json
from hymenoptera.reports.statistics import SEED_SCATTER
from hymenoptera.reports.sweep import Configuration, JobResult, Sweep, read_sweep
from hymenoptera.reports.tables import format_interval, make_table

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA_VERSION = 2
LEVEL = 0.05
WIDTH = 100  # of the console, where nobody says; and for each key after the first
KEY_WIDTH = 16
NUMBERS = ("accuracy", "95 % interval", "runs", "points from the best")
STYLES = {"best": "bold", "worse": "dim", "probably": "dim"}  # by the verdict's first word


def show_sweep(folder: Path) -> Sweep:
    """Build everything from what is on disk, and print the table.

    Raises:
        ConfigError: the folder is not a sweep's.
    """
    from rich.console import Console
    from rich.text import Text

    sweep = read_sweep(folder)
    content = write_json(folder / "sweep.json", as_dict(sweep))
    write_csv(folder / "sweep.csv", _csv_rows(content))
    write_page(folder / "sweep.html", "sweep.html", title=content["name"], sweep=content)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH + KEY_WIDTH * max(0, len(content["keys"]) - 1)
    if content["shared"]:
        console.print(Text(f"\nall with {' '.join(content['shared'])}"), soft_wrap=True)
    console.print(_table(content))
    lines = render("sweep_end.txt", **content, folder=folder, curves=curves_command(folder))
    console.print(Text(lines), soft_wrap=True)
    return sweep


def as_dict(sweep: Sweep) -> dict[str, Any]:
    """A sweep as sweep.json has it; `best` is null without a result, `notes` add to the table."""
    best, winner = sweep.best, sweep.winner
    result = None
    if best is not None and winner is not None:
        result = {
            "configuration": sweep.configurations.index(best),
            "job": winner.job.number,
            "selection_bias": sweep.bias,
            "test": winner.summary.test,
            "rerun": rerun_command(winner),
            "train_longer": longer_command(winner),
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "name": sweep.manifest.folder.resolve().name,
        "command": sweep.manifest.command,
        "swept": sweep.swept,
        "shared": sweep.shared,
        "keys": list(dict.fromkeys(key for one in sweep.configurations for key in one.values)),
        "states": {state: sweep.manifest.count(state) for state in STATES},
        "configurations": [_configuration(one, sweep) for one in sweep.configurations],
        "jobs": [_job(job) for job in sweep.jobs],
        "notes": render("sweep_notes.txt", sweep=sweep, scatter=SEED_SCATTER),
        "best": result,
    }


def rerun_command(result: JobResult) -> str:
    """The command that trains as a job did, quoted for a shell."""
    return result.summary.command or shlex.join(["python", "train.py", *result.job.overrides])


def longer_command(result: JobResult) -> str:
    """The command that trains as a job did for twice as many epochs, in a folder of its own."""
    parts = shlex.split(rerun_command(result))
    others = [part for part in parts if part.split("=")[0].lstrip("+") != "trainer.max_epochs"]
    return shlex.join([*others, f"trainer.max_epochs={2 * result.summary.epochs}"])


def _configuration(one: Configuration, sweep: Sweep) -> dict[str, Any]:
    found, names = one.comparison, ("values", "mean", "deviation", "interval", "count")
    return {
        **{name: getattr(one, name) for name in names},
        "difference": found and found.difference,
        "difference_interval": found and found.interval,
        "p": found and found.p,
        "verdict": _verdict(one, sweep),
        "done": len(one.done),
        "jobs": [result.job.number for result in one.jobs],
    }


def _verdict(one: Configuration, sweep: Sweep) -> str:
    """What the table says of a configuration beside its numbers."""
    missing = len(one.jobs) - len(one.done)
    failed = next((result.job for result in one.jobs if result.job.state == "failed"), None)
    if not one.done:
        return f"failed: {failed.reason}" if failed else one.jobs[0].job.state
    words = "best" if one is sweep.best else "not compared"
    if (compared := one.comparison) is not None:
        # only by the interval of the pair by itself, which is not corrected
        unsure = "probably worse" if compared.interval[1] < 0 else "no clear difference"
        p = "< 0.001" if compared.p < 0.001 else f"= {compared.p:.2g}"
        words = f"{'worse' if compared.p <= LEVEL else unsure}, p {p}"
    pruned = [job.summary.pruned_after for job in one.done if job.summary.pruned_after]
    words += f", stopped after epoch {pruned[0]}" if pruned else ""
    return words + (f", {missing} {'failed' if failed else 'to do'}" if missing else "")


def _job(result: JobResult) -> dict[str, Any]:
    best, job = result.summary.best or {}, result.job
    return {
        **{name: getattr(job, name) for name in ("number", "state", "reason", "overrides")},
        **{name: best.get(name) for name in ("accuracy", "correct", "count", "interval", "epoch")},
        "total_s": result.summary.durations.get("total_s"),
        "pruned_after": result.summary.pruned_after,
        "curve": read_epochs(result.folder),
    }


def _table(content: dict[str, Any]) -> "Table":
    """A row a configuration, the best first."""
    keys = content["keys"]
    last = [key.rpartition(".")[2] for key in keys]
    short = [own if last.count(own) == 1 else key for key, own in zip(keys, last, strict=True)]
    rows, styles = [], []
    for one in sorted(content["configurations"], key=lambda one: -(one["mean"] or -1)):
        values = [one["values"].get(key, "") for key in keys] or ["all"]
        rows.append([*values, *_numbers(one), one["verdict"]])
        word = one["verdict"].replace(",", " ").split()[0]
        styles.append("red" if one["mean"] is None else STYLES.get(word, ""))
    head = [*(short or ["configuration"]), *NUMBERS, "verdict"]
    return make_table(head, rows, right=NUMBERS, styles=styles)


def _numbers(one: dict[str, Any]) -> list[str]:
    done, count = one["done"], len(one["jobs"])
    if one["mean"] is None:
        return ["", "", f"0 of {count}", ""]
    spread = "" if one["deviation"] is None else f" ± {100 * one['deviation']:.1f}"
    points = ""
    if one["difference"] is not None:
        low, high = (100 * end for end in one["difference_interval"])
        points = f"{100 * one['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
    interval = format_interval(one["interval"]) if one["interval"] else ""
    runs = str(done) if done == count else f"{done} of {count}"
    return [f"{100 * one['mean']:.1f}{spread} %", interval, runs, points]


def _csv_rows(content: dict[str, Any]) -> list[list[Any]]:
    reasons = {job["number"]: job["reason"] for job in content["jobs"]}
    rows = []
    for one in content["configurations"]:
        row = {key: one["values"].get(key) for key in content["keys"]}
        for name in ("mean", "deviation", "interval", "count", "difference", "difference_interval"):
            if "interval" in name:
                row[f"{name}_low"], row[f"{name}_high"] = one[name] or (None, None)
            else:
                row[name] = one[name]
        row |= {name: one[name] for name in ("p", "verdict", "done")}
        row["jobs"] = len(one["jobs"])
        row["reason"] = next((reasons[number] for number in one["jobs"] if reasons[number]), None)
        rows.append(row)
    return [*map(list, rows[:1]), *(list(row.values()) for row in rows)]
