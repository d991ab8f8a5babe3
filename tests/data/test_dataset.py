"""Pictures are read upright, and augmented as their seeds say."""

from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import v2

from hymenoptera.data.dataset import FeatureDataset, PictureDataset, collate
from hymenoptera.data.folders import Sample
from hymenoptera.data.order import Draw
from hymenoptera.data.pictures import read_picture


def test_features_are_found_by_sample_and_view() -> None:
    features = torch.arange(12.0).view(6, 2)  # 3 samples, 2 views
    dataset = FeatureDataset(features, [0, 1, 2], [5, 6, 7])
    row, label = dataset[Draw(2, 1, 0)]
    assert (row.tolist(), label) == ([10.0, 11.0], 7)


def test_a_picture_is_augmented_by_its_seed_and_leaves_torchs_generator_alone(
    pictures: Path,
) -> None:
    transform = v2.Compose([v2.RandomResizedCrop(16), v2.PILToTensor()])
    dataset = PictureDataset([Sample(pictures / "train/ash/000.png", 0)], transform)
    torch.manual_seed(5)
    a, label = dataset[Draw(0, 0, 11)]
    after = torch.rand(1)
    b, _ = dataset[Draw(0, 0, 11)]
    c, _ = dataset[Draw(0, 0, 12)]
    assert label == 0
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))


def test_a_picture_is_read_upright_and_as_rgb(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    Image.new("L", (30, 20), 128).save(path, exif=exif)
    picture = read_picture(path)
    assert picture.mode == "RGB"
    assert picture.size == (20, 30)


def test_a_batch_may_be_empty() -> None:
    images, labels = collate([])
    assert (len(images), len(labels)) == (0, 0)
    images, labels = collate([(torch.ones(3, 2, 2), 1), (torch.zeros(3, 2, 2), 0)])
    assert images.shape == (2, 3, 2, 2)
    assert labels.tolist() == [1, 0]
