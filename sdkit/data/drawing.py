"""How a scene becomes pixels: shapes, textures, clutter, light. What a scene shows is drawn by lot in `shapes`.

Pixels are made with +, -, *, / and square roots only, which IEEE 754 defines exactly, so that they are the same bytes on every
machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray

SIZE, FINE = 32, 3  # pixels per side; the object is drawn at FINE x FINE points per pixel
BLOBS, BARS = 5, 4  # of the background
KINDS = ("clear", "faint", "covered", "cut off", "between")


# -- shapes: points (u, v) [n, P, P] in units of the object's size, v downwards -> inside or not; areas are about equal


def circle(u: Array, v: Array) -> Array:
    return u * u + v * v <= 0.80**2


def square(u: Array, v: Array) -> Array:
    return np.maximum(np.abs(u), np.abs(v)) <= 0.71


def triangle(u: Array, v: Array) -> Array:
    side = np.float32(0.8660254)
    return (v <= 0.60) & (side * u - 0.5 * v <= 0.60) & (-side * u - 0.5 * v <= 0.60)


PENTAGON = ((0, -1), (0.9510565, -0.3090170), (0.5877853, 0.8090170), (-0.5877853, 0.8090170), (-0.9510565, -0.3090170))


def star(u: Array, v: Array) -> Array:
    """Five points: inside at least four of the five half-planes of a pentagram."""
    inside = np.zeros(u.shape, np.int8)
    for x, y in PENTAGON:
        inside += np.float32(x) * u + np.float32(y) * v <= 0.41
    return inside >= 4


def cross(u: Array, v: Array) -> Array:
    u, v = np.abs(u), np.abs(v)
    return (np.minimum(u, v) <= 0.30) & (np.maximum(u, v) <= 0.98)


def heart(u: Array, v: Array) -> Array:
    u, v = u * 1.30, 0.1 - v * 1.30  # its lobes up, and v points down
    a = u * u + v * v - 1
    return a * a * a - u * u * v * v * v <= 0


SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "star": star,
    "cross": cross,
    "heart": heart,
}


# -- textures: points (a, b) [n, P, P] in units of the texture's period, from the object's centre -> share of the second colour


def part(a: Array) -> Array:
    """The fraction of a, in [0, 1)."""
    return a - np.floor(a)


def plain(a: Array, b: Array) -> Array:
    return np.zeros_like(a)


def striped(a: Array, b: Array) -> Array:
    return (part(a) < 0.5).astype(np.float32)


def dotted(a: Array, b: Array) -> Array:
    a, b = part(a) - 0.5, part(b) - 0.5
    return (a * a + b * b < 0.33**2).astype(np.float32)


def checked(a: Array, b: Array) -> Array:
    return ((part(a) < 0.5) ^ (part(b) < 0.5)).astype(np.float32)


def ringed(a: Array, b: Array) -> Array:
    return (part(np.sqrt(a * a + b * b)) < 0.5).astype(np.float32)


def shaded(a: Array, b: Array) -> Array:
    return np.clip(a * 0.35 + 0.5, 0, 1)


TEXTURES: dict[str, Callable[[Array, Array], Array]] = {
    "plain": plain,
    "striped": striped,
    "dotted": dotted,
    "checked": checked,
    "ringed": ringed,
    "shaded": shaded,
}
STRETCH = np.array([1.25 if name == "checked" else 1.0 for name in TEXTURES])  # fields of a check are to be seen, too
CENTRED = ("ringed", "shaded")  # about the object's centre; the others begin anywhere


# -- a scene: everything that is drawn by lot


class Scenes(NamedTuple):
    """What n images show. Lengths in pixels, directions as (cosine, sine), colours in [0, 1]."""

    shape: Array  # [n]
    texture: Array  # [n]
    centre: Array  # [n, 2]
    size: Array  # [n]
    turn: Array  # [n, 2] of the object
    grain: Array  # [n, 2] of its texture
    period: Array  # [n] of its texture
    phase: Array  # [n, 2]
    colours: Array  # [n, 4, 3]: the object's two, the background's two
    slope: Array  # [n, 2] direction of the background's gradient
    field: Array  # [n] a texture laid faintly over the whole background
    field_grain: Array  # [n, 2]
    field_period: Array  # [n]
    field_strength: Array  # [n]
    blobs: Array  # [n, BLOBS, 8]: centre, two radii, opacity, colour
    bars: Array  # [n, BARS, 9]: centre, direction, half length, half width, colour
    light: Array  # [n, 2]: gain and offset
    noise: Array  # [n, 3, SIZE, SIZE] in grey levels
    kind: Array  # [n] of KINDS
    contrast: Array  # [n] what is left of every pixel's distance from the image's mean colour
    other_shape: Array  # [n] and
    other_texture: Array  # [n] of the second class that an object between two classes shows
    share: Array  # [n] of the object's own class in what it shows, 1 but for objects between two
    front: Array  # [n, 6]: a direction, how far from the centre that way (in sizes) the cover begins, its colour


# -- drawing


def directions(rng: np.random.Generator, *shape: int, most: float = 180) -> Array:
    """Unit vectors [*shape, 2] turned by up to `most` degrees either way, rounded so that no machine's sine differs."""
    angle = np.deg2rad(rng.uniform(-most, most, shape))
    return np.round(np.stack([np.cos(angle), np.sin(angle)], -1), 6)


def points(fine: int) -> tuple[Array, Array]:
    """x [1, 1, P] and y [1, P, 1] of every point of a grid with fine points per pixel and side."""
    at = ((np.arange(SIZE * fine) + 0.5) / fine).astype(np.float32)
    return at[None, None], at[None, :, None]


def turned(x: Array, y: Array, direction: Array) -> tuple[Array, Array]:
    """Points in axes turned by the direction [n, 2] of their first axis."""
    c, s = direction[:, 0, None, None], direction[:, 1, None, None]
    return x * c + y * s, y * c - x * s


def by_kind(kinds: Array, table: dict[str, Callable[[Array, Array], Array]], a: Array, b: Array, dtype: type) -> Array:
    """table's function of each image's kind [n] at its points a, b [n, P, P]."""
    out = np.empty(a.shape, dtype)
    for k, function in enumerate(table.values()):
        chosen = kinds == k
        if chosen.any():
            out[chosen] = function(a[chosen], b[chosen])
    return out


def cells(a: Array) -> Array:
    """[n, P, P] at FINE points per pixel -> their mean over each pixel [n, SIZE, SIZE], added in a fixed order."""
    total = 0
    for i in range(FINE):
        for j in range(FINE):
            total = total + a[:, i::FINE, j::FINE].astype(np.float32)
    return total * np.float32(1 / FINE**2)


def background(s: Scenes) -> Array:
    """[n, 3, SIZE, SIZE] in [0, 1]: a gradient, a faint texture, soft blobs, bars."""

    def column(values: Array) -> Array:
        return values[:, None, None]

    def over(image: Array, colour: Array, opacity: Array) -> Array:
        return image + (colour[:, :, None, None] - image) * opacity[:, None]

    x, y = points(1)
    near, far = s.colours[:, 2], s.colours[:, 3]
    along = turned(x - SIZE / 2, y - SIZE / 2, s.slope)[0]
    image = over(np.broadcast_to(near[:, :, None, None], (len(near), 3, SIZE, SIZE)), far, np.clip(along / SIZE + 0.5, 0, 1))
    a, b = turned(x - SIZE / 2, y - SIZE / 2, s.field_grain)
    period, strength = column(s.field_period), column(s.field_strength)
    image = over(image, 1 - near, by_kind(s.field, TEXTURES, a / period, b / period, np.float32) * strength)
    for k in range(BLOBS):
        cx, cy, rx, ry, opacity = (column(s.blobs[:, k, i]) for i in range(5))
        d = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
        image = over(image, s.blobs[:, k, 5:], np.clip(2 - 2 * d, 0, 1) * opacity)
    for k in range(BARS):
        cx, cy, length, width = (column(s.bars[:, k, i]) for i in (0, 1, 4, 5))
        a, b = turned(x - cx, y - cy, s.bars[:, k, 2:4])
        image = over(image, s.bars[:, k, 6:], np.clip(width - np.abs(b) + 0.5, 0, 1) * np.clip(length - np.abs(a) + 0.5, 0, 1))
    return image


def render(scenes: Scenes) -> tuple[Array, Array, Array]:
    """scenes of n images -> images [n, 3, SIZE, SIZE] uint8, masks [n, SIZE, SIZE] bool, the same images without their object.

    The mask has every pixel that the object touches: outside it an image equals its background exactly.
    """
    s = Scenes(*(v.astype(np.float32) if v.dtype == np.float64 else v for v in scenes))
    x, y = points(FINE)
    x, y = x - s.centre[:, 0, None, None], y - s.centre[:, 1, None, None]
    u, v = turned(x, y, s.turn / s.size[:, None])
    a, b = turned(x, y, s.grain / s.period[:, None])

    two = s.share < 1  # between two classes: a blend of both

    def textured(kinds: Array, at: Array) -> Array:
        centred = np.array([name in CENTRED for name in TEXTURES])[kinds]
        phase = np.where(centred[:, None], np.float32(0), s.phase[at])[..., None, None]
        return by_kind(kinds, TEXTURES, a[at] + phase[:, 0], b[at] + phase[:, 1], np.float32)

    def blended(own: Array, other: Callable[[], Array]) -> Array:
        if two.any():
            w = s.share[two, None, None]
            own[two] = w * own[two] + (1 - w) * other()
        return own

    inside = blended(
        by_kind(s.shape, SHAPES, u, v, np.float32), lambda: by_kind(s.other_shape[two], SHAPES, u[two], v[two], np.float32)
    )
    second = blended(textured(s.texture, np.ones_like(two)), lambda: textured(s.other_texture[two], two))
    cover, mixed = cells(inside)[:, None], cells(inside * second)[:, None]
    first_colour, second_colour = (s.colours[:, k, :, None, None] for k in (0, 1))
    behind = background(s)
    image = behind * (1 - cover) + first_colour * (cover - mixed) + second_colour * mixed
    front = covered(s)
    image, behind = (v + (s.front[:, 3:, None, None] - v) * front for v in (image, behind))
    lit, bare = lighted(image, s), lighted(behind, s)
    middle = lit.astype(np.int64).sum((2, 3), keepdims=True) / np.float32(SIZE**2)
    return seen(lit, middle, s), (cover * (1 - front))[:, 0] > 0, seen(bare, middle, s)


def covered(s: Scenes) -> Array:
    """[n, 1, SIZE, SIZE]: how much of each pixel lies behind the cover, nothing but in images of that kind."""
    x, y = points(1)
    along = turned(x - s.centre[:, 0, None, None], y - s.centre[:, 1, None, None], s.front[:, :2])[0]
    begin = (s.front[:, 2] * s.size)[:, None, None]
    return (np.clip(along - begin + 0.5, 0, 1) * (s.kind == KINDS.index("covered"))[:, None, None].astype(np.float32))[:, None]


def lighted(image: Array, s: Scenes) -> Array:
    """[n, 3, SIZE, SIZE] in [0, 1] under each image's light -> whole grey levels, whose sums are exact in any order."""
    gain, offset = (s.light[:, k, None, None, None] for k in (0, 1))
    return np.round(np.clip(image * gain + offset, 0, 1) * 255)


def seen(lit: Array, middle: Array, s: Scenes) -> Array:
    """Grey levels drawn towards the image's mean colour by its contrast, with its noise -> uint8."""
    image = middle.astype(np.float32) + (lit - middle) * s.contrast[:, None, None, None]
    return np.clip(np.round(image + s.noise), 0, 255).astype(np.uint8)
