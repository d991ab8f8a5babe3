"""timm's parts in a plain loop: its data set, loader, network, optimizer and scheduler factories.

What is timm's own here: `resnet18.tv_in1k` with the preprocessing of its weights, the loader's
default augmentation (crops of 8 to 100 %, flips, colour jitter 0.4), label smoothing 0.1, AdamW
without weight decay on norms and biases, a cosine schedule with a warm-up. What was chosen: batches
of 32, a rate of 5e-4 with layer-wise decay 0.7, weight decay 0.05, 6 epochs of which 1 warms up.
"""

from pathlib import Path
from typing import Any

import timm
import torch
from reporting import parse_options, run_loop
from timm.data import create_dataset, create_loader, resolve_model_data_config
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn
from torch.utils.data import Subset

LEARNING_RATE = 5e-4
LAYER_DECAY = 0.7
WEIGHT_DECAY = 0.05
WARM_UP_EPOCHS = 1
SMOOTHING = 0.1


def make_loader(
    data: Path, part: str, network: nn.Module, options: Any, device: torch.device
) -> Any:
    """A loader of timm's over one part of the images."""
    facts = resolve_model_data_config(network)
    training = part == "train"
    dataset = create_dataset("", root=str(data), split=part)  # leaves the archive's GIF out
    limit = options.limit_train if training else options.limit_val
    if limit:
        picked = torch.randperm(len(dataset))[:limit].tolist()
        dataset = LimitedDataset(dataset, picked)
    return create_loader(
        dataset,
        input_size=facts["input_size"],
        batch_size=options.batch_size,
        is_training=training,
        interpolation=facts["interpolation"],
        mean=facts["mean"],
        std=facts["std"],
        crop_pct=facts["crop_pct"],
        num_workers=options.workers,
        device=device,
        use_prefetcher=device.type == "cuda",
    )


class LimitedDataset(Subset):
    """Some images of a data set, which hands its transform on as timm's loader sets it."""

    @property
    def transform(self) -> Any:
        """The transform of the whole data set."""
        return self.dataset.transform

    @transform.setter
    def transform(self, transform: Any) -> None:
        self.dataset.transform = transform


def main() -> None:
    """Train, or time some steps."""
    options = parse_options(__doc__, epochs=6, batch_size=32, workers=2)
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pretrained = options.weights != "none"
    network = timm.create_model(
        "resnet18.tv_in1k",
        pretrained=pretrained,
        pretrained_cfg_overlay={"file": options.weights} if pretrained else None,
        num_classes=len([p for p in (options.data / "train").iterdir() if p.is_dir()]),
    ).to(device)
    train = make_loader(options.data, "train", network, options, device)
    validate = make_loader(options.data, "validation", network, options, device)
    optimizer = create_optimizer_v2(
        network,
        opt="adamw",
        lr=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        layer_decay=LAYER_DECAY if pretrained else None,
    )
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=options.epochs,
        warmup_epochs=WARM_UP_EPOCHS,
        step_on_epochs=False,
        updates_per_epoch=len(train),
    )
    loss_of = LabelSmoothingCrossEntropy(SMOOTHING)
    steps = 0

    def step(images: torch.Tensor, labels: torch.Tensor) -> float:
        nonlocal steps
        optimizer.zero_grad()
        loss = loss_of(network(images.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        steps += 1
        scheduler.step_update(num_updates=steps)
        return loss.item()

    run_loop(options, network, train, validate, step)


if __name__ == "__main__":
    main()
