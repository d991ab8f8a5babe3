"""A trained classifier in a script: files and images."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hymenoptera.data.images import find_images
from hymenoptera.errors import ConfigError
from hymenoptera.models import ImageClassifier, Predictor
from hymenoptera.models.predictor import AHEAD


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    model = ImageClassifier(["ash", "birch", "cedar"], weights="none", image_size=32)
    torch.nn.init.normal_(model.head.weight)
    return Predictor(model, "cpu")


def test_paths_and_images_give_the_same(predictor: Predictor, images: Path) -> None:
    path = images / "val/ash/000.png"
    image = Image.open(path)
    found = list(predictor.predict([str(path), path, image]))
    assert len({tuple(p.probabilities.items()) for p in found}) == 1
    assert found[0].label == max(found[0].probabilities, key=found[0].probabilities.__getitem__)
    assert found[0].probability == max(found[0].probabilities.values())
    assert [p.path for p in found] == [str(path), str(path), ""]
    (alone,) = predictor.predict(path)
    assert alone.probabilities == pytest.approx(found[0].probabilities, abs=1e-6)
    assert list(predictor.predict([])) == []
    image = predictor.classifier.preprocessing.eval_transform()(Image.open(path))
    with torch.inference_mode():
        (expected,) = predictor.classifier(image[None]).softmax(dim=1).tolist()
    assert [alone.probabilities[name] for name in predictor.classes] == pytest.approx(expected)


def test_more_images_than_a_batch_come_in_their_order(predictor: Predictor, images: Path) -> None:
    paths = sorted((images / "train").rglob("*.png"))[:9]
    alone = [next(predictor.predict(path)) for path in paths]
    together = list(predictor.predict(iter(paths), batch_size=2))
    assert [p.path for p in together] == [str(path) for path in paths]
    for one, other in zip(alone, together, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_a_few_batches_are_held_at_a_time(predictor: Predictor, images: Path) -> None:
    path, asked = str(images / "val/ash/000.png"), 0

    def endless() -> Iterator[str]:
        nonlocal asked
        while True:
            asked += 1
            yield path

    predictions = predictor.predict(endless(), batch_size=4)
    for count in range(1, 41):
        next(predictions)
        assert asked <= count + (AHEAD + 1) * 4


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("nowhere.png", "no such file"),
        (Image.fromarray(np.zeros((20, 20), np.float32)), "floats"),
    ],
    ids=lambda value: str(value)[:12] if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_a_row_with_the_reason(
    predictor: Predictor, images: Path, image: object, words: str
) -> None:
    good = images / "val/ash/000.png"
    bad, fine = predictor.predict([image, good])
    assert words in bad.error and bad.probabilities == {} and bad.label == ""
    assert fine.error is None


def test_predict_reads_what_training_reads(predictor: Predictor, tmp_path: Path) -> None:
    """Fault 28: an image of 2 x 2000 px is predicted, and a .heic gets a row."""
    Image.new("RGB", (2, 2000), "red").save(tmp_path / "narrow.png")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    narrow, phone = predictor.predict(find_images([str(tmp_path)]))
    assert narrow.error is None and narrow.label
    assert phone.path.endswith("phone.heic") and "format" in phone.error


def test_a_checkpoint_is_loaded_with_its_precision(
    tmp_path: Path, head, trainer, features, images: Path
) -> None:
    run = trainer(max_epochs=1)
    run.fit(head(), datamodule=features(2))
    path = tmp_path / "checkpoints" / "best.ckpt"
    run.save_checkpoint(path)
    assert Predictor(tmp_path, "cpu").precision == "32-true"
    state = torch.load(path, weights_only=True)
    state["hymenoptera"] = {
        "schema_version": 2,
        "device": {"accelerator": "cpu", "precision": "bf16-mixed"},
    }
    torch.save(state, path)
    predictor = Predictor(str(path), "cpu")
    assert predictor.precision == "bf16-mixed"
    (found,) = predictor.predict(images / "val/ash/000.png")
    (exact,) = Predictor(path, "cpu", "32-true").predict(images / "val/ash/000.png")
    assert found.probabilities == pytest.approx(exact.probabilities, abs=0.05)
    with pytest.raises(ConfigError, match="no such device"):
        Predictor(path, "tpu")
