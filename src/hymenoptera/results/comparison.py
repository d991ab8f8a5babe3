"""The paired test on two finished runs: `hymenoptera compare RUN RUN`."""

from pathlib import Path

import numpy as np

from hymenoptera.errors import RequestError
from hymenoptera.results.records import read_right
from hymenoptera.results.statistics import sign_flip_test


def compare_runs(first: Path, second: Path) -> str:
    """Compare two runs on the validation pictures that both predicted.

    Returns:
        Three lines: accuracy of each, on which pictures they disagree, and McNemar's exact p.

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
    p = sign_flip_test(one - other)
    only = [int(((one - other) == sign).sum()) for sign in (1, -1)]
    verdict = "differ" if p <= 0.05 else "cannot be told apart"
    return "\n".join(
        [
            f"{first}: {100 * one.mean():.1f} %, {second}: {100 * other.mean():.1f} % of the "
            f"{len(common)} pictures that both judged",
            f"right in the first alone: {only[0]}; right in the second alone: {only[1]}",
            f"the two runs {verdict} on these pictures (McNemar's exact test, p = {p:.3g}); "
            f"what other seeds would give, it does not say",
        ]
    )
