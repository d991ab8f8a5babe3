"""The paired test on two finished runs: `hymenoptera compare RUN RUN`."""

from pathlib import Path
from typing import Any

import numpy as np

from hymenoptera.errors import RequestError
from hymenoptera.results.paired_tests import sign_flip_test
from hymenoptera.results.records import read_answers, read_summary


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """Compare two runs on the validation pictures that both predicted.

    Returns:
        `count` of the pictures that both judged; of the two `runs` their `folder`, their
        `accuracy` on these and how many are `right_alone`; McNemar's exact `p`, and whether the
        runs `differ`: p <= 0.05; `same_data`: whether they recorded the same data set, file by
        file (null where one has no record).

    Raises:
        RequestError: a folder has no predictions, or they have no pictures in common, or one of
            these has another label.
    """
    one, other = (read_answers(folder) for folder in (first, second))
    for folder, answers in ((first, one), (second, other)):
        if not answers:
            raise RequestError(f"{folder} is no finished run: it has no predictions.csv.")
    common = sorted(set(one) & set(other))
    if not common:
        raise RequestError(f"{first} and {second} have no validation picture in common.")
    relabelled = [path for path in common if one[path][0] != other[path][0]]
    if relabelled:
        path = relabelled[0]
        raise RequestError(
            f"{first} and {second} are not of the same data: {path} is {one[path][0]} in the "
            f"first and {other[path][0]} in the second ({len(relabelled)} of {len(common)} "
            "pictures have another label). Judge both on one folder: hymenoptera evaluate RUN "
            "--data FOLDER."
        )
    right = [
        np.array([float(answers[path][0] == answers[path][1]) for path in common])
        for answers in (one, other)
    ]
    difference = right[0] - right[1]
    p = float(sign_flip_test(difference))
    return {
        "count": len(common),
        "runs": [
            {
                "folder": str(folder),
                "accuracy": float(of_run.mean()),
                "right_alone": int((difference == sign).sum()),
            }
            for folder, of_run, sign in ((first, right[0], 1), (second, right[1], -1))
        ],
        "p": p,
        "differ": p <= 0.05,
        "same_data": _same_data(first, second),
    }


def _same_data(first: Path, second: Path) -> bool | None:
    one, other = (
        ((read_summary(folder) or {}).get("data") or {}).get("manifest_hash")
        for folder in (first, second)
    )
    return None if one is None or other is None else bool(one == other)


def comparison_lines(found: dict[str, Any]) -> str:
    """What `compare_runs` found, as three lines; a fourth where it may mean nothing."""
    first, second = found["runs"]
    verdict = "differ" if found["differ"] else "cannot be told apart"
    doubt = (
        [
            "the data sets are not the same file by file (another manifest in summary.json): a "
            "picture of the same path may be another one"
        ]
        if found["same_data"] is False
        else []
    )
    return "\n".join(
        [
            *doubt,
            f"{first['folder']}: {100 * first['accuracy']:.1f} %, {second['folder']}: "
            f"{100 * second['accuracy']:.1f} % of the {found['count']} pictures that both judged",
            f"right in the first alone: {first['right_alone']}; "
            f"right in the second alone: {second['right_alone']}",
            f"the two runs {verdict} on these pictures "
            f"(McNemar's exact test, p = {found['p']:.3g}); "
            f"what other seeds would give, it does not say",
        ]
    )
