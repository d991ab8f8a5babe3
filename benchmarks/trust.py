"""How far a run's predictions can be trusted: coverage, calibration, familiarity.

    python benchmarks/trust.py runs/HEAD runs/RECIPE runs/ARTICLE --photos PHOTOS --keep FOLDER

PHOTOS has photos without insects, such as scikit-image's (pip download scikit-image, unpack the
wheel, skimage/data). Features are computed once and kept in FOLDER. Prints Markdown; with features
that are there it takes a minute of one core.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps, ImageStat
from scipy.stats import mannwhitneyu
from torch import Tensor, nn

from hymenoptera.cli.evaluation import run_data
from hymenoptera.data.images import find_images, read_image
from hymenoptera.models.calibration import Calibration, cross_fitted, fit_temperature
from hymenoptera.models.checkpoint import KEY, classifier_from, read_checkpoint
from hymenoptera.models.familiarity import Familiarity, nearest
from hymenoptera.reports.metrics import Predictions, measure

Images = list[Image.Image]
Data = dict[str, Tensor]
HALVES = 100
COVERAGES = (0.8, 0.9, 0.95)
SIDE_PX = 256


def shapes(count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Drawn: circles, boxes and lines in flat colours."""
    for _ in range(count):
        image = Image.new("RGB", (SIDE_PX, SIDE_PX), tuple(rng.integers(0, 256, 3).tolist()))
        draw = ImageDraw.Draw(image)
        for kind in rng.integers(0, 3, rng.integers(3, 12)):
            box = np.sort(rng.integers(0, SIDE_PX, (2, 2)), axis=0).ravel().tolist()
            colour = tuple(rng.integers(0, 256, 3).tolist())
            (draw.ellipse, draw.rectangle, draw.line)[kind](box, fill=colour)
        yield image


def textures(count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Stripes, checks and clouds in two colours."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] / SIDE_PX
    for number in range(count):
        angle, waves = rng.uniform(0, np.pi), rng.uniform(2, 30)
        along, across = (
            np.cos(angle) * x + np.sin(angle) * y,
            np.cos(angle) * y - np.sin(angle) * x,
        )
        if number % 3 == 0:
            share = (np.sin(2 * np.pi * waves * along) + 1) / 2
        elif number % 3 == 1:
            share = ((waves * along).astype(int) + (waves * across).astype(int)) % 2
        else:
            small = Image.fromarray(rng.integers(0, 256, (12, 12)).astype(np.uint8))
            share = np.asarray(small.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)) / 255
        first, second = rng.integers(0, 256, (2, 3))
        pixels = share[..., None] * first + (1 - share[..., None]) * second
        yield Image.fromarray(pixels.astype(np.uint8))


def noise(count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Pixels at random, coarse and fine."""
    for number in range(count):
        side = SIDE_PX >> (number % 5)
        pixels = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
        yield Image.fromarray(pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST)


def crops(folder: Path) -> Iterator[Image.Image]:
    """Each photo, and its four quarters where they show something."""
    for path in find_images([str(folder)]):
        image = read_image(Path(path))
        if min(image.size) < 128:
            continue
        w, h = image.width // 2, image.height // 2
        quarters = [image.crop((x, y, x + w, y + h)) for x in (0, w) for y in (0, h)]
        yield from (one for one in (image, *quarters) if max(ImageStat.Stat(one).stddev) > 10)


def speckled(image: Image.Image) -> Image.Image:
    """With strong noise."""
    pixels = np.asarray(image.resize((SIDE_PX, SIDE_PX)), dtype=float)
    changed = pixels + np.random.default_rng(0).normal(0, 80, pixels.shape)
    return Image.fromarray(changed.clip(0, 255).astype(np.uint8))


CORRUPTIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blurred": lambda i: i.resize((SIDE_PX, SIDE_PX)).filter(ImageFilter.GaussianBlur(8)),
    "with noise": speckled,
    "inverted": ImageOps.invert,
    "upside down": ImageOps.flip,
}


@torch.inference_mode()
def compute(run: Path, photos: Path | None) -> Data:
    """Features, logits and labels of a run's images, and features and logits of all others."""
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = read_checkpoint(path)
    classifier = classifier_from(checkpoint, path)
    classifier.backbone.to(memory_format=torch.channels_last)
    transform = classifier.preprocessing.eval_transform()
    datamodule = run_data(checkpoint[KEY], "train")
    data: Data = {}

    def add(name: str, images: Iterator[Image.Image]) -> None:
        tensors = torch.stack([transform(image) for image in images]).split(32)
        features = torch.cat([classifier.features(batch) for batch in tensors])
        data[f"{name} features"], data[f"{name} logits"] = features, classifier.head(features)

    for name, samples in (("train", datamodule.train), ("val", datamodule.val)):
        add(name, map(samples.read, range(len(samples))))
        data[f"{name} labels"] = torch.as_tensor(samples.labels)
    if photos is not None:
        rng = np.random.default_rng(0)
        add("photos", crops(photos))
        for make in (shapes, textures, noise):
            add(make.__name__, make(60, rng))
        for name, change in CORRUPTIONS.items():
            add(name, (change(datamodule.val.read(i)) for i in range(len(datamodule.val))))
    return data


def halves(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random halves of the validation images: to calibrate on, to test on."""
    for seed in range(HALVES):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        yield order[: count // 2], order[count // 2 :]


def coverage_table(runs: dict[str, Data]) -> None:
    """How often the set has the class, over HALVES random halves."""
    print(
        f"\n| run | asked | covered (mean of {HALVES}) | one class | none | several |\n|"
        + "---|" * 6
    )
    for name, data in runs.items():
        logits, labels = data["val logits"], data["val labels"]
        for coverage in COVERAGES:
            found = []
            for fit, test in halves(len(labels)):
                calibration = Calibration.fit(logits[fit], labels[fit])
                p = (logits[test].double() / calibration.temperature).softmax(dim=1)
                sets = p >= calibration.least_probability(coverage)
                size = sets.sum(dim=1)
                covered = sets.gather(1, labels[test][:, None]).squeeze(1)
                found.append([x.double().mean() for x in (covered, size == 1, size == 0, size > 1)])
            cells = (100 * torch.tensor(found).mean(dim=0)).tolist()
            print(f"| {name} | {coverage:.0%} | " + " | ".join(f"{x:.1f} %" for x in cells) + " |")


def calibration_table(runs: dict[str, Data]) -> None:
    """Calibration error and log loss before and after, the latter cross-fitted."""
    print("\n| run | temperature | calibration error | after | log loss | after |\n|" + "---|" * 6)
    for name, data in runs.items():
        logits, labels = data["val logits"], data["val labels"]
        cells = [f"{fit_temperature(logits, labels):.2f}"]
        both = (logits.double().softmax(dim=1), cross_fitted(logits, labels))
        classes = [str(k) for k in range(logits.shape[1])]
        measures = [
            measure(Predictions(classes, labels.numpy(), p.numpy(), classes))["metrics"]
            for p in both
        ]
        for metric in ("expected_calibration_error", "log_loss"):
            for one in measures:
                low, high = one[metric]["interval"]
                cells.append(f"{one[metric]['value']:.3f} ({low:.3f} to {high:.3f})")
        print(f"| {name} | {' | '.join(cells)} |")


def familiarity_tables(name: str, data: Data) -> None:
    """False flags on halves, and what is told apart, by distance, probability and energy."""
    train, val, labels = (data[k] for k in ("train features", "val features", "val labels"))
    flags: list[float] = []
    for fit, test in halves(len(labels)):
        familiarity = Familiarity.fit(train, [""] * len(train), data["train labels"], val[fit])
        distances = nearest(val[test], familiarity.features)[0][:, -1]
        flags.append(float((familiarity.of(distances) <= familiarity.share).double().mean()))
    print(f"\n{name}: {100 * np.mean(flags):.1f} % of the other half are called unfamiliar\n")
    kept = Familiarity.fit(train, [""] * len(train), data["train labels"], val).features
    scores: dict[str, Callable[[str], NDArray[np.float64]]] = {
        f"distance, k={k}": lambda n, k=k: nearest(data[f"{n} features"], kept, k)[0][:, -1].numpy()
        for k in (1, 3, 10)
    } | {
        "max probability": lambda n: -data[f"{n} logits"].softmax(dim=1).max(dim=1).values.numpy(),
        "energy": lambda n: -data[f"{n} logits"].logsumexp(dim=1).numpy(),
    }
    print(
        f"| AUROC, share flagged | images | {' | '.join(scores)} |\n|" + "---|" * (2 + len(scores))
    )
    for others in ("photos", "shapes", "textures", "noise", *CORRUPTIONS):
        cells = []
        for score in scores.values():
            inside, outside = score("val"), score(others)
            auroc = mannwhitneyu(outside, inside).statistic / len(inside) / len(outside)
            least = np.sort(inside)[-int(0.05 * (len(inside) + 1))]  # as Familiarity does
            cells.append(f"{auroc:.3f}, {100 * (outside >= least).mean():.0f} %")
        print(f"| {others} | {len(data[f'{others} logits'])} | {' | '.join(cells)} |")


def selection_table(data: Data, repeats: int = 400) -> None:
    """What it costs that the epoch was picked on the images that calibrate, by simulation.

    Heads are trained on half of all features; the epoch is picked on a quarter, and the last
    quarter is what coverage is measured on.
    """
    features = torch.cat([data["train features"], data["val features"]])
    labels = torch.cat([data["train labels"], data["val labels"]])
    print("\n| head | picked on | " + " | ".join(f"{c:.0%}" for c in COVERAGES) + " |")
    print("|" + "---|" * (2 + len(COVERAGES)))
    for words, size, rate in (("as experiment=head", 32, 1e-2), ("batch 4, rate 0.1", 4, 1e-1)):
        found: dict[str, list[list[float]]] = {"the same images": [], "other images": []}
        for seed in range(repeats):
            generator = torch.Generator().manual_seed(seed)
            order = torch.randperm(len(labels), generator=generator)
            train, first, second, test = order.split([len(labels) - 3 * 75, 75, 75, 75])
            epochs = train_head(features[train], labels[train], features, size, rate, generator)
            best = [
                int((e[one].argmax(dim=1) == labels[one]).sum()) for e in epochs for one in [first]
            ]
            logits = epochs[best.index(max(best))]
            for key, fit in (("the same images", first), ("other images", second)):
                calibration = Calibration.fit(logits[fit], labels[fit])
                p = (logits[test].double() / calibration.temperature).softmax(dim=1)
                own = p.gather(1, labels[test][:, None])
                least = [calibration.least_probability(c) for c in COVERAGES]
                found[key].append([float((own >= one).double().mean()) for one in least])
        for key, rows in found.items():
            means = 100 * np.mean(rows, axis=0)
            print(f"| {words} | {key} | " + " | ".join(f"{m:.1f} %" for m in means) + " |")


def train_head(
    inputs: Tensor, labels: Tensor, everything: Tensor, size: int, rate: float, g: torch.Generator
) -> list[Tensor]:
    """The logits of all images after each of 20 epochs."""
    head = nn.Linear(inputs.shape[1], 2)
    nn.init.zeros_(head.weight)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate)
    logits = []
    for _ in range(20):
        for batch in torch.randperm(len(labels), generator=g).split(size):
            loss = nn.functional.cross_entropy(head(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            logits.append(head(everything))
    return logits


def main() -> None:
    """Compute what is not kept, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--photos", type=Path, help="photos without insects")
    parser.add_argument("--keep", type=Path, required=True, help="a folder for the features")
    parser.add_argument("--repeats", type=int, default=400, help="of the simulated selection")
    arguments = parser.parse_args()
    arguments.keep.mkdir(parents=True, exist_ok=True)
    runs: dict[str, Data] = {}
    for run in arguments.runs:
        kept = arguments.keep / f"{run.name}.pt"
        if not kept.is_file():
            torch.save(compute(run, arguments.photos), kept)
        runs[run.name] = torch.load(kept, weights_only=True)
    coverage_table(runs)
    calibration_table(runs)
    for name, data in runs.items():
        if "photos logits" in data:
            familiarity_tables(name, data)
    if arguments.repeats:
        selection_table(next(iter(runs.values())), arguments.repeats)


if __name__ == "__main__":
    main()
