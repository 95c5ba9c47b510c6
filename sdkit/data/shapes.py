"""Coloured, textured shapes on cluttered backgrounds: generated from a seed, with the object's mask.

Images are hard one by one, as photographs are. Every image has a contrast of its own, and a share of them stays hard however
long one trains: faint ones, objects behind something or cut off by the border, and objects between two classes. docs/lab.md
tells how their shares were chosen.

A class is a shape and a texture, so every class has near relatives: the same shape in another texture, the same texture on
another shape. Place, size, rotation, colours, background and light are drawn without looking at the class. Shapes and textures
are symmetric or freely rotated, so a mirrored image keeps its class.

The same seed gives the same bytes on every machine: numbers come from PCG64, sines are drawn once per image and rounded, and
pixels are made as `drawing` says.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..core import pick
from .base import Data, whole_set
from .content import cache_of
from .drawing import BARS, BLOBS, KINDS, SHAPES, SIZE, STRETCH, TEXTURES, Array, Scenes, directions, render
from .files import remembered
from .options import data_set
from .pixels import Images

VERSION = 2  # of the drawing: part of a cached file's name, raised with every change to a pixel
PER_CLASS = {"train": 80, "test": 250}  # images; of 12 classes, 960 to learn by heart and 3,000 to tell small differences
FAMILIES = {12: (4, 3), 20: (5, 4), 36: (6, 6)}  # classes -> shapes, textures: the first ones of their tables
CHUNK = 60  # images drawn at once: what fits a CPU's cache

OBJECT, BEHIND, CLUTTER = (0.25, 1.0), (0.0, 0.5), (0.0, 0.7)  # ranges of the colours' channels
CONTRAST, APART = 0.7, 0.5  # least distance in RGB between the object's two colours, and between either and the background
PERIODS = (4.0, 5.5)  # of its texture, in pixels
FIELD = 0.1  # greatest strength of the background's texture
PAD = 0  # no random crop: objects lie anywhere as it is, and learning them by heart takes fewer epochs without one


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


# -- the data set


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


@data_set
def shapes(*, root: Path, seed: int, classes: int = 12) -> Data:
    """4 shapes x 3 textures (classes=12), 5 x 4 (20) or 6 x 6 (36), 32x32, with masks; the shape of a class is its group.

    80 training and 250 test images of every class, 70 % of them clear and 30 % of the other KINDS. `seed` is that of the
    images too. They are drawn in seconds and kept in `root`; a damaged file there is drawn again, and a folder that cannot be
    written to is left alone. There is nothing to download.
    """
    if classes not in FAMILIES:
        raise ValueError(f"shapes has {', '.join(map(str, FAMILIES))} classes, got {classes!r}")
    arrays = cached(cache_of(root).parent / f"shapes-v{VERSION}-{classes}-seed{seed}.npz", classes, seed)
    train, test = (
        Images(**{part: torch.from_numpy(arrays[f"{split}_{part}"]) for part in ("x", "y", "mask", "kind")})
        for split in PER_CLASS
    )
    n_shapes, n_textures = FAMILIES[classes]
    names = [f"{shape}-{texture}" for shape in list(SHAPES)[:n_shapes] for texture in list(TEXTURES)[:n_textures]]
    groups = tuple(k // n_textures for k in range(classes))
    return whole_set("shapes", names, train, test, pad=PAD, groups=groups, kinds=KINDS)


def cached(path: Path, classes: int, seed: int) -> dict[str, Array]:
    """The arrays of both splits from a file, or drawn and then written to it, whole or not at all."""

    def draw() -> dict[str, Array]:
        parts = ("x", "y", "mask", "kind")
        drawn = {split: zip(parts, generate(classes, seed, split, n), strict=True) for split, n in PER_CLASS.items()}
        return {f"{split}_{part}": array for split, arrays in drawn.items() for part, array in arrays}

    return remembered(path, draw, {
        f"{split}_{part}": (classes * n, *shape)
        for split, n in PER_CLASS.items()
        for part, shape in (("x", (3, SIZE, SIZE)), ("y", ()), ("mask", (SIZE, SIZE)), ("kind", ()))
    })  # fmt: skip


FACTORS = ("whole", "shape", "texture")
"""What `alone` draws: both factors of a class, or one where the other says nothing."""


@lru_cache(maxsize=8)
def alone(factor: str, images: int = 600, classes: int = 12, seed: int = 0) -> Images:
    """Clear images in which one factor of a class is all that there is to go by.

    For the shape alone objects have textures that no class has, for the texture alone shapes that no class has; for the whole
    both are a class's. Everything else is drawn as for the data set, from lots of its own.
    Nobody may write to them: they are kept.

    Args:
        factor: of FACTORS.
        images: how many, evenly of the factor's values.
        classes: of the data set that a network was trained on.
        seed: of the images.

    Returns:
        The images; a label is the place of the shape, of the texture, or of the class.

    Raises:
        KeyError: there is no such factor.
        ValueError: the data set has every shape and texture, so that none is left to be strange; or has no such classes.
    """
    pick(factor, FACTORS, "factor")
    if classes not in FAMILIES:
        raise ValueError(f"shapes has {', '.join(map(str, FAMILIES))} classes, got {classes!r}")
    n_shapes, n_textures = FAMILIES[classes]
    strange = {"shape": np.arange(n_textures, len(TEXTURES)), "texture": np.arange(n_shapes, len(SHAPES)), "whole": np.zeros(1)}
    if not len(strange[factor]):
        raise ValueError(
            f"shapes with {classes} classes has every {'texture' if factor == 'shape' else 'shape'}: take 12 or 20"
        )
    values = {"shape": n_shapes, "texture": n_textures, "whole": classes}[factor]
    rng = np.random.Generator(np.random.PCG64([seed, classes, len(PER_CLASS) + FACTORS.index(factor), VERSION]))
    y = np.arange(images) % values
    other = rng.choice(strange[factor], len(y))
    shape, texture = {"shape": (y, other), "texture": (other, y), "whole": (y // n_textures, y % n_textures)}[factor]
    parts = [
        render(draw_scenes(shape[i : i + CHUNK], texture[i : i + CHUNK], rng, classes, Grades(shares=(1.0, 0, 0, 0, 0))))
        for i in range(0, len(y), CHUNK)
    ]
    x, mask = (torch.from_numpy(np.concatenate([p[k] for p in parts])) for k in range(2))
    return Images(x, torch.from_numpy(y.astype(np.int64)), mask=mask)


def factors_of(classes: int = 12) -> dict[str, list[int]]:
    """Factor -> the value that each class has of it: what its logits are added up by."""
    textures = FAMILIES[classes][1]
    every = range(classes)
    return {"whole": [*every], "shape": [k // textures for k in every], "texture": [k % textures for k in every]}
