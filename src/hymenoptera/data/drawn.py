"""The demo's data set: ants and bees that the program draws itself, so that it needs no download.

Shape alone tells the two apart: an ant has a thin waist, elbowed antennae and long legs, a bee a
stout striped body and two pairs of wings. Colours, poses, backgrounds and light come from the same
distributions for both, and both cover about as much of the picture, so that the mean and the spread
of its colours give little away.
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

from hymenoptera.atomic import make_folder
from hymenoptera.data.insects import Kind, Pose, draw_shapes, insect_shapes, pick_colours
from hymenoptera.data.scenery import draw_background, draw_foreground, photograph

_SUPERSAMPLING = 2  # scenes are drawn so many times as large, against jagged edges
_KINDS: tuple[Kind, ...] = ("ant", "bee")
# Half a body's length as a share of the picture's side. A stout bee covers as much as an ant that
# is longer than it.
_HALF_LENGTH: dict[Kind, tuple[float, float]] = {"ant": (0.37, 0.45), "bee": (0.32, 0.39)}

Box = tuple[int, int, int, int]


def draw_scene(
    kind: Kind, rng: np.random.Generator, size_px: int, scale: float = 1.0
) -> tuple[Image.Image, Image.Image]:
    """Draw a picture of one insect, and where it is.

    Args:
        kind: which insect.
        rng: the source of chance; the same state draws the same picture.
        size_px: side of the picture.
        scale: length of the insect beside its usual one; a smaller one may be anywhere.

    Returns:
        The picture, RGB, and a mask of one size with it, L: 255 where all is insect.
    """
    side = size_px * _SUPERSAMPLING
    scene = draw_background(rng, side)
    shapes = insect_shapes(
        kind, rng, _pose(kind, rng, side, scale), pick_colours(rng, float(np.asarray(scene).mean()))
    )

    mask = Image.new("L", scene.size)
    draw_shapes(ImageDraw.Draw(mask), shapes, as_mask=True)
    _cast_shadow(rng, scene, mask)
    draw_shapes(ImageDraw.Draw(scene, "RGBA"), shapes)
    draw_foreground(rng, scene)

    return photograph(rng, scene, size_px), mask.reduce(_SUPERSAMPLING)


def draw_insect(kind: Kind, rng: np.random.Generator, size_px: int) -> tuple[Image.Image, Box]:
    """As `draw_scene`, with the insect's bounding box in place of the mask.

    Returns:
        The picture, and left, top, right, bottom in pixels, right and bottom just outside.
    """
    picture, mask = draw_scene(kind, rng, size_px)
    box = mask.getbbox()
    assert box is not None, "the pose keeps the insect in the picture"
    return picture, box


def draw_data_set(
    folder: Path, *, seed: int, train_per_class: int, val_per_class: int, size_px: int
) -> Path:
    """Draw a data set once: `train` and `val`, each with a folder `ants` and a folder `bees`.

    Every picture has its own source of chance, so the same arguments make the same bytes, and more
    pictures per class leave the first ones as they are. `boxes.csv` beside the splits holds each
    insect's bounding box (path, left, top, right, bottom).

    Args:
        folder: the data set's place; where it exists already, nothing is done. Its name should
            follow from the other arguments.
        seed: at least 0; another seed draws other pictures.
        train_per_class: how many pictures of each insect to train on.
        val_per_class: how many pictures of each insect to validate on.
        size_px: side of the pictures.

    Returns:
        The folder.
    """
    counts = {"train": train_per_class, "val": val_per_class}
    jobs = [
        (f"{split}/{kind}s/{index:04}.png", kind, (seed, split_number, kind_number, index))
        for split_number, (split, count) in enumerate(counts.items())
        for kind_number, kind in enumerate(_KINDS)
        for index in range(count)
    ]

    def fill(temporary: Path) -> None:
        for split in counts:
            for kind in _KINDS:
                (temporary / split / f"{kind}s").mkdir(parents=True)
        with (temporary / "boxes.csv").open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["path", "left", "top", "right", "bottom"])
            for path, kind, entropy in tqdm(
                jobs, desc="Drawing ants and bees", unit="picture", leave=False, disable=None
            ):
                picture, box = draw_insect(kind, np.random.default_rng(entropy), size_px)
                picture.save(temporary / path, compress_level=1)
                table.writerow([path, *box])

    return make_folder(folder, fill)


def _pose(kind: Kind, rng: np.random.Generator, side: int, scale: float) -> Pose:
    """Any heading, seen from above to nearly from the side; one in ten is partly out of sight."""
    offset = max(0.22 if rng.random() < 0.1 else 0.07, (1 - scale) / 2)
    x, y = side * (0.5 + rng.uniform(-offset, offset, 2))
    return Pose(
        x=x,
        y=y,
        half_length=scale * side * rng.uniform(*_HALF_LENGTH[kind]),
        heading=rng.uniform(0, 2 * np.pi),
        bend=rng.normal(0, 0.2),
        roll=rng.uniform(-0.7, 0.7),
    )


def _cast_shadow(rng: np.random.Generator, scene: Image.Image, mask: Image.Image) -> None:
    """Darken the ground beside the insect, sharp or soft."""
    right, down = (int(scene.width * rng.uniform(0.01, 0.04)) for _ in range(2))
    soft = mask.filter(ImageFilter.GaussianBlur(scene.width * rng.uniform(0.005, 0.02)))
    strength = rng.uniform(0.2, 0.55)
    scene.paste((10, 10, 20), (right, down), soft.point(lambda value: value * strength))
