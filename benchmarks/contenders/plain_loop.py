"""The article's way: a plain PyTorch loop that fine-tunes a whole ResNet-18.

What the article says: ImageNet weights and a new head, RandomResizedCrop to 224 and a flip to
train, Resize to 256 and the centre 224 to validate, batches of 4 read by 4 processes, Adam at
1e-4, cross-entropy, 20 epochs, and the state dict of the best epoch is kept.
"""

from pathlib import Path
from typing import Any

import torch
from reporting import parse_options, run_loop
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import models, transforms
from torchvision.datasets import ImageFolder

LEARNING_RATE = 1e-4
NORMALISE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TRAIN = transforms.Compose(
    [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        NORMALISE,
    ]
)
VALIDATE = transforms.Compose(
    [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), NORMALISE]
)


def make_loader(
    folder: Path, transform: Any, batch_size: int, workers: int, limit: int | None
) -> tuple[DataLoader[Any], list[str]]:
    """A shuffled loader over class folders, and the names of the classes."""
    images = ImageFolder(str(folder), transform)  # leaves the archive's stray GIF out
    some = Subset(images, torch.randperm(len(images))[:limit].tolist()) if limit else images
    loader = DataLoader(some, batch_size=batch_size, shuffle=True, num_workers=workers)
    return loader, images.classes


def make_network(weights: str, class_count: int) -> nn.Module:
    """A ResNet-18 with a new head."""
    network = models.resnet18()
    if weights != "none":
        network.load_state_dict(torch.load(weights, weights_only=True))
    network.fc = nn.Linear(network.fc.in_features, class_count)
    return network


def main() -> None:
    """Train, or time some steps."""
    options = parse_options(__doc__, epochs=20, batch_size=4, workers=4)
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, classes = make_loader(
        options.data / "train", TRAIN, options.batch_size, options.workers, options.limit_train
    )
    validate, _ = make_loader(
        options.data / "val", VALIDATE, options.batch_size, options.workers, options.limit_val
    )
    network = make_network(options.weights, len(classes)).to(device)
    loss_of = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)

    def step(images: torch.Tensor, labels: torch.Tensor) -> float:
        optimizer.zero_grad()
        loss = loss_of(network(images.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        return loss.item()

    run_loop(options, network, train, validate, step)


if __name__ == "__main__":
    main()
