"""What surrounds a drawn insect: the ground it sits on, what grows over it, and the camera."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from hymenoptera.data.insects import Colour, Floats

_GREENS: tuple[Colour, ...] = ((58, 104, 40), (96, 146, 58), (132, 170, 84), (70, 120, 84))
_EARTHS: tuple[Colour, ...] = ((112, 84, 58), (150, 122, 90), (84, 66, 52), (176, 152, 118))
_SKIES: tuple[Colour, ...] = ((120, 164, 214), (168, 200, 232), (206, 216, 226))
_PETALS: tuple[Colour, ...] = (
    (232, 150, 178),
    (240, 236, 230),
    (238, 200, 70),
    (170, 128, 204),
    (216, 88, 70),
)


def draw_background(rng: np.random.Generator, size_px: int) -> Image.Image:
    """Paint a leaf, soil, sky, flower, grass or plain texture, more or less out of focus (RGB)."""
    paint = _PAINTERS[rng.integers(len(_PAINTERS))]
    image = paint(rng, size_px)
    blur_px = size_px * rng.uniform(0.008, 0.03)
    return image.filter(ImageFilter.GaussianBlur(blur_px))


def draw_foreground(rng: np.random.Generator, image: Image.Image) -> None:
    """Let, at times, a blade of grass grow over the image from its edge."""
    if rng.random() < 0.25:
        _blade(ImageDraw.Draw(image), rng, image.width, _vary(rng, _GREENS), width=0.035)


def photograph(rng: np.random.Generator, image: Image.Image, size_px: int) -> Image.Image:
    """Take the picture: scale it down, with uneven light, a colour cast, blur and noise.

    Args:
        rng: the source of chance.
        image: the scene, a whole number of times as large as the picture.
        size_px: side of the picture.

    Returns:
        The picture, RGB.
    """
    small = image.reduce(image.width // size_px)
    small = small.filter(ImageFilter.GaussianBlur(size_px * rng.uniform(0, 0.008)))
    light_from = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : size_px * 1j, -1 : 1 : size_px * 1j]
    slope = rng.uniform(0, 0.25) * (x * np.cos(light_from) + y * np.sin(light_from))
    gain = rng.uniform(0.8, 1.15) * rng.uniform(0.92, 1.08, 3)
    noise = rng.normal(0, rng.uniform(1, 5), (size_px, size_px, 3))
    pixels = np.asarray(small) * gain * (1 + slope[..., None]) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _leaf(rng: np.random.Generator, size_px: int) -> Image.Image:
    image = _texture(rng, size_px, _GREENS, cells=(2, 12))
    draw = ImageDraw.Draw(image, "RGBA")
    vein: tuple[int, ...] = (*_vary(rng, ((190, 210, 140),)), 110)
    start, end = rng.uniform(-0.1, 0.4, 2) * size_px, rng.uniform(0.6, 1.1, 2) * size_px
    if rng.random() < 0.5:
        start[0], end[0] = end[0], start[0]
    step = end - start
    draw.line([*start, *end], fill=vein, width=max(1, size_px // 50))
    for position in np.arange(-0.5, 1.5, rng.uniform(0.15, 0.25)):
        root = start + position * step
        for side in (-1, 1):
            tip = root + 0.5 * step + side * 0.8 * np.array([-step[1], step[0]])
            draw.line([*root, *tip], fill=vein, width=max(1, size_px // 100))
    return image


def _soil(rng: np.random.Generator, size_px: int) -> Image.Image:
    image = _texture(rng, size_px, _EARTHS, cells=(4, 14, 40))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(4, 22)):
        middle, turn = rng.uniform(0, size_px, 2), rng.uniform(0, 7)
        outline = _ellipse(middle, turn, *(size_px * rng.uniform(0.02, 0.07, 2)))
        colour = _vary(rng, (*_EARTHS, (150, 148, 144)))
        dark = tuple(channel // 2 for channel in colour)
        draw.polygon(_corners(outline + 0.012 * size_px), fill=dark)
        draw.polygon(_corners(outline), fill=colour)
    return image


def _sky(rng: np.random.Generator, size_px: int) -> Image.Image:
    image = _texture(rng, size_px, _SKIES, cells=(2, 4))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, 4)):
        _blade(draw, rng, size_px, _vary(rng, (*_GREENS, *_EARTHS)), width=0.03)
    return image


def _flower(rng: np.random.Generator, size_px: int) -> Image.Image:
    image = _texture(rng, size_px, _GREENS, cells=(3, 8))
    draw = ImageDraw.Draw(image)
    centre = rng.uniform(0.1, 0.9, 2) * size_px
    petal_colour = _vary(rng, _PETALS)
    count, turn = int(rng.integers(6, 14)), rng.uniform(0, 1)
    for index in range(count):
        angle = turn + 2 * np.pi * index / count
        away = np.array([np.cos(angle), np.sin(angle)])
        middle = centre + 0.4 * size_px * away
        petal = _ellipse(middle, angle, 0.4 * size_px, 1.2 / count * size_px)
        shade = tuple(int(channel * rng.uniform(0.88, 1.0)) for channel in petal_colour)
        draw.polygon(_corners(petal), fill=shade, outline=petal_colour)
    disc = _ellipse(centre, 0, 0.13 * size_px, 0.13 * size_px)
    draw.polygon(_corners(disc), fill=_vary(rng, (*_EARTHS, (214, 170, 60))))
    return image


def _grass(rng: np.random.Generator, size_px: int) -> Image.Image:
    image = _texture(rng, size_px, ((40, 66, 30), (70, 84, 46)), cells=(3, 10))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(12, 40)):
        _blade(draw, rng, size_px, _vary(rng, _GREENS), width=0.025)
    return image


def _plain(rng: np.random.Generator, size_px: int) -> Image.Image:
    """Bark, a wall or cloth: noise at any scale between any two colours."""
    cells = tuple(int(count) for count in rng.integers(2, 16, 3))
    return _texture(rng, size_px, (*_EARTHS, *_PETALS, *_SKIES), cells)


_PAINTERS: tuple[Callable[[np.random.Generator, int], Image.Image], ...] = (
    _leaf,
    _soil,
    _sky,
    _flower,
    _grass,
    _plain,
)


def _texture(
    rng: np.random.Generator, size_px: int, colours: tuple[Colour, ...], cells: tuple[int, ...]
) -> Image.Image:
    """Mix two colours by layers of smooth noise, so many cells a side; the first weighs most."""
    first, second = (np.array(_vary(rng, colours), np.float32) for _ in range(2))
    side = max(cells)
    mix = np.full((side, side), 0.5, np.float32)
    for layer, count in enumerate(cells):
        noise = Image.fromarray(rng.random((count, count), np.float32) - 0.5)
        mix += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) / (layer + 1)
    mix = np.clip(mix, 0, 1)[..., None]
    pixels = (first + (second - first) * mix).astype(np.uint8)
    return Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.BICUBIC)


def _blade(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    size_px: int,
    colour: Colour,
    width: float,
) -> None:
    """A blade of grass, or a twig, that grows from an edge to a point and leans over."""
    root, tip = np.array([rng.uniform(0, 1), 1.05]), rng.uniform(-0.1, 1.1, 2)
    lean = np.array([tip[0], (root[1] + tip[1]) / 2])
    part = np.linspace(0, 1, 8)[:, None]
    spine = (1 - part) ** 2 * root + 2 * part * (1 - part) * lean + part**2 * tip
    if rng.random() < 0.5:  # as often from the side as from below
        spine = spine[:, ::-1]
    half = (1 - part) * np.array([width, -width])
    draw.polygon(_corners(size_px * np.concatenate([spine + half, (spine - half)[::-1]])), colour)


def _ellipse(centre: Floats, angle: float, half_length: float, half_width: float) -> Floats:
    """Outline of an ellipse whose long axis is turned by an angle in radians: (20, 2) pixels."""
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    x, y = half_length * np.cos(turn), half_width * np.sin(turn)
    cos, sin = np.cos(angle), np.sin(angle)
    outline: Floats = centre + np.stack([x * cos - y * sin, x * sin + y * cos], axis=1)
    return outline


def _corners(points: Floats) -> list[float]:
    flat: list[float] = points.ravel().tolist()
    return flat


def _vary(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    """One of the colours, a little lighter or darker and off its hue."""
    colour = np.array(colours[rng.integers(len(colours))])
    varied = np.clip(colour * rng.uniform(0.75, 1.15) + rng.normal(0, 8, 3), 0, 255)
    red, green, blue = varied.astype(int).tolist()
    return red, green, blue
