"""How often the interval of a learning curve holds what is measured at twice as many images.

python benchmarks/learning_curve.py FEATURES.pt ...   files of {"features": (N, D), "labels": (N,)}

The images are split 20 times. Each time heads are trained, as experiment=head does, on 1/16, 1/8,
1/4, 3/8 and 1/2 of the training images with three seeds, the curve is fitted, and a head trained
on all of them is measured on the same validation images.
"""

import argparse

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from hymenoptera.reports.learning_curve import fit_learning_curve

PARTS, SPLITS, SEEDS = (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2), 20, 3


def correct(
    features: torch.Tensor, labels: torch.Tensor, train: list[int], val: list[int]
) -> NDArray[np.float64]:
    """(SEEDS, N) of 0, 1: heads trained on some images, on others."""
    rows = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        head = torch.nn.Linear(features.shape[1], int(labels.max()) + 1)
        optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
        steps = 20 * -(-len(train) // 32)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps + 1)
        for _ in range(20):
            for batch in torch.tensor(train)[torch.randperm(len(train))].split(32):
                optimizer.zero_grad()
                cross_entropy(head(features[batch]), labels[batch]).backward()
                optimizer.step()
                schedule.step()
        with torch.no_grad():
            rows.append((head(features[val]).argmax(1) == labels[val]).numpy() * 1.0)
    return np.array(rows)


def main() -> None:
    """Print a line for each data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", metavar="FEATURES.pt")
    torch.set_num_threads(1)
    for path in parser.parse_args().files:
        data = torch.load(path, weights_only=True)
        features, labels = data["features"], data["labels"]
        count, held, found = round(0.62 * len(labels)), 0, []
        for split in range(SPLITS):
            order = np.random.default_rng(split).permutation(len(labels)).tolist()
            train, val = order[:count], order[count:]
            by_class = [[i for i in train if labels[i] == c] for c in labels.unique()]

            def part(share: float, by_class: list[list[int]] = by_class) -> list[int]:
                return [i for own in by_class for i in own[: max(1, round(share * len(own)))]]

            measured = {len(part(p)): correct(features, labels, part(p), val) for p in PARTS}
            curve, truth = (
                fit_learning_curve(measured),
                correct(features, labels, train, val).mean(),
            )
            assert curve is not None
            held += curve.low[-1] <= truth <= curve.high[-1]
            found.append((truth, curve.curve[-1], curve.high[-1] - curve.low[-1]))
        truth, predicted, width = np.mean(found, axis=0)
        print(
            f"{path}: {held} of {SPLITS} intervals hold it; measured {truth:.3f}, predicted "
            f"{predicted:.3f}, the interval {100 * width:.1f} points wide"
        )


if __name__ == "__main__":
    main()
