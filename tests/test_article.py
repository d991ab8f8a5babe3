"""Training is the article's loop: written out here in plain PyTorch, it gives the same bits."""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms
from torchvision.models import resnet18

from conftest import Ended
from hymenoptera.config import build
from hymenoptera.data.base import PictureDataModule
from hymenoptera.models.checkpoint import load_checkpoint
from hymenoptera.preprocessing import Preprocessing


def plain_loop(data: PictureDataModule, preprocessing: Preprocessing, epochs: int) -> nn.Module:
    """The article's loop; the order of the pictures and the seeds of the crops are the project's.

    So are scale and normalisation: transforms.ToTensor's division differs in the last bit.
    """
    augmented = transforms.Compose(
        [
            transforms.RandomResizedCrop(preprocessing.crop_px),
            transforms.RandomHorizontalFlip(),
            preprocessing.to_tensor(),
        ]
    )
    samples = data.index.train
    sampler = data.sampler(len(samples), shuffle=True, views=None)
    torch.manual_seed(0)
    network = resnet18()
    network.fc = nn.Linear(512, len(data.index.classes))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    for epoch in range(epochs):
        network.train()
        sampler.set_epoch(epoch)
        images: list[Tensor] = []
        labels: list[int] = []
        for number, draw in enumerate(sampler, start=1):
            torch.manual_seed(draw.seed)
            images.append(augmented(Image.open(samples[draw.sample].path)))
            labels.append(samples[draw.sample].label)
            if len(images) == 4 or number == len(samples):
                optimizer.zero_grad()
                nn.functional.cross_entropy(
                    network(torch.stack(images)), torch.tensor(labels)
                ).backward()
                optimizer.step()
                images, labels = [], []
    return network


def test_training_is_the_articles_loop_to_the_bit(
    tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str]
) -> None:
    """First weights, crops, steps, batch-norm statistics: nothing is added, nothing lost."""
    run = run_train(*tiny, "experiment=scratch", "data.batch_size=4", "hydra.run.dir=run")
    assert run.status == 0, run.err
    last = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    data = build(last.config["data"])
    data.setup()
    network = plain_loop(data, last.preprocessing, last.epoch)
    trained = {
        name.removeprefix("backbone.").replace("head.", "fc."): value
        for name, value in last.classifier.state_dict().items()
    }
    expected = network.state_dict()
    assert trained.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(trained[name], value), name
