"""Which images to label next: rules against a random choice, by simulation.

    python benchmarks/suggest.py runs/HEAD runs/DRAWN --keep FOLDER

DRAWN is a run of experiment=head data=drawn data.train_per_class=200 model.image_size=48.
From the frozen features of each run's images (see trust.py, which keeps them too): 20 labelled
images at random, then 20 more at a time to 140 by each rule; after each step a head is trained on
what is labelled, and evaluated on images that no rule sees. Each repeat splits the images anew.
Prints Markdown: the mean accuracy over the steps, and its difference to a random choice with a 95 %
interval over the repeats, paired. Takes some minutes of one core.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as students_t
from torch import Tensor
from torch.nn.functional import normalize, one_hot
from trust import compute

FIRST, STEP, LAST = 20, 20, 140

# (P, D) features of length 1, (P, C) probabilities, (P,) whether labelled, generator -> STEP rows
Rule = Callable[[Tensor, Tensor, Tensor, np.random.Generator], list[int]]


def trained(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """A linear head with weight decay: weight (C, D) and bias (C,)."""
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(features @ weight.T + bias, labels)
        loss = loss + 1e-3 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


def margin(p: Tensor) -> Tensor:
    """Between the two most probable classes, (P,)."""
    two = p.topk(2, dim=1).values
    return two[:, 0] - two[:, 1]


def lowest(scores: Tensor, labelled: Tensor, count: int = STEP) -> list[int]:
    """The unlabelled images with the lowest scores."""
    return scores.masked_fill(labelled, torch.inf).argsort()[:count].tolist()


def random_choice(f: Tensor, p: Tensor, labelled: Tensor, rng: np.random.Generator) -> list[int]:
    """Any."""
    return rng.choice(np.flatnonzero(~labelled.numpy()), STEP, replace=False).tolist()


def by_margin(f: Tensor, p: Tensor, labelled: Tensor, rng: np.random.Generator) -> list[int]:
    """The least sure."""
    return lowest(margin(p), labelled)


def by_entropy(f: Tensor, p: Tensor, labelled: Tensor, rng: np.random.Generator) -> list[int]:
    """The highest entropy; with two classes the same as the margin."""
    return lowest((p * p.clamp_min(1e-12).log()).sum(dim=1), labelled)


def k_centre(f: Tensor, p: Tensor, labelled: Tensor, rng: np.random.Generator) -> list[int]:
    """The farthest from all that is labelled, one by one (Sener and Savarese, 2018)."""
    nearest = (1 - f @ f[labelled].T).min(dim=1).values
    rows = []
    for _ in range(STEP):
        rows.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, 1 - f @ f[rows[-1]])
    return rows


def badge(f: Tensor, p: Tensor, labelled: Tensor, rng: np.random.Generator) -> list[int]:
    """k-means++ on the gradients of the head (Ash et al., 2020)."""
    gradient = p - one_hot(p.argmax(dim=1), p.shape[1])  # (P, C)
    # |g (x) f - h (x) e|^2 from inner products, which are products of inner products
    squares = gradient.square().sum(dim=1) * f.square().sum(dim=1)
    distance, rows = squares.clone(), list[int]()
    for _ in range(STEP):
        weight = distance.masked_fill(labelled, 0).double().numpy() + 1e-30 * ~labelled.numpy()
        weight[rows] = 0
        first = not rows
        row = (
            int(weight.argmax()) if first else int(rng.choice(len(weight), p=weight / weight.sum()))
        )
        to = squares + squares[row] - 2 * (gradient @ gradient[row]) * (f @ f[row])
        distance = to.clamp_min(0) if first else torch.minimum(distance, to.clamp_min(0))
        rows.append(row)
    return rows


def spread(factor: int) -> Rule:
    """The least sure `factor` times as many, and of these the farthest apart, k-centre."""

    def rule(f: Tensor, p: Tensor, labelled: Tensor, rng: np.random.Generator) -> list[int]:
        candidates = torch.tensor(
            lowest(margin(p), labelled, min(factor * STEP, int((~labelled).sum())))
        )
        nearest = (1 - f[candidates] @ f[labelled].T).min(dim=1).values
        rows = list[int]()
        for _ in range(STEP):
            at = int(nearest.argmax())
            rows.append(int(candidates[at]))
            nearest = torch.minimum(nearest, 1 - f[candidates] @ f[rows[-1]])
            nearest[at] = -torch.inf
        return rows

    return rule


RULES: dict[str, Rule] = {
    "random": random_choice,
    "margin": by_margin,
    "entropy": by_entropy,
    "k-centre": k_centre,
    "BADGE": badge,
    "margin, k-centre of twice as many": spread(2),
    "margin, k-centre of four times as many": spread(4),
}


def simulate(features: Tensor, labels: Tensor, repeats: int) -> dict[str, np.ndarray]:
    """Accuracies (repeats, steps) by rule."""
    classes, steps = int(labels.max()) + 1, range(FIRST, LAST + 1, STEP)
    found = {name: np.zeros((repeats, len(steps))) for name in RULES}
    for seed in range(repeats):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        test, pool = order[: len(order) * 2 // 5], order[len(order) * 2 // 5 :]
        unit, f, y = normalize(features[pool], dim=1), features[pool], labels[pool]
        for name, rule in RULES.items():
            rng = np.random.default_rng(seed)
            labelled = torch.zeros(len(pool), dtype=torch.bool)
            labelled[torch.from_numpy(rng.choice(len(pool), FIRST, replace=False))] = True
            for step in range(len(steps)):
                weight, bias = trained(f[labelled], y[labelled], classes)
                predicted = (features[test] @ weight.T + bias).argmax(dim=1)
                found[name][seed, step] = (predicted == labels[test]).double().mean()
                rows = rule(unit, (f @ weight.T + bias).softmax(dim=1), labelled, rng)
                assert len(set(rows)) == STEP and not labelled[rows].any()
                labelled[rows] = True
    return found


def main() -> None:
    """Simulate, and print a table for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="with frozen backbones")
    parser.add_argument("--keep", type=Path, required=True, help="a folder for the features")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # heads are small: with two it takes several times as long
    arguments.keep.mkdir(parents=True, exist_ok=True)
    for run in arguments.runs:
        kept = arguments.keep / f"{run.name}.pt"
        if not kept.is_file():
            torch.save(compute(run, None), kept)
        data = torch.load(kept, weights_only=True)
        features = torch.cat([data["train features"], data["val features"]])
        labels = torch.cat([data["train labels"], data["val labels"]])
        found = simulate(features, labels, arguments.repeats)
        print(f"\n{run.name}: {len(labels)} images, {arguments.repeats} repeats\n")
        print("| rule | 20 | 60 | 100 | 140 | mean | less random |\n|" + "---|" * 7)
        for name, accuracy in found.items():
            means = 100 * accuracy.mean(axis=0)
            gain = 100 * (accuracy - found["random"])[:, 1:].mean(axis=1)
            half = students_t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
            cells = [f"{means[i]:.1f} %" for i in (0, 2, 4, 6)] + [f"{means.mean():.1f} %"]
            cells.append("" if name == "random" else f"{gain.mean():+.2f} ± {half:.2f}")
            print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
