"""What a checkpoint is, from its run folder, or from the checkpoint alone."""

from pathlib import Path
from typing import Any

from hymenoptera.reports.record import Summary, read_summary
from hymenoptera.reports.runs import run_of
from hymenoptera.reports.tables import format_interval, format_names, format_percent, format_size


def record_of(checkpoint: Path) -> Summary | None:
    """The record of the run that a checkpoint is the best one of; None for any other."""
    run = run_of(checkpoint)
    summary = read_summary(run) if run is not None else None
    if run is None or summary is None or summary.best is None:
        return None
    return summary if (run / summary.best["checkpoint"]).samefile(checkpoint) else None


def describe(checkpoint: Path) -> dict[str, Any]:
    """Describe a checkpoint; the best one of a run from its record, without importing torch.

    Returns:
        As `models.checkpoint.describe_checkpoint`; and `checkpoint`, `size_bytes`, and of a run's
        best one `interval`, `status` and `versions`.
    """
    about = {"checkpoint": str(checkpoint), "size_bytes": checkpoint.stat().st_size}
    record = record_of(checkpoint)
    if record is None or record.best is None:
        from hymenoptera.models.checkpoint import describe_checkpoint

        return {**about, **describe_checkpoint(checkpoint)}
    best = {key: record.best.get(key) for key in ("epoch", "step", "accuracy", "interval")}
    run = ("command", "device", "model", "data", "status", "versions")
    return {**about, **best, **{name: getattr(record, name) for name in run}}


def description_text(about: dict[str, Any]) -> str:
    """A description as lines of text."""
    model, data = about["model"], about["data"]
    classes = data["classes"]
    accuracy = "not known"
    if about["accuracy"] is not None:
        accuracy = f"{format_percent(about['accuracy'])} of the validation images correct"
    if about.get("interval"):
        accuracy += f", 95 % interval {format_interval(about['interval'])}"
    lines = {
        "checkpoint": f"{about['checkpoint']} ({format_size(about['size_bytes'])})",
        "classes": f"{len(classes)} ({format_names(classes, 12)})",
        "model": f"{model['backbone']}, {model['input_px']} px, "
        f"{model['parameter_count'] / 1e6:.1f} M parameters; first weights {model['weights']}",
        "data": f"{data.get('train_count', '?')} to train on, {data.get('val_count', '?')} to "
        f"validate, {data.get('root') or 'place unknown'}",
        "accuracy": accuracy,
        "epoch": f"{about['epoch']}, step {about['step']}",
        "command": about["command"] or "not known",
        "status": about.get("status") or "not known (not the best checkpoint in a run folder)",
    }
    return "\n".join(f"{name:<11}{text}" for name, text in lines.items())
