"""What a checkpoint is, from its run folder, or from the checkpoint alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hymenoptera.results.records import read_summary
from hymenoptera.results.runs import run_of
from hymenoptera.results.tables import format_interval


def describe(checkpoint: Path, look_inside: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Facts of a checkpoint.

    Args:
        checkpoint: the best one in its run folder is described from the record, in no time.
        look_inside: opens any other, which needs torch: `models.checkpoint.facts_inside`.

    Returns:
        `checkpoint`, `size_bytes`, `epoch`, `accuracy`, `interval`, `status`, `command`, `model`,
        `data`, `versions`, as `records.write_summary` describes them; null where unknown.

    Raises:
        RequestError: the file is not a checkpoint of this project.
    """
    run = run_of(checkpoint)
    summary = (run and read_summary(run)) or {}
    best = summary.get("best")
    if run and best and (run / best["checkpoint"]).resolve() == checkpoint.resolve():
        facts = {
            "epoch": best["epoch"],
            "accuracy": best["val_accuracy"],
            "interval": best["interval"],
            "model": summary["model"],
            "data": summary["data"],
            "command": summary["command"],
        }
    else:
        facts = look_inside(checkpoint)
    return {
        "checkpoint": str(checkpoint),
        "size_bytes": checkpoint.stat().st_size,
        **facts,
        "status": summary.get("status"),
        "versions": summary.get("versions"),
    }


def description(facts: dict[str, Any]) -> str:
    """The facts as lines of text."""
    model, data = facts["model"], facts["data"]
    classes = data["classes"]
    judged = "not known"
    if facts["accuracy"] is not None:
        judged = f"{100 * facts['accuracy']:.1f} % of the validation pictures right"
        if facts["interval"]:
            judged += f", 95 % interval {format_interval(facts['interval'])}"
    lines = {
        "checkpoint": f"{facts['checkpoint']} ({facts['size_bytes'] / 1e6:.1f} MB)",
        "classes": f"{len(classes)} ({', '.join(classes[:12])}{', ...' * (len(classes) > 12)})",
        "model": f"{model['name']}, {model['input_px']} px, {model['parameter_count'] / 1e6:.1f} M "
        f"parameters; began with weights {model['weights']}",
        "data": f"{data.get('train_count', '?')} to train on, {data.get('val_count', '?')} to "
        f"validate, {data.get('root', 'place unknown')}",
        "accuracy": judged,
        "epoch": str(facts["epoch"]),
        "command": facts["command"] or "not known",
        "status": facts["status"] or "not known (no run folder around it)",
    }
    return "\n".join(f"{name:<11}{text}" for name, text in lines.items())
