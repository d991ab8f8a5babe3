"""The parts of a run's report, each a piece of HTML."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hymenoptera.results.figures import (
    as_svg,
    confusion_figure,
    curves_figure,
    precision_recall_figure,
    reliability_figure,
)
from hymenoptera.results.metrics import Judgement, measure
from hymenoptera.results.page import (
    card,
    escape,
    figure,
    image,
    listing,
    row,
    section,
    table,
)
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
    loss = curves_figure(run.epochs, "loss", "cross-entropy")
    accuracy = curves_figure(run.epochs, "accuracy", "accuracy")
    return section(
        "Curves",
        row(
            figure(as_svg(loss, "loss by epoch"), "Loss. Training pictures are augmented."),
            figure(as_svg(accuracy, "accuracy by epoch"), "Share of the pictures that is right."),
        ),
    )


def judged(judgement: Judgement) -> str:
    """Confusion, calibration, precision and recall, and the figures of each class."""
    found = measure(judgement)
    confusion = confusion_figure(np.array(found["confusion"]), judgement.classes)
    error = found["metrics"]["expected_calibration_error"]
    rows = [
        [name.replace("_", " "), f"{m['value']:.4f}", "{:.4f} to {:.4f}".format(*m["interval"])]
        for name, m in found["metrics"].items()
    ]
    per_class = [
        [
            name,
            str(figures["count"]),
            *_share(figures["recall"]),
            *_share(figures["precision_score"]),
        ]
        for name, figures in found["per_class"].items()
    ]
    return section(
        "On the validation pictures",
        row(
            figure(as_svg(confusion, "confusion matrix"), "Confusion: rows are the true classes."),
            figure(
                as_svg(reliability_figure(judgement), "reliability"),
                f"Calibration: expected error {error['value']:.3f} "
                f"({error['interval'][0]:.3f} to {error['interval'][1]:.3f}). Below the dotted "
                f"line the network is surer than it is right.",
            ),
            figure(
                as_svg(precision_recall_figure(judgement), "precision and recall"),
                "Precision and recall of each class against the rest.",
            ),
        ),
        row(
            card("Figures", table(["metric", "value", "95 % interval"], rows)),
            card(
                "Classes",
                table(
                    ["class", "pictures", "recall", "95 % interval", "precision", "95 % interval"],
                    per_class,
                ),
            ),
            wide=True,
        ),
    )


def worst(run: RunFiles, positions: Sequence[int], pictures: Sequence[str]) -> str:
    """The wrong predictions with the highest loss."""
    judgement = run.judgement
    assert judgement is not None
    if not positions:
        return section("Worst mistakes", "<p>There are none.</p>")
    tiles = []
    for position, picture in zip(positions, pictures, strict=True):
        path = judgement.paths[position]
        predicted = judgement.classes[judgement.predicted[position]]
        actual = judgement.classes[judgement.labels[position]]
        caption = (
            f"<b>{escape(predicted)}</b> / {escape(actual)} / {judgement.losses[position]:.2f} / "
            f"{judgement.probabilities[position].max():.2f}<br>{escape(path)}"
        )
        tiles.append(figure(image(picture, f"{actual} taken for {predicted}"), caption))
    heat = any(run.heat(judgement.paths[position]).is_file() for position in positions)
    return section(
        "Worst mistakes",
        "<p class='soft'>Prediction / actual / loss / probability."
        + " Beside each, where the answer comes from (Grad-CAM): red is where most." * heat
        + "</p>",
        f"<div class='tiles'>{''.join(tiles)}</div>",
    )


def picture_table(run: RunFiles, thumbnails: Sequence[str]) -> str:
    """Every validation picture, to sort and to filter."""
    judgement = run.judgement
    assert judgement is not None
    predicted, losses = judgement.predicted, judgement.losses
    rows = []
    for i, (path, thumbnail) in enumerate(zip(judgement.paths, thumbnails, strict=True)):
        actual, guess = judgement.classes[judgement.labels[i]], judgement.classes[predicted[i]]
        outcome = "right" if actual == guess else "wrong"
        name = path.rpartition("/")[2]
        rows.append(
            f"<tr data-name='{escape(path)}' data-label='{escape(actual)}' "
            f"data-outcome='{outcome}'><td>{image(thumbnail, name)}</td>"
            f"<td class='wide' title='{escape(path)}'>{escape(name)}</td><td>{escape(actual)}</td>"
            f"<td class='{'good' if outcome == 'right' else 'bad'}'>{escape(guess)}</td>"
            f"<td class='number'>{judgement.probabilities[i].max():.3f}</td>"
            f"<td class='number'>{losses[i]:.3f}</td></tr>"
        )
    heads = [
        ("", ""),
        ("picture", "text"),
        ("actual", "text"),
        ("prediction", "text"),
        ("probability", "number"),
        ("loss", "number"),
    ]
    head = "".join(
        f"<th tabindex='0' data-sort='{kind}' aria-sort='none' class='"
        f"{'number' if kind == 'number' else ''}{' wide' if name == 'picture' else ''}'>{name}</th>"
        if kind
        else "<th></th>"
        for name, kind in heads
    )
    options = "".join(f"<option>{escape(name)}</option>" for name in judgement.classes)
    return section(
        "All validation pictures",
        "<div class='controls'>"
        "<input id='by-name' type='search' placeholder='part of a name' aria-label='name'>"
        f"<select id='by-label' aria-label='class'><option value=''>any class</option>{options}"
        "</select><select id='by-outcome' aria-label='outcome'><option value=''>right or wrong"
        "</option><option>right</option><option>wrong</option></select>"
        "<span class='soft' id='count'></span></div>",
        f"<div class='scroll'><table id='pictures' class='pictures'><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>",
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


def _share(share: dict[str, Any] | None) -> list[str]:
    if share is None:
        return ["", ""]
    return [f"{100 * share['value']:.1f} %", format_interval(share["interval"])]
