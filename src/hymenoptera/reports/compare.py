"""The paired test on two finished runs: `hymenoptera compare RUN RUN`."""

from pathlib import Path
from typing import Any

import numpy as np

from hymenoptera.errors import ConfigError
from hymenoptera.reports.metrics import read_predictions
from hymenoptera.reports.pages import render
from hymenoptera.reports.paired import sign_flip_test
from hymenoptera.reports.record import read_summary


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """Compare two runs on the validation images that both predicted.

    Returns:
        `count` of these images; of the two `runs` the `accuracy` on these and how many are
        `correct_alone`; McNemar's exact `p`, and whether the runs `differ`: p <= 0.05; whether
        they recorded the `same_data` set, file by file, or null.

    Raises:
        ConfigError: a run has no predictions, they have no images in common, or other labels.
    """
    folders = (first, second)
    one, other = map(_outcomes, folders)
    labels = dict(other.keys())
    relabelled = [image for image in one if labels.get(image[0], image[1]) != image[1]]
    if relabelled:
        name, label = relabelled[0]
        raise ConfigError(
            f"{first} and {second} are not of the same data: {name} is {label} in the first and "
            f"{labels[name]} in the second ({len(relabelled)} of {len(one)} images have another "
            f"label). Evaluate both on one folder: hymenoptera evaluate RUN --data FOLDER."
        )
    common = [image for image in one if image in other]
    if not common:
        raise ConfigError(f"{first} and {second} have no validation image in common.")
    correct = [np.array([outcomes[image] for image in common]) for outcomes in (one, other)]
    difference = correct[0] - correct[1]
    p = sign_flip_test(difference)
    summaries = [read_summary(folder) for folder in folders]
    hashes = [summary.data.get("manifest_hash") if summary else None for summary in summaries]
    return {
        "count": len(common),
        "runs": [
            {
                "folder": str(folder),
                "accuracy": float(own.mean()),
                "correct_alone": int((difference == sign).sum()),
            }
            for folder, own, sign in zip(folders, correct, (1, -1), strict=True)
        ],
        "p": p,
        "differ": p <= 0.05,
        "same_data": None if None in hashes else hashes[0] == hashes[1],
    }


def comparison_text(comparison: dict[str, Any]) -> str:
    """What `compare_runs` found, as three lines; a fourth where it may mean nothing."""
    return render("compare.txt", **comparison)


def _outcomes(folder: Path) -> dict[tuple[str, str], float]:
    found = read_predictions(folder)
    if found is None:
        raise ConfigError(f"{folder} is no finished run: it has no predictions.csv.")
    return found.outcomes
