"""What a sweep leaves: a table on the console, sweep.csv, sweep.json and sweep.html."""

import shlex
from pathlib import Path
from textwrap import shorten
from typing import Any

from hymenoptera.config.launched import typed
from hymenoptera.reports.console import curves_command
from hymenoptera.reports.jobs import STATES
from hymenoptera.reports.learning_curve import learning_curves
from hymenoptera.reports.pages import render, write_page
from hymenoptera.reports.record import read_epochs, write_csv, write_json
from hymenoptera.reports.statistics import SEED_SCATTER
from hymenoptera.reports.sweep import Configuration, JobResult, Sweep, read_sweep
from hymenoptera.reports.tables import format_interval, format_table

SCHEMA_VERSION = 2
LEVEL = 0.05
NETWORK = {"parameters_m": "M parameters", "ms_per_image": "ms an image", "size_mb": "MB"}
COLUMNS = ("number", "state", "reason", "accuracy", "correct", "count", "epoch", "total_s")


def show_sweep(folder: Path) -> Sweep:
    """Build everything from what is on disk, and print the table.

    Raises:
        ConfigError: the folder is not a sweep's.
    """
    sweep = read_sweep(folder)
    content = write_json(folder / "sweep.json", _content(sweep))
    write_csv(folder / "sweep.csv", _csv_rows(content))
    write_page(folder / "sweep.html", "sweep.html", title=content["name"], sweep=content)
    curves = curves_command(folder)
    print(render("sweep_end.txt", **content, table=_table(content), folder=folder, curves=curves))  # noqa: T201
    return sweep


def _content(sweep: Sweep) -> dict[str, Any]:
    """A sweep as sweep.json has it; `best` is null without a result, `notes` add to the table."""
    best, winner = sweep.best, sweep.winner
    result = None
    if best is not None and winner is not None:
        result = {
            "configuration": sweep.configurations.index(best),
            "job": winner.job.number,
            "selection_bias": sweep.bias,
            "test": winner.summary.test,
            **_commands(winner),
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
        "learning_curves": (curves := learning_curves(sweep.configurations)),
        "notes": render(
            "sweep_notes.txt",
            sweep=sweep,
            scatter=SEED_SCATTER,
            curves=curves,
            hashes=_hashes(sweep),
        ),
        "best": result,
    }


def _hashes(sweep: Sweep) -> set[str]:
    """What identifies the images of the jobs that are done; one if they all had the same."""
    data = [job.summary.data for job in sweep.jobs if job.accuracy is not None]
    hashes = {one.get("all_manifest_hash", one.get("manifest_hash")) for one in data}
    return {one for one in hashes if one}


def _commands(result: JobResult) -> dict[str, str]:
    overrides = map(typed, result.job.overrides)
    again = result.summary.command or shlex.join(["python", "train.py", *overrides])
    parts = shlex.split(again)
    others = [part for part in parts if part.split("=")[0].lstrip("+") != "trainer.max_epochs"]
    longer = shlex.join([*others, f"trainer.max_epochs={2 * result.summary.epochs}"])
    return {"rerun": again, "train_longer": longer}


def _configuration(one: Configuration, sweep: Sweep) -> dict[str, Any]:
    names = ("values", "mean", "deviation", "interval", "count")
    difference, difference_interval, p = one.comparison or (None, None, None)
    return {
        **{name: getattr(one, name) for name in names},
        **one.network,
        "difference": difference,
        "difference_interval": difference_interval,
        "p": p,
        "verdict": _verdict(one, sweep),
        "done": len(one.done),
        "jobs": [result.job.number for result in one.jobs],
    }


def _verdict(one: Configuration, sweep: Sweep) -> str:
    missing = len(one.jobs) - len(one.done)
    failed = next((result.job for result in one.jobs if result.job.state == "failed"), None)
    if not one.done:
        reason = failed and shorten(str(failed.reason), 120, placeholder=" ...")
        return f"failed: {reason}" if failed else one.jobs[0].job.state
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


def _table(content: dict[str, Any]) -> str:
    keys = content["keys"]
    last = [key.rpartition(".")[2] for key in keys]
    short = [own if last.count(own) == 1 else key for key, own in zip(keys, last, strict=True)]
    networks = NETWORK if "model.backbone" in keys else {}
    head = [*(short or ["configuration"]), *networks.values(), "accuracy", "95 % interval", "runs"]
    rows = [[*head, "points from the best", "verdict"]]
    for one in sorted(content["configurations"], key=lambda one: -(one["mean"] or -1)):
        values = [one["values"].get(key, "") for key in keys] or ["all"]
        sizes = ["" if one[name] is None else f"{one[name]:.1f}" for name in networks]
        rows.append([*values, *sizes, *_numbers(one), one["verdict"]])
    return format_table(rows)


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
    keys, rows = content["swept"], []
    for job in content["jobs"]:
        given = {k.lstrip("+"): v for k, _, v in (one.partition("=") for one in job["overrides"])}
        rows.append([*(job[name] for name in COLUMNS), *map(given.get, keys)])
    return [[*COLUMNS, *keys], *rows]
