"""The parts of a run's report that come from its predictions, each a piece of HTML."""

from collections.abc import Sequence

import numpy as np

from hymenoptera.results.figures import (
    as_svg,
    confusion_figure,
    precision_recall_figure,
    reliability_figure,
)
from hymenoptera.results.metrics import Judgement, measure
from hymenoptera.results.page import card, escape, figure, image, row, section, table
from hymenoptera.results.run_files import RunFiles
from hymenoptera.results.tables import class_rows, metric_rows


def judged(judgement: Judgement) -> str:
    """Confusion, calibration, precision and recall, and the figures of each class."""
    found = measure(judgement)
    confusion = confusion_figure(np.array(found["confusion"]), judgement.classes)
    error = found["metrics"]["expected_calibration_error"]
    metrics, per_class = metric_rows(found), class_rows(found)
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
            card("Figures", table(metrics[0], metrics[1:])),
            card("Classes", table(per_class[0], per_class[1:])),
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
