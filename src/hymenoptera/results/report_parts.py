"""The parts of a run's report that come from its record, each a piece of HTML."""

from typing import Any

from omegaconf import OmegaConf

from hymenoptera.results.figures import as_svg, curves_figure
from hymenoptera.results.page import card, escape, figure, listing, row, section
from hymenoptera.results.run_files import RunFiles, command_line
from hymenoptera.results.tables import format_duration, format_interval

EXPLAINED = {
    "completed": "completed",
    "interrupted": "interrupted: what is below stands at its last whole epoch",
    "failed": "failed",
    "unfinished": "unfinished: still running, or killed before it could say more",
}


def headline(record: dict[str, Any]) -> str:
    """The result in a few words."""
    best = record.get("best")
    return f"{100 * best['val_accuracy']:.1f} %" if best else str(record["status"])


def result(run: RunFiles) -> str:
    """What came out, with its interval, or why nothing did."""
    record, best = run.record, run.record.get("best")
    status = record["status"]
    lines = [f"<h1>{escape(run.folder.resolve().name)}</h1>"]
    mark = "soft" if status == "completed" else "bad"
    lines.append(f"<p class='{mark}' id='status'>{EXPLAINED.get(status, escape(status))}</p>")
    if record.get("error"):
        lines.append(f"<pre id='error'>{escape(record['error'])}</pre>")
    if best:
        lines += [
            f"<p class='result'>{headline(record)}</p>",
            f"<p>of the validation pictures right: {best['correct']} of {best['count']}, 95 % "
            f"Wilson interval {format_interval(best['interval'])}, in epoch {best['epoch']} of "
            f"{record['epochs']}. <span class='soft'>The best epoch is picked on the same "
            f"pictures, so the figure is somewhat too high.</span></p>",
        ]
    if "model" in record:
        time = (
            f", {format_duration(record['durations']['total_s'])}"
            if record.get("durations")
            else ""
        )
        model, data = record["model"], record["data"]
        lines.append(
            f"<p class='soft'>{escape(model['name'])} at {model['input_px']} px, "
            f"{data['train_count']} pictures to train on, {data['val_count']} to validate, "
            f"{len(data['classes'])} classes, seed {record['seed']}, "
            f"{escape(record['device']['name'])}{time}</p>"
        )
    return "\n".join(lines)


def curves(run: RunFiles) -> str:
    """Loss and accuracy by epoch."""
    if not run.epochs:
        return "<h2>Curves</h2>\n<p>The run ended before its first epoch did.</p>"
    augmented = " Training pictures are augmented." * _augments(run.config)
    loss = curves_figure(run.epochs, "loss", "cross-entropy")
    accuracy = curves_figure(run.epochs, "accuracy", "accuracy")
    return section(
        "Curves",
        row(
            figure(as_svg(loss, "loss by epoch"), f"Loss.{augmented}"),
            figure(as_svg(accuracy, "accuracy by epoch"), "Share of the pictures that is right."),
        ),
    )


def usage(run: RunFiles) -> str:
    """How to use the checkpoint."""
    folder = run.folder
    if not (folder / "checkpoints" / "best.ckpt").is_file():
        return ""
    return section(
        "Use it",
        f"<pre>hymenoptera predict {escape(str(folder))} PICTURES\n"
        f"hymenoptera evaluate {escape(str(folder))} --data FOLDER\n"
        f"hymenoptera export {escape(str(folder))} --format onnx\n\n"
        f"import hymenoptera\n"
        f"classifier = hymenoptera.load({escape(repr(str(folder)))})\n"
        f"classifier.predict(['picture.jpg'])[0].probabilities</pre>",
    )


def facts(run: RunFiles) -> str:
    """Command, environment, data and config."""
    record = run.record
    cards = []
    if "versions" in record:
        git = record["git"]
        commit = f"{git['commit'][:12]}{', with changes' * git['dirty']}" if git else "not known"
        device = record.get("device", {})
        environment = {
            **{key: device[key] for key in ("name", "precision", "cpu_threads") if key in device},
            "git commit": commit,
            **record["versions"],
        }
        cards.append(card("Environment", listing(environment)))
    if "data" in record:
        data = record["data"]
        counts = {
            f"{name}": f"{data['train_count_by_class'][name]} to train on, "
            f"{data['val_count_by_class'][name]} to validate"
            for name in data["classes"]
        }
        left_out = {
            "ignored files": len(data["ignored_files"]),
            "skipped pictures": len(data["skipped_pictures"]),
        }
        cards.append(
            card(
                "Data",
                listing(
                    {
                        "folder": data["root"],
                        "manifest": data["manifest_hash"][:16],
                        **counts,
                        **left_out,
                    }
                ),
            )
        )
    if "model" in record:
        model = record["model"]
        trained = ", ".join(
            f"{group['name']} ({group['parameter_count']}, rate {group['lr']:g})"
            for group in model["trained"]
        )
        shown = {key.replace("_", " "): value for key, value in model.items()}
        cards.append(card("Model", listing({**shown, "trained": trained})))
    command = f"<pre>{escape(command_line(record))}</pre>" if "overrides" in record else ""
    config = (
        f"<details><summary>The composed config</summary><pre>{escape(run.config)}</pre></details>"
        if run.config
        else ""
    )
    return section(
        "How it was made",
        command,
        row(*cards, wide=True),
        config,
    )


def _augments(config: str) -> bool:
    """Whether a config has the training pictures augmented; a frozen backbone may see them once."""
    return bool(OmegaConf.select(OmegaConf.create(config), "transfer.views", default=0) != 0)
