"""`hymenoptera.load`: a classifier in a script."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hymenoptera
from hymenoptera.errors import RequestError


def test_paths_pictures_and_arrays_give_the_same(finished_run: Path, pictures: Path) -> None:
    classifier = hymenoptera.load(finished_run)
    assert classifier.classes == ["ash", "birch", "cedar"]
    path = pictures / "val/ash/000.png"
    picture = Image.open(path)
    array = np.asarray(picture)
    found = classifier.predict([str(path), path, picture, array, array / 255])
    assert len({tuple(p.probabilities.items()) for p in found}) == 1
    assert found[0].label == max(found[0].probabilities, key=found[0].probabilities.__getitem__)
    assert found[0].probability == max(found[0].probabilities.values())
    assert [p.name for p in found] == [str(path), str(path), "", "", ""]
    (alone,) = classifier.predict(path)
    assert alone.probabilities == pytest.approx(found[0].probabilities, abs=1e-6)
    assert classifier.predict([]) == []


def test_more_pictures_than_a_batch_come_in_their_order(finished_run: Path, pictures: Path) -> None:
    classifier = hymenoptera.load(finished_run / "checkpoints" / "best.ckpt")
    paths = sorted((pictures / "train").rglob("*.png"))
    alone = [classifier.predict(path)[0] for path in paths[:9]]
    together = [
        p for batch in classifier.batches(iter(paths[:9]), size=2) for p in batch.predictions
    ]
    assert [p.name for p in together] == [str(path) for path in paths[:9]]
    for one, other in zip(alone, together, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


@pytest.mark.parametrize(
    ("picture", "word"),
    [
        ("nowhere.png", "no such file"),
        (np.zeros((3, 20, 20), np.uint8), "shape"),
        (np.full((20, 20, 3), 2.0), "scale 0 to 1"),
        (np.zeros((20, 20, 3), np.int64), "int64"),
        (np.zeros((1, 60_000, 3), np.uint8), "too narrow"),
    ],
)
def test_what_is_no_picture_is_refused(finished_run: Path, picture: object, word: str) -> None:
    with pytest.raises(RequestError, match=word):
        hymenoptera.load(finished_run).predict([picture])


def test_the_package_itself_is_light() -> None:
    code = "import hymenoptera, sys; assert 'torch' not in sys.modules; hymenoptera.load"
    subprocess.run([sys.executable, "-c", code], check=True)
