"""The demo's data: ants and bees that the program draws itself, so that it needs no download.

Shape tells them apart; colours, poses and light come from the same distributions.
"""

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFilter
from tqdm import tqdm

from hymenoptera.data.sources import ImageFolderDataModule
from hymenoptera.files import make_folder

Kind = Literal["ant", "bee"]
# (N, 2) points; red, green, blue, alpha; width of a line through them, 0 to fill what they enclose
Shape = tuple[NDArray[np.float64], tuple[int, ...], float]
SPLITS, KINDS = ("train", "val"), get_args(Kind)
GROUNDS = "#3a6828 #60923a #84aa54 #70543a #967a5a #544234 #b09876 #78a4d6 #e896b2"
INSECTS = "#1a1616 #3a261a #683e22 #92301c #b26220 #d6982c #ecc85c #ded6c6 #5c6270"
# from -1, the rear, to 1, the front: centre, half length and half width of each part of the body
ANT = ((-0.1, 0.09, 0.07), (0.25, 0.28, 0.17), (-0.58, 0.42, 0.34), (0.72, 0.26, 0.25))
BEE = ((0.76, 0.19, 0.26), (-0.42, 0.58, 0.37), (0.36, 0.31, 0.33))
CIRCLE = np.array([(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 24)])


class DrawnDataModule(ImageFolderDataModule):
    """Drawn ants and bees, the same bytes for the same arguments.

    Args:
        folder: where a folder of the images is made; its name says what is in it.
        drawing_seed: which images are drawn.
        train_per_class: how many to train on.
        val_per_class: how many to validate on.
        size_px: side of an image.
        options: as of `ImageDataModule`.
    """

    def __init__(
        self,
        *,
        folder: str = "data",
        drawing_seed: int = 0,
        train_per_class: int = 600,
        val_per_class: int = 150,
        size_px: int = 64,
        **options: Any,
    ) -> None:
        self._drawing = (drawing_seed, train_per_class, val_per_class, size_px)
        super().__init__(root=f"{folder}/drawn_{'_'.join(map(str, self._drawing))}", **options)

    def prepare_data(self) -> None:
        """Draw the images, once."""
        draw_data_set(self._root, *self._drawing)


def draw_data_set(folder: Path, seed: int, train: int, val: int, size_px: int) -> Path:
    """Draw so many images per class into a folder; a larger data set begins with the smaller."""
    jobs = [(s, k, i) for s in (0, 1) for k in (0, 1) for i in range((train, val)[s])]

    def fill(temporary: Path) -> None:
        for split, kind, index in tqdm(jobs, "drawing", leave=False, disable=None, unit="image"):
            to = temporary / SPLITS[split] / f"{KINDS[kind]}s"
            to.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng((seed, split, kind, index))
            draw_scene(KINDS[kind], rng, size_px).save(to / f"{index:04}.png", compress_level=1)

    return make_folder(folder, fill)


def draw_scene(kind: Kind, rng: np.random.Generator, size_px: int) -> Image.Image:
    """An RGB image of one insect."""
    side = 2 * size_px  # against jagged edges
    scene = _background(rng, side)
    margin = 0.22 if rng.random() < 0.1 else 0.07  # one in ten is cut off
    middle, turn = side * rng.uniform(0.5 - margin, 0.5 + margin, 2), rng.uniform(0, 2 * np.pi)
    unit = side * rng.normal(0.4 if kind == "ant" else 0.36, 0.02)  # of equal area
    axes = unit * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    shapes = [
        (points @ axes + middle, colour, width * unit)
        for points, colour, width in _insect(kind, rng, float(np.asarray(scene).mean()))
    ]
    mask = Image.new("L", scene.size)
    _paint(ImageDraw.Draw(mask), [(points, colour[3:], width) for points, colour, width in shapes])
    shadow = mask.filter(ImageFilter.GaussianBlur(side / 80)).point(lambda level: level * 0.4)
    scene.paste((10, 10, 20), (side // 40, side // 40), shadow)
    _paint(ImageDraw.Draw(scene, "RGBA"), shapes)
    light = 1 + rng.uniform(-0.2, 0.2) * np.linspace(-1, 1, size_px)[:, None, None]
    noise = rng.normal(0, rng.uniform(1, 5), (size_px, size_px, 3))
    pixels = np.asarray(scene.reduce(2)) * light * rng.normal(1, 0.08, 3) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _insect(kind: Kind, rng: np.random.Generator, behind: float) -> list[Shape]:
    """In the order in which to draw it, from its feet up; in half lengths of its body."""
    ant, light, shapes = kind == "ant", [behind, behind], list[Shape]()
    while abs(light[0] - behind) < 50 or abs(light[0] - light[1]) < 80:
        colours = [_vary(rng, INSECTS) for _ in range(2)]
        light = [sum(colour[:3]) / 3 for colour in colours]
    tip = ((1.2, 0.4), (1.55, 0.25)) if ant else ((1.05, 0.1), (1.2, 0.2))
    for side in (-1, 1):
        for hip in (-1, 0, 1):
            angle, reach = rng.normal(0.8 * hip, 0.15), rng.uniform(0.9, 1.1) * (1 if ant else 0.5)
            foot = reach * np.array([np.sin(angle), np.cos(angle)])
            leg = np.array([[0, 0.08], foot * (0.45, 0.6), foot]) + np.array([0.25 + hip / 6, 0])
            shapes.append((leg * (1, side), colours[1], 0.08))
        antenna = np.array([(0.86, 0.1), *tip]) + rng.normal(0, 0.05, (3, 2))
        shapes.append((antenna * (1, side), colours[1], 0.055))
    for centre, length, width in ANT if ant else BEE:
        at, size, main = np.array([centre, 0]), np.array([length, width]), int(rng.integers(2))
        shapes.append((CIRCLE * size + at, colours[main], 0))
        for x in np.linspace(-0.65, 0.7, int(rng.integers(3, 5))) if length > 0.5 else ():
            stripe = np.array([(x, -1), (x, 1)]) * (1, np.sqrt(1 - x**2)) * size + at
            shapes.append((stripe, colours[1 - main], 0.15))
        shapes += [(CIRCLE * size * s + at, (255, 255, 255, 30), 0) for s in (0.7, 0.4, 0.2)]
    tint, fold = (*[int(rng.uniform(90, 230))] * 3, 160), rng.uniform(0.7, 1.2)
    for root, length, angle in () if ant else ((0.2, 0.75, 0.65 * fold), (0.42, 1.15, fold)):
        out = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        wing = (CIRCLE + np.array([1, 0])) * (length / 2, 0.18) @ out + np.array([root, 0.16])
        shapes += [(wing * (1, side), tint, 0) for side in (-1, 1)]
    return shapes


def _background(rng: np.random.Generator, side: int) -> Image.Image:
    """Smooth noise between two colours, with blades of grass and crumbs, out of focus."""
    first, second = (np.array(_vary(rng, GROUNDS)[:3]) for _ in range(2))
    mix = np.full((side, side, 1), 0.5)
    for weight, cells in enumerate(rng.integers(2, 20, 3), start=1):
        noise = Image.fromarray(rng.random((cells, cells), np.float32) - 0.5)
        mix[..., 0] += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) / weight
    scene = Image.fromarray((first + (second - first) * mix.clip(0, 1)).astype(np.uint8))
    for _ in range(rng.integers(0, 25)):
        points = rng.uniform(0, 1, 2) + rng.uniform(-1, 1, (3, 2)) * rng.choice([0.05, 0.6])
        _paint(ImageDraw.Draw(scene), [(side * points, _vary(rng, GROUNDS), side / 40)])
    return scene.filter(ImageFilter.GaussianBlur(side * rng.uniform(0.008, 0.03)))


def _paint(draw: ImageDraw.ImageDraw, shapes: list[Shape]) -> None:
    for points, colour, width in shapes:
        corners, thick = points.ravel().tolist(), max(1, round(width))
        draw.line(corners, colour, thick, "curve") if width else draw.polygon(corners, colour)


def _vary(rng: np.random.Generator, colours: str) -> tuple[int, ...]:
    colour = np.array(ImageColor.getrgb(rng.choice(colours.split()))) * rng.uniform(0.78, 1.15)
    return (*(colour + rng.normal(0, 8, 3)).clip(8, 245).astype(int).tolist(), 255)
