"""The paired test on two finished runs: `hymenoptera compare RUN RUN`."""

from pathlib import Path
from typing import Any

import numpy as np

from hymenoptera.errors import RequestError
from hymenoptera.results.records import read_right
from hymenoptera.results.statistics import sign_flip_test


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """Compare two runs on the validation pictures that both predicted.

    Returns:
        `count` of the pictures that both judged; of the two `runs` their `folder`, their
        `accuracy` on these and how many are `right_alone`; McNemar's exact `p`, and whether the
        runs `differ`: p <= 0.05.

    Raises:
        RequestError: a folder has no predictions, or they have no pictures in common.
    """
    answers = []
    for folder in (first, second):
        answers.append(read_right(folder))
        if not answers[-1]:
            raise RequestError(f"{folder} is no finished run: it has no predictions.csv.")
    common = sorted(set(answers[0]) & set(answers[1]))
    if not common:
        raise RequestError(f"{first} and {second} have no validation picture in common.")
    one, other = (np.array([right[path] for path in common]) for right in answers)
    p = float(sign_flip_test(one - other))
    return {
        "count": len(common),
        "runs": [
            {
                "folder": str(folder),
                "accuracy": float(right.mean()),
                "right_alone": int(((one - other) == sign).sum()),
            }
            for folder, right, sign in ((first, one, 1), (second, other, -1))
        ],
        "p": p,
        "differ": p <= 0.05,
    }


def comparison_lines(found: dict[str, Any]) -> str:
    """What `compare_runs` found, as three lines."""
    first, second = found["runs"]
    verdict = "differ" if found["differ"] else "cannot be told apart"
    return "\n".join(
        [
            f"{first['folder']}: {100 * first['accuracy']:.1f} %, {second['folder']}: "
            f"{100 * second['accuracy']:.1f} % of the {found['count']} pictures that both judged",
            f"right in the first alone: {first['right_alone']}; "
            f"right in the second alone: {second['right_alone']}",
            f"the two runs {verdict} on these pictures "
            f"(McNemar's exact test, p = {found['p']:.3g}); "
            f"what other seeds would give, it does not say",
        ]
    )
