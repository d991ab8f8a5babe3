"""What pictures lose that are kept at data.cache_size, and what they take in memory.

    python benchmarks/cache_size.py [--sizes 224,256,384,512] [--views 4] [OVERRIDE ...]

For each size, the backbone gives features of augmented views of the training pictures, cropped from
the kept pictures, and from the files with the same seeds. The cosine between the two is beside
that between two views of a picture from its file, with other seeds. A logistic regression on the
views is judged on the validation pictures.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from gpu import configured, listed
from torch import Tensor, nn
from torch.utils.data import DataLoader

from hymenoptera.callbacks.console import quieten_libraries
from hymenoptera.data.dataset import PictureDataset
from hymenoptera.data.decoded import file_sizes, in_memory, plan_whole
from hymenoptera.data.order import EpochSampler
from hymenoptera.models.inference import outputs
from hymenoptera.training import Run, prepare

ROOT = Path(__file__).parent.parent


def features(run: Run, dataset: PictureDataset, views: int, first: int = 0) -> Tensor:
    """(views, N, D) of a data set, in its order, with the seeds of epochs from the first one on."""
    draws = [
        draw
        for epoch in range(first, first + views)
        for draw in EpochSampler(len(dataset), 0, shuffle=False, epoch=epoch)
    ]
    loader = DataLoader(dataset, 32, sampler=draws, num_workers=run.data.num_workers)
    backbone = run.classifier.backbone
    found = outputs(backbone, loader, "features", **run.device.trainer_options())
    return torch.cat([batch for batch, _ in found]).view(views, len(dataset), -1)


def accuracy(views: Tensor, labels: Tensor, judged: Tensor, truth: Tensor) -> float:
    """Of a logistic regression on all views, on validation."""
    train = views.flatten(0, 1)
    mean, std = train.mean(0), train.std(0).clamp(min=1e-6)
    head = nn.Linear(train.shape[1], int(labels.max()) + 1)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")
    inputs, wanted = (train - mean) / std, labels.repeat(len(views))

    def loss() -> Tensor:
        optimizer.zero_grad()
        weight = 1e-3 * head.weight.square().sum()
        value: Tensor = nn.functional.cross_entropy(head(inputs), wanted) + weight
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]
    right = head((judged - mean) / std).argmax(1) == truth
    return float(right.float().mean())


def cosine(one: Tensor, other: Tensor) -> float:
    """The median over pictures and views."""
    return float(nn.functional.cosine_similarity(one, other, dim=-1).median())


def main() -> None:
    """Measure, print, write every figure as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=listed, default="224,256,384,512")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "cache_size.json")
    options, overrides = parser.parse_known_args()
    quieten_libraries()
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(configured([*overrides, "data.cache=none"], Path(folder)), Path(folder), [])
    samples, views = run.data.index.train, options.views
    labels = torch.tensor([sample.label for sample in samples])
    transform = run.classifier.preprocessing.transform()
    judged = features(run, PictureDataset(run.data.index.val, transform), 1)[0]
    truth = torch.tensor([sample.label for sample in run.data.index.val])
    files = run.data.train_pictures()
    reference = features(run, files, views)
    rows: list[dict[str, Any]] = []

    def say(kept: str, megabytes: float, found: Tensor, like: float) -> None:
        share = 100 * accuracy(found, labels, judged, truth)
        rows.append({"kept": kept, "mb": megabytes, "cosine": like, "accuracy_%": share})
        print(f"{kept:<16} {megabytes:8.0f} MB {like:8.3f} {share:8.1f} %", flush=True)

    print(f"{'kept at':<16} {'memory':>11} {'cosine':>8} {'accuracy':>10}")
    say("files", 0.0, reference, cosine(reference, features(run, files, views, views)))
    paths = [sample.path for sample in samples]
    on_files = file_sizes(paths)
    for size_px in map(int, options.sizes):
        plan = plan_whole(paths, size_px, on_files)
        dataset = PictureDataset(samples, files.transform, in_memory(plan))
        found = features(run, dataset, views)
        say(f"{size_px} px", plan.size_bytes / 1e6, found, cosine(found, reference))
    shorter = statistics.median(int(min(size)) for size in on_files)
    print(
        f"files: the cosine of two views with other seeds; the shorter side's median {shorter} px"
    )
    options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
