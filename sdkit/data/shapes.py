"""Coloured, textured shapes on cluttered backgrounds: generated from a seed, with the object's mask.

Images are hard one by one, as photographs are. Every image has a contrast of its own, and a share of them stays hard however
long one trains: faint ones, objects behind something or cut off by the border, and objects between two classes. docs/lab.md
tells how their shares were chosen.

A class is a shape and a texture, so every class has near relatives: the same shape in another texture, the same texture on
another shape. Place, size, rotation, colours, background and light are drawn without looking at the class. Shapes and textures
are symmetric or freely rotated, so a mirrored image keeps its class.

The same seed gives the same bytes on every machine: numbers come from PCG64, and pixels are made with +, -, *, / and square
roots only, which IEEE 754 defines exactly (sines are drawn once per image and rounded).
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..core import home
from .base import Data, Images, carve, statistics

Array = np.ndarray

VERSION = 2  # of the drawing: part of a cached file's name, raised with every change to a pixel
SIZE, FINE = 32, 3  # pixels per side; the object is drawn at FINE x FINE points per pixel
PER_CLASS = {"train": 80, "test": 250}  # images; of 12 classes, 960 to learn by heart and 3,000 to tell small differences
FAMILIES = {12: (4, 3), 20: (5, 4), 36: (6, 6)}  # classes -> shapes, textures: the first ones below


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


# -- a scene: everything that was drawn by lot


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


BLOBS, BARS = 5, 4
OBJECT, BEHIND, CLUTTER = (0.25, 1.0), (0.0, 0.5), (0.0, 0.7)  # ranges of the colours' channels
CONTRAST, APART = 0.7, 0.5  # least distance in RGB between the object's two colours, and between either and the background
PERIODS = (4.0, 5.5)  # of its texture, in pixels
FIELD = 0.1  # greatest strength of the background's texture
PAD = 0  # no random crop: objects lie anywhere as it is, and learning them by heart takes fewer epochs without one


KINDS = ("clear", "faint", "covered", "cut off", "between")


class Grades(NamedTuple):
    """How hard images are: shares of the KINDS, and what is drawn by lot for each. Every range is (low, high)."""

    shares: tuple[float, ...] = (0.70, 0.08, 0.04, 0.03, 0.15)  # of KINDS, sum 1
    contrast: tuple[float, float] = (0.6, 1.0)  # of an image that is not faint, log-uniform
    faint: tuple[float, float] = (0.02, 0.1)  # contrast of a faint one, log-uniform
    cover: tuple[float, float] = (-0.4, 0.0)  # where the cover begins, in sizes of the object from its centre
    beyond: tuple[float, float] = (-0.1, 0.3)  # how far an object's centre lies beyond the border, in its sizes
    own: tuple[float, float] = (0.3, 0.7)  # share of its own class in an object between two
    noise: float = 6.0  # standard deviation of every pixel, in grey levels of 255
    clutter: float = 0.2  # probability of each blob and bar of the background to be there
    extent: tuple[float, float] = (9.5, 12.0)  # half-width of an object, in pixels
    turn: float = 12  # degrees an object leans at most, either way


GRADES = Grades()


def directions(rng: np.random.Generator, *shape: int, most: float = 180) -> Array:
    """Unit vectors [*shape, 2] turned by up to `most` degrees either way, rounded so that no machine's sine differs."""
    angle = np.deg2rad(rng.uniform(-most, most, shape))
    return np.round(np.stack([np.cos(angle), np.sin(angle)], -1), 6)


def far_from(rng: np.random.Generator, others: Array, least: float, low: float, high: float) -> Array:
    """colours [n, m, 3] -> a random colour [n, 3] at least so far from each of them in RGB, or the farthest of 16 tries."""
    tries = rng.uniform(low, high, (len(others), 16, 3))
    nearest = np.sqrt(((tries[:, :, None] - others[:, None]) ** 2).sum(-1)).min(-1)
    fits = nearest >= least
    best = np.where(fits.any(1), fits.argmax(1), nearest.argmax(1))
    return tries[np.arange(len(tries)), best]


def draw_scenes(shape: Array, texture: Array, rng: np.random.Generator, classes: int = 12, grades: Grades = GRADES) -> Scenes:
    """The lot of n images of given shapes [n] and textures [n]: only a texture's period and a second class depend on them."""
    n = len(shape)
    size = rng.uniform(*grades.extent, n)
    centre = SIZE / 2 + rng.uniform(-1, 1, (n, 2)) * (SIZE / 2 - size * 1.1)[:, None]
    kind = rng.choice(len(KINDS), n, p=grades.shares)
    centre = np.where((kind == KINDS.index("cut off"))[:, None], beyond_border(rng, centre, size, grades.beyond), centre)
    contrast = np.where(kind == KINDS.index("faint"), log_uniform(rng, n, *grades.faint), log_uniform(rng, n, *grades.contrast))
    share = np.where(kind == KINDS.index("between"), rng.uniform(*grades.own, n), 1.0)
    other_shape, other_texture = relatives(rng, shape, texture, *FAMILIES[classes])
    front = np.concatenate([directions(rng, n), rng.uniform(*grades.cover, n)[:, None], rng.uniform(*CLUTTER, (n, 3))], -1)
    first = rng.uniform(*OBJECT, (n, 3))
    second = far_from(rng, first[:, None], CONTRAST, *OBJECT)
    behind = far_from(rng, np.stack([first, second], 1), APART, *BEHIND)
    beyond = np.clip(behind + rng.uniform(-0.2, 0.2, (n, 3)), 0, 1)
    fields = rng.integers(0, len(TEXTURES), n)
    return Scenes(
        shape, texture, centre, size, directions(rng, n, most=grades.turn), directions(rng, n),
        rng.uniform(*PERIODS, n) * STRETCH[texture], rng.uniform(0, 1, (n, 2)),
        np.stack([first, second, behind, beyond], 1),
        directions(rng, n), fields, directions(rng, n), rng.uniform(4.0, 7.0, n) * STRETCH[fields], rng.uniform(0, FIELD, n),
        np.concatenate([
            rng.uniform(0, SIZE, (n, BLOBS, 2)), rng.uniform(2, 7, (n, BLOBS, 2)),
            rng.uniform(0.3, 0.9, (n, BLOBS, 1)) * (rng.random((n, BLOBS, 1)) < grades.clutter),
            rng.uniform(*CLUTTER, (n, BLOBS, 3)),
        ], -1),
        np.concatenate([
            rng.uniform(0, SIZE, (n, BARS, 2)), directions(rng, n, BARS),
            np.where(rng.random((n, BARS, 1)) < grades.clutter, rng.uniform(3, 10, (n, BARS, 1)), -1.0),
            rng.uniform(0.5, 1.5, (n, BARS, 1)), rng.uniform(*CLUTTER, (n, BARS, 3)),
        ], -1),
        np.stack([rng.uniform(0.8, 1.1, n), rng.uniform(-0.1, 0.1, n)], -1),
        rng.standard_normal((n, 3, SIZE, SIZE), np.float32) * np.float32(grades.noise),
        kind, contrast, other_shape, other_texture, share, front,
    )  # fmt: skip


def log_uniform(rng: np.random.Generator, n: int, low: float, high: float) -> Array:
    """[n] numbers whose logarithms are uniform, rounded so that no machine's exponential differs."""
    return np.round(np.exp(rng.uniform(np.log(low), np.log(high), n)), 6)


def beyond_border(rng: np.random.Generator, centre: Array, size: Array, far: tuple[float, float]) -> Array:
    """centres [n, 2] moved to about a border, `far` sizes beyond it."""
    axis, low = rng.integers(0, 2, len(size)), rng.integers(0, 2, len(size))
    out = rng.uniform(*far, len(size)) * size
    moved = centre.copy()
    moved[np.arange(len(size)), axis] = np.where(low == 1, -out, SIZE + out)
    return moved


def relatives(rng: np.random.Generator, shape: Array, texture: Array, shapes: int, textures: int) -> tuple[Array, Array]:
    """Another class for each [n]: the same shape in another texture, or another shape in the same one, evenly."""
    other_shape = (shape + rng.integers(1, shapes, len(shape))) % shapes
    other_texture = (texture + rng.integers(1, textures, len(shape))) % textures
    by_shape = rng.integers(0, 2, len(shape)) == 1
    return np.where(by_shape, other_shape, shape), np.where(by_shape, texture, other_texture)


# -- drawing


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


def generate(classes: int, seed: int, split: str, per_class: int, grades: Grades = GRADES) -> tuple[Array, Array, Array, Array]:
    """A split of n = classes * per_class images.

    -> images [n, 3, SIZE, SIZE] uint8, labels [n] int64, masks [n, SIZE, SIZE] bool, places in KINDS [n] int64.
    """
    textures = FAMILIES[classes][1]
    y = np.tile(np.arange(classes), per_class)
    rng = np.random.Generator(np.random.PCG64([seed, classes, sorted(PER_CLASS).index(split), VERSION]))
    images, masks, kinds = [], [], []
    for start in range(0, len(y), CHUNK):
        labels = y[start : start + CHUNK]
        scenes = draw_scenes(labels // textures, labels % textures, rng, classes, grades)
        x, mask, _ = render(scenes)
        images.append(x)
        masks.append(mask)
        kinds.append(scenes.kind)
    return np.concatenate(images), y.astype(np.int64), np.concatenate(masks), np.concatenate(kinds)


CHUNK = 60  # images drawn at once: what fits a CPU's cache


# -- the data set


def shapes(
    *, root: Path | None = None, validation: int = 0, train_size: int | None = None, download: bool = False, seed: int = 0,
    classes: int = 12, distort: Sequence[str] = (), cutout: int = 0, mixup: float = 0.0,
) -> Data:  # fmt: skip
    """4 shapes x 3 textures (classes=12), 5 x 4 (20) or 6 x 6 (36), 32x32, with masks; the shape of a class is its group.

    80 training and 250 test images of every class, 70 % of them clear and 30 % of the other KINDS. `seed` is that of the
    images too. They are drawn in seconds and kept in `root`; a damaged file there is drawn again, and a folder that cannot be
    written to is left alone. There is nothing to download.
    """
    if classes not in FAMILIES:
        raise ValueError(f"shapes has {', '.join(map(str, FAMILIES))} classes, got {classes!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"the seed of shapes is a whole number from 0, got {seed!r}")
    root = Path(home() / "data" if root is None else root)
    arrays = cached(root / f"shapes-v{VERSION}-{classes}-seed{seed}.npz", classes, seed)
    sets = {
        split: Images(*(torch.from_numpy(arrays[f"{split}_{part}"]) for part in ("x", "y", "mask")),
                      kind=torch.from_numpy(arrays[f"{split}_kind"]))
        for split in PER_CLASS
    }  # fmt: skip
    (n_shapes, n_textures), pool = FAMILIES[classes], sets["train"]
    train, val = carve(pool, "shapes", classes, validation, train_size, seed)
    names = tuple(f"{shape}-{texture}" for shape in list(SHAPES)[:n_shapes] for texture in list(TEXTURES)[:n_textures])
    groups = tuple(k // n_textures for k in range(classes))
    return Data("shapes", names, train, val, sets["test"], *statistics(pool.x), pad=PAD, groups=groups, kinds=KINDS,
                distort=distort, cutout=cutout, mixup=mixup)  # fmt: skip


def cached(path: Path, classes: int, seed: int) -> dict[str, Array]:
    """The arrays of both splits from a file, or drawn and then written to it, whole or not at all."""
    expected = {
        f"{split}_{part}": (classes * n, *shape)
        for split, n in PER_CLASS.items()
        for part, shape in (("x", (3, SIZE, SIZE)), ("y", ()), ("mask", (SIZE, SIZE)), ("kind", ()))
    }
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in expected}
        if {key: a.shape for key, a in arrays.items()} == expected:
            return arrays
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there yet, or damaged
    arrays = {}
    for split, n in PER_CLASS.items():
        for part, a in zip(("x", "y", "mask", "kind"), generate(classes, seed, split, n), strict=True):
            arrays[f"{split}_{part}"] = a
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as stream:
                np.savez(stream, **arrays)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError:
        pass  # a folder that cannot be written to: the set is drawn again next time
    return arrays
