"""Training is the article's loop: written out here in plain PyTorch, it gives the same bits."""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms
from torchvision.models import resnet18

from conftest import Ended
from hymenoptera.data import ImageFolderDataModule
from hymenoptera.models.checkpoint import load_classifier


def plain_loop(images: Path, preprocessing: object, epochs: int) -> nn.Module:
    """The article's loop; the order of the images and the seeds of the crops are the project's.

    So are scaling and normalisation: transforms.ToTensor's division differs in the last bit.
    """
    datamodule = ImageFolderDataModule(root=str(images), batch_size=4, num_workers=0)
    datamodule.setup("fit")
    augmented = transforms.Compose(
        [
            transforms.RandomResizedCrop(preprocessing.crop_px),
            transforms.RandomHorizontalFlip(),
            preprocessing.to_tensor(),
        ]
    )
    sampler = datamodule.train_dataloader().sampler
    torch.manual_seed(0)
    network = resnet18()
    network.fc = nn.Linear(512, len(datamodule.classes))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    for epoch in range(epochs):
        network.train()
        sampler.set_epoch(epoch)
        for keys in sampler:
            batch: list[Tensor] = []
            for key in keys:
                torch.manual_seed(key.seed)
                batch.append(augmented(Image.open(datamodule.train.path(key.index))))
            labels = torch.tensor([int(datamodule.train.labels[key.index]) for key in keys])
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(torch.stack(batch)), labels).backward()
            optimizer.step()
    return network


def test_training_is_the_articles_loop_to_the_bit(
    tmp_path: Path, run_train: Callable[..., Ended], tiny: list[str], images: Path
) -> None:
    """First weights, crops, steps, batch-norm statistics: nothing is added, nothing is lost."""
    ended = run_train(
        *tiny,
        "model.backbone=resnet18",
        "experiment=scratch",
        "data.batch_size=4",
        "hydra.run.dir=run",
    )
    assert ended.status == 0, ended.err
    last = load_classifier(tmp_path / "run" / "checkpoints" / "last.ckpt")
    network = plain_loop(images, last.preprocessing, epochs=2)
    trained = {
        name.removeprefix("backbone.").replace("head.", "fc."): value
        for name, value in last.state_dict().items()
        if name.startswith(("backbone.", "head."))
    }
    expected = network.state_dict()
    assert trained.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(trained[name], value), name
