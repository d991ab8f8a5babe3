"""Ants and bees as lists of shapes: body plan, pose and colours, nothing about the picture around.

An insect is built in its own space, in units of half its body length: `along` runs from the sting
(-1) to the front of the head (+1), `across` from its right to its left, `up` away from its back.
A pose puts that space on the canvas.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import ImageDraw

Kind = Literal["ant", "bee"]
Colour = tuple[int, int, int]
Floats = NDArray[np.float64]

# Both kinds wear any of these, so that only the shape tells them apart.
_COLOURS: tuple[Colour, ...] = (
    (26, 22, 22),  # black
    (58, 38, 26),  # dark brown
    (104, 62, 34),  # brown
    (146, 48, 28),  # red
    (178, 98, 32),  # rust
    (214, 152, 44),  # amber
    (236, 200, 92),  # straw
    (222, 214, 198),  # pale grey
    (92, 98, 112),  # slate
)


class Shape(NamedTuple):
    """Something to draw: a line where it has a width in pixels, otherwise a filled outline."""

    points: Floats  # (N, 2) pixels
    colour: Colour
    alpha: int = 255
    width: float | None = None


class Part(NamedTuple):
    """A part of the body, round about its axis; a positive taper makes its rear end pointed."""

    centre: float
    half_length: float
    half_width: float
    taper: float = 0.0


@dataclass(frozen=True)
class Pose:
    """Where an insect is on the canvas and how it holds itself; pixels and radians.

    Attributes:
        x: the middle of the body, from the left edge.
        y: the middle of the body, from the upper edge.
        half_length: half the length of the body.
        heading: where the head points; 0 is to the right.
        bend: how far the body turns over half its length.
        roll: 0 seen from above, pi / 2 from the side.
    """

    x: float
    y: float
    half_length: float
    heading: float
    bend: float
    roll: float

    def flat(self, along: Floats, side: Floats) -> Floats:
        """Put points of the bent midplane, (N,) each, on the canvas as (N, 2) pixels."""
        turn = self.bend * along
        half = turn / 2
        chord = along * np.sinc(half / np.pi)  # from the middle to the point on the bent axis
        forward = chord * np.cos(half) - side * np.sin(turn)
        left = chord * np.sin(half) + side * np.cos(turn)
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        return np.stack(
            [
                self.x + self.half_length * (forward * cos - left * sin),
                self.y + self.half_length * (forward * sin + left * cos),
            ],
            axis=1,
        )

    def solid(self, *points: ArrayLike) -> Floats:
        """Put points (along, across, up) on the canvas as (N, 2) pixels."""
        along, across, up = np.array(points).T
        return self.flat(along, across * np.cos(self.roll) + up * np.sin(self.roll))


def draw_shapes(draw: ImageDraw.ImageDraw, shapes: list[Shape], *, as_mask: bool = False) -> None:
    """Draw shapes one over the other, or their opacity alone on a mask of mode L."""
    for points, colour, alpha, width in shapes:
        corners: list[float] = points.ravel().tolist()
        fill = alpha if as_mask else (*colour, alpha)
        if width is None:
            draw.polygon(corners, fill=fill)
        else:
            draw.line(corners, fill=fill, width=max(1, round(width)), joint="curve")


def pick_colours(rng: np.random.Generator, behind: float) -> tuple[Colour, Colour]:
    """Pick a main and a second colour that differ from each other, the main one from the scene.

    Args:
        rng: the source of chance.
        behind: mean lightness of the background, 0 to 255.
    """
    while True:
        first, second = (
            np.clip(rng.choice(_COLOURS) * rng.uniform(0.8, 1.15) + rng.normal(0, 8, 3), 8, 245)
            for _ in range(2)
        )
        lightness = first.mean()
        if abs(lightness - second.mean()) > 80 and abs(lightness - behind) > 50:
            return _colour(first), _colour(second)


def insect_shapes(
    kind: Kind, rng: np.random.Generator, pose: Pose, colours: tuple[Colour, Colour]
) -> list[Shape]:
    """Build an insect, from its feet up, in the order in which to draw it."""
    return (_ant if kind == "ant" else _bee)(rng, pose, colours)


def _ant(rng: np.random.Generator, pose: Pose, colours: tuple[Colour, Colour]) -> list[Shape]:
    main, second = colours
    slim = rng.uniform(0.88, 1.15)
    head = Part(0.72, 0.26, 0.27 * slim, -0.12)
    thorax = Part(0.25, 0.28, 0.17 * slim, 0.2)
    petiole = Part(-0.1, 0.08, 0.07)
    gaster = Part(-0.58, 0.42, 0.37 * slim, 0.15)
    thorax_colour, gaster_colour = (colours[i] for i in rng.integers(2, size=2))

    shapes = _legs(rng, pose, second, hips=(0.38, 0.24, 0.08), reach=0.95, width=0.065)
    for side in (-1, 1):
        opening = rng.uniform(0.3, 0.5)
        elbow = (1.2, side * opening, 0.12)
        tip = (rng.uniform(1.4, 1.6), side * (opening - rng.uniform(0.0, 0.3)), 0.0)
        antenna = pose.solid((0.86, side * 0.1, 0.08), elbow, tip)
        shapes.append(_line(pose, antenna, second, 0.05))
        jaw = pose.solid((0.92, side * 0.1, 0.0), (1.06, side * 0.09, 0.0), (1.09, 0.0, 0.0))
        shapes.append(_line(pose, jaw, second, 0.05))
    shapes += _body(rng, pose, petiole, thorax_colour)
    shapes += _body(rng, pose, thorax, thorax_colour)
    shapes += _body(rng, pose, gaster, gaster_colour)
    return shapes + _body(rng, pose, head, main)


def _bee(rng: np.random.Generator, pose: Pose, colours: tuple[Colour, Colour]) -> list[Shape]:
    main, second = colours
    plump = rng.uniform(0.9, 1.12)
    head = Part(0.76, 0.19, 0.26 * plump)
    thorax = Part(0.36, 0.31, 0.33 * plump)
    abdomen = Part(-0.42, 0.58, 0.37 * plump, 0.25)

    shapes = _legs(rng, pose, second, hips=(0.5, 0.3, 0.12), reach=0.5, width=0.06)
    for side in (-1, 1):
        tip = (1.2, side * rng.uniform(0.14, 0.3), 0.05)
        antenna = pose.solid((0.9, side * 0.08, 0.06), (1.05, side * 0.13, 0.12), tip)
        shapes.append(_line(pose, antenna, second, 0.05))
    shapes += _body(rng, pose, head, main)
    stripes = int(rng.integers(3, 5))
    bands = [
        Shape(_band(pose, abdomen, start, start + 1 / stripes), second)
        for start in np.linspace(-1, 1, stripes, endpoint=False)
    ]
    shapes += _body(rng, pose, abdomen, main, bands)
    shapes += _body(rng, pose, thorax, colours[rng.integers(2)], fuzz=0.06)
    return shapes + _wings(rng, pose)


def _wings(rng: np.random.Generator, pose: Pose) -> list[Shape]:
    """Two translucent pairs, the smaller one behind; folded back to spread wide."""
    tint = _colour(rng.uniform(150, 250) + rng.uniform(-15, 15, 3))
    alpha = int(rng.integers(150, 200))
    fold = rng.uniform(0.7, 1.2)  # angle between the fore wing and the body's rear, radians
    shapes = []
    for root, length, breadth, angle in ((0.2, 0.75, 0.15, fold * 0.65), (0.42, 1.15, 0.2, fold)):
        for side in (-1, 1):
            out = np.array([-np.cos(angle), side * np.sin(angle), 0.18])
            wide = np.array([np.sin(angle), side * np.cos(angle), 0.0])
            base = np.array([root, side * 0.16, 0.22])
            turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)[:, None]
            swell = breadth * np.sin(turn) * (1 - 0.5 * np.cos(turn))  # broad towards its tip
            edge = base + length * (0.5 - 0.5 * np.cos(turn)) * out + swell * wide
            outline = pose.solid(*edge)
            shapes.append(Shape(outline, tint, alpha))
            closed = np.concatenate([outline, outline[:1]])
            shapes.append(Shape(closed, (40, 30, 20), 120, 0.02 * pose.half_length))
            vein = pose.solid(base, base + 0.55 * length * out, base + 0.85 * length * out)
            shapes.append(Shape(vein, (40, 30, 20), 110, 0.02 * pose.half_length))
    return shapes


def _legs(
    rng: np.random.Generator,
    pose: Pose,
    colour: Colour,
    *,
    hips: tuple[float, float, float],
    reach: float,
    width: float,
) -> list[Shape]:
    """Three pairs, the first turned forwards and the last backwards, each in its own step."""
    shapes = []
    for hip, direction in zip(hips, (0.75, -0.15, -0.9), strict=True):
        for side in (-1, 1):
            angle = direction + rng.uniform(-0.25, 0.25)
            stretch = reach * rng.uniform(0.85, 1.15)
            forward, outward = stretch * np.sin(angle), side * stretch * np.cos(angle)
            start = (hip, side * 0.08, -0.05)
            knee = (hip + 0.45 * forward, side * 0.08 + 0.55 * outward, 0.12)
            ankle = (hip + 0.85 * forward, side * 0.08 + 0.9 * outward, -0.35)
            foot = (hip + 1.15 * forward, side * 0.08 + 1.02 * outward, -0.42)
            shapes.append(_line(pose, pose.solid(start, knee), colour, 1.5 * width))
            shapes.append(_line(pose, pose.solid(knee, ankle, foot), colour, width))
    return shapes


def _body(
    rng: np.random.Generator,
    pose: Pose,
    part: Part,
    colour: Colour,
    bands: list[Shape] | None = None,
    fuzz: float = 0.0,
) -> list[Shape]:
    """A part of the body with its bands, a darker rim and light from the upper left."""
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    radius = 1 + fuzz * rng.uniform(-1, 1, angle.size)
    along = part.centre + part.half_length * radius * np.cos(angle)
    taper = 1 + part.taper * np.cos(angle)
    outline = pose.flat(along, part.half_width * radius * np.sin(angle) * taper)
    middle = outline.mean(axis=0)
    light = -0.1 * part.half_width * pose.half_length
    shapes = [Shape(outline, colour), *(bands or [])]
    for shrink, shift, alpha in ((0.72, 1.5, 26), (0.5, 2.5, 30), (0.22, 4.0, 70)):
        shapes.append(
            Shape(middle + shrink * (outline - middle) + shift * light, (255,) * 3, alpha)
        )
    closed = np.concatenate([outline, outline[:1]])
    return [*shapes, Shape(closed, (0, 0, 0), 90, 0.03 * pose.half_length)]


def _band(pose: Pose, part: Part, start: float, end: float) -> Floats:
    """Outline of a ring around a part, from start to end, -1 at its rear and 1 at its front."""
    edge = np.linspace(start, end, 6)
    edge = np.clip(np.concatenate([edge, edge[::-1]]), -1, 1)
    side = part.half_width * np.sqrt(1 - edge**2) * (1 + part.taper * edge)
    side[6:] *= -1
    return pose.flat(part.centre + part.half_length * edge, side)


def _line(pose: Pose, points: Floats, colour: Colour, width: float) -> Shape:
    return Shape(points, colour, 255, width * pose.half_length)


def _colour(values: Floats) -> Colour:
    red, green, blue = np.clip(values, 0, 255).astype(int).tolist()
    return red, green, blue
