"""Seven schematic expressions on drawn heads: faces without persons, for what papers do on photographs of people.

An expression is where brows, lids and mouth go. How strongly, on what head, of what colour, turned and lit how, is drawn
without looking at the class, and every part moves a little by itself: a weak expression is hard to tell from a neutral face.

The same seed gives the same bytes on every machine: numbers come from PCG64, and pixels are made with +, -, *, / and square
roots only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from .base import Data, whole_set
from .drawing import cells, directions, points, turned
from .options import data_set
from .pixels import Images

Array = np.ndarray

VERSION = 1  # of the drawing: raised with every change to a pixel
SIZE = 32  # pixels per side
PER_CLASS = {"train": 200, "test": 100}  # images
CHUNK = 60  # images drawn at once: what fits a CPU's cache

PARTS = ("raised", "slant", "open", "smile", "gape", "wide")
EXPRESSIONS = {  # of brows: how high, inner ends down; of eyes: how open; of the mouth: corners up, how open, how wide
    "angry": (-0.9, 1.0, -0.2, -0.5, 0.0, -0.1),
    "disgust": (-0.6, 0.5, -0.8, -0.6, 0.3, 0.1),
    "fear": (0.8, -0.6, 0.8, -0.4, 0.4, 0.4),
    "happy": (0.1, 0.0, -0.3, 1.0, 0.3, 0.5),
    "sad": (0.0, -1.0, -0.5, -0.9, 0.0, -0.3),
    "surprise": (1.0, 0.0, 1.0, 0.0, 1.0, -0.5),
    "neutral": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
}
STRENGTH = (0.5, 1.1)  # of an expression
MOVES = 0.22  # standard deviation by which every part moves by itself
NOISE = 0.04  # standard deviation of every pixel
LEAN, TURN = 20, 0.22  # degrees a head leans and half widths its features move aside, at most, either way


class Heads(NamedTuple):
    """What n images show. Lengths in half widths of the head, places in pixels, colours in [0, 1]."""

    parts: Array  # [n, 6] of PARTS
    centre: Array  # [n, 2]
    size: Array  # [n, 2] half width and half height in pixels
    lean: Array  # [n, 2] direction
    aside: Array  # [n, 2] where the features are, off the middle
    apart: Array  # [n] eyes
    skin: Array  # [n, 3]
    hair: Array  # [n, 3]
    fringe: Array  # [n] how far down the hair reaches
    ink: Array  # [n, 3] of brows, lids and lips
    behind: Array  # [n, 2, 3]
    slope: Array  # [n, 2] of the background
    light: Array  # [n, 3]: gain, offset, how much darker one side is
    noise: Array  # [n, 3, SIZE, SIZE]


def draw_heads(y: Array, rng: np.random.Generator) -> Heads:
    """The lot of n images of given classes [n]; only `parts` looks at them."""
    n = len(y)
    wanted = np.array(list(EXPRESSIONS.values()))[y] * rng.uniform(*STRENGTH, (n, 1))
    parts = wanted + rng.standard_normal((n, len(PARTS))) * MOVES
    width = rng.uniform(8.5, 11.5, n)
    size = np.stack([width, width * rng.uniform(1.08, 1.35, n)], 1)
    skin = rng.uniform(0.35, 0.95, (n, 1)) * (1 + rng.uniform(-0.22, 0.22, (n, 3)))
    return Heads(
        parts, SIZE / 2 + rng.uniform(-2.0, 2.0, (n, 2)), size, directions(rng, n, most=LEAN),
        rng.uniform(-1, 1, (n, 2)) * (TURN, 0.1), rng.uniform(0.36, 0.48, n), np.clip(skin, 0, 1),
        rng.uniform(0.0, 0.9, (n, 3)), rng.uniform(-0.9, -0.62, n), skin * rng.uniform(0.05, 0.4, (n, 1)),
        rng.uniform(0, 1, (n, 2, 3)), directions(rng, n),
        np.stack([rng.uniform(0.75, 1.1, n), rng.uniform(-0.08, 0.08, n), rng.uniform(-0.25, 0.25, n)], 1),
        rng.standard_normal((n, 3, SIZE, SIZE), np.float32) * np.float32(NOISE),
    )  # fmt: skip


def render(heads: Heads) -> tuple[Array, Array]:
    """heads of n images -> images [n, 3, SIZE, SIZE] uint8, masks [n, SIZE, SIZE] bool of every pixel that the head touches."""
    h = Heads(*(v.astype(np.float32) for v in heads))

    def column(values: Array) -> Array:
        return values[:, None, None]

    fine = [a.astype(np.float32) for a in points(3)]
    x, y = turned(fine[0] - column(h.centre[:, 0]), fine[1] - column(h.centre[:, 1]), h.lean)
    u, v = x / column(h.size[:, 0]), y / column(h.size[:, 1])  # the head is the unit circle
    inside = u * u + v * v <= 1
    hair = (u * u + v * v <= 1.12) & (v < column(h.fringe) + 0.25 * u * u)
    raised, slant, opened, smile, gape, wide = (column(np.clip(h.parts[:, k], -1.6, 1.6)) for k in range(len(PARTS)))
    u, v = u - column(h.aside[:, 0]), v - column(h.aside[:, 1])
    apart = column(h.apart)
    a = np.abs(u) - apart  # both eyes at once: a runs outwards from the middle of each
    half = np.maximum(0.11 + 0.075 * opened, 0.025)  # of an eye's opening
    eyes = (a / 0.2) ** 2 + ((v + 0.18) / half) ** 2 <= 1
    pupils = eyes & (a * a + (v + 0.18) ** 2 <= 0.085**2)
    lids = ((a / 0.24) ** 2 + ((v + 0.18) / (half + 0.05)) ** 2 <= 1) & ~eyes
    brow = v + 0.47 + 0.13 * raised + 0.42 * slant * a  # inner ends go down with the slant
    brows = (np.abs(a) <= 0.25) & (np.abs(brow + 0.9 * a * a) <= 0.055)
    reach = 0.42 + 0.14 * wide  # half width of the mouth
    across = u / reach
    bend = v - 0.5 + 0.16 * smile * (across * across - 0.45)  # 0 along the mouth
    gap = np.maximum(0.22 * gape, 0) * np.maximum(1 - across * across, 0)
    mouth = (np.abs(across) <= 1) & (np.abs(bend) <= gap)
    lips = (np.abs(across) <= 1.05) & (np.abs(bend) <= gap + 0.06) & ~mouth
    nose = (np.abs(u + 0.04) <= 0.035) & (np.abs(v - 0.08) <= 0.16)

    flat = [p - SIZE / 2 for p in points(1)]
    along = turned(*flat, h.slope)[0] / SIZE + np.float32(0.5)
    near, far = (h.behind[:, k, :, None, None] for k in (0, 1))
    image = near + (far - near) * np.clip(along, 0, 1)[:, None]
    skin, ink = h.skin[:, :, None, None], h.ink[:, :, None, None]
    shade = 1 + column(h.light[:, 2]) * np.clip(cells(u), -1.5, 1.5)
    cover = cells(inside | hair)
    lit = skin * shade[:, None]
    layers = ((inside, lit), (nose, lit * np.float32(0.75)), (hair, h.hair[:, :, None, None]),
              (lids, ink), (eyes, np.float32(0.95)), (pupils, np.float32(0.05)), (brows, ink),
              (lips, ink * np.float32(0.6) + np.array([0.3, 0.05, 0.05], np.float32)[:, None, None]),
              (mouth, np.float32(0.1)))  # fmt: skip
    for place, colour in layers:
        image = image + (colour - image) * cells(place)[:, None]
    gain, offset = (h.light[:, k, None, None, None] for k in (0, 1))
    seen = np.round(np.clip(image * gain + offset + h.noise, 0, 1) * 255).astype(np.uint8)
    return seen, cover > 0


@lru_cache(maxsize=4)
def generate(seed: int) -> dict[str, Images]:
    """Both splits. Drawn once in a process for each seed."""
    sets = {}
    for split, n in PER_CLASS.items():
        rng = np.random.Generator(np.random.PCG64([seed, sorted(PER_CLASS).index(split), VERSION, 7]))
        y = np.tile(np.arange(len(EXPRESSIONS)), n)
        drawn = [render(draw_heads(y[k : k + CHUNK], rng)) for k in range(0, len(y), CHUNK)]
        x, mask = (torch.from_numpy(np.concatenate(part)) for part in zip(*drawn, strict=True))
        sets[split] = Images(x, torch.from_numpy(y.astype(np.int64)), mask)
    return sets


@data_set
def faces(*, seed: int) -> Data:
    """Seven expressions, 32x32, with the head's mask: 200 training and 100 test images of each.

    `seed` is that of the images too. They are drawn in about two seconds; `root` and `download` do not matter.
    """
    sets = {split: Images(*(None if t is None else t.clone() for t in images)) for split, images in generate(seed).items()}
    return whole_set("faces", EXPRESSIONS, *sets.values(), pad=2)
