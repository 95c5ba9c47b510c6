"""Re-identification without persons: schematic figures in coloured clothes, seen by eight virtual cameras.

An identity is what it wears: colours and pattern of a top, trousers, shorts or a skirt, hair, a bag, a build. A camera is a
light, a cast of colour, a place behind, a height it looks down from, and a sharpness. Pose, place, distance and what stands in
the way are drawn for every image. Two images of one identity by two cameras may differ more than two identities by one.

The same seed gives the same bytes on every machine: numbers come from PCG64, and pixels are made with +, -, * and / only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from .base import Data, whole_set
from .options import data_set
from .pixels import Images

Array = np.ndarray

VERSION = 1  # of the drawing: raised with every change to a pixel
SIZE, FINE = 32, 2  # pixels per side; figures are drawn at FINE x FINE points per pixel
CAMERAS = 8
TRAINED, SOUGHT = 60, 60  # identities to learn from, and others to find
PER_IDENTITY = {"train": 20, "test": 8}  # images of each identity of the training
SEEN_BY, QUERIES, SHOTS = 5, 1, 3  # cameras that see an identity to find; images in query and in all, of each of them
CHUNK = 60  # images drawn at once: what fits a CPU's cache

CLOTH = np.array([
    (0.75, 0.15, 0.15), (0.15, 0.30, 0.70), (0.15, 0.50, 0.25), (0.80, 0.70, 0.20), (0.85, 0.85, 0.85), (0.15, 0.15, 0.18),
    (0.50, 0.25, 0.55), (0.80, 0.45, 0.15), (0.35, 0.60, 0.70), (0.50, 0.50, 0.50),
])  # fmt: skip
HAIR = np.array([(0.10, 0.08, 0.08), (0.35, 0.22, 0.12), (0.75, 0.62, 0.35), (0.60, 0.60, 0.62)])
BODY = np.array([(0.72, 0.60, 0.52)])  # one tone for all: nobody is told by it
PATTERNS = ("plain", "hoops", "halves", "checks", "hem")
LEGS = ("trousers", "shorts", "skirt")


class Identities(NamedTuple):
    """What n identities look like. Colours in [0, 1]."""

    top: Array  # [n, 2, 3]
    pattern: Array  # [n] of PATTERNS
    bottom: Array  # [n, 3]
    legs: Array  # [n] of LEGS
    hair: Array  # [n, 3]
    long: Array  # [n] bool: hair to the shoulders
    sleeves: Array  # [n] bool: long ones
    bag: Array  # [n, 3]
    carries: Array  # [n] bool
    build: Array  # [n, 2] width and height, about 1


class Views(NamedTuple):
    """The cameras. Colours in [0, 1]."""

    cast: Array  # [C, 3, 3] what it makes of a colour
    light: Array  # [C, 2] gain and offset
    wall: Array  # [C, 2, 3]
    floor: Array  # [C, 3]
    horizon: Array  # [C] in pixels from above
    stripe: Array  # [C, 2] of the wall: period and share, in pixels
    squeeze: Array  # [C, 2] pixels per unit across and down: the steeper it looks down, the shorter a figure
    lean: Array  # [C] of its uprights
    blur: Array  # [C] share of a pixel that comes from its neighbours


def draw_identities(n: int, rng: np.random.Generator) -> Identities:
    """n identities by lot."""
    first = rng.integers(0, len(CLOTH), n)
    second = (first + rng.integers(1, len(CLOTH), n)) % len(CLOTH)  # never the first again
    fade = rng.uniform(0.85, 1.0, (n, 1, 1))
    return Identities(
        CLOTH[np.stack([first, second], 1)] * fade, rng.integers(0, len(PATTERNS), n),
        CLOTH[rng.integers(0, len(CLOTH), n)] * rng.uniform(0.75, 1.0, (n, 1)), rng.integers(0, len(LEGS), n),
        HAIR[rng.integers(0, len(HAIR), n)], rng.uniform(size=n) < 0.4, rng.uniform(size=n) < 0.6,
        CLOTH[rng.integers(0, len(CLOTH), n)], rng.uniform(size=n) < 0.5, rng.uniform(0.85, 1.15, (n, 2)),
    )  # fmt: skip


def draw_cameras(rng: np.random.Generator, n: int = CAMERAS) -> Views:
    """n cameras by lot."""
    mix = rng.uniform(-0.25, 0.25, (n, 3, 3))
    kept = np.eye(3) * rng.uniform(0.6, 1.1, (n, 1, 3))
    return Views(
        kept + mix - mix.mean(2, keepdims=True), np.stack([rng.uniform(0.55, 1.15, n), rng.uniform(-0.05, 0.15, n)], 1),
        rng.uniform(0.15, 0.85, (n, 2, 3)), rng.uniform(0.15, 0.75, (n, 3)), rng.uniform(8, 24, n),
        np.stack([rng.uniform(4, 14, n), rng.uniform(0.1, 0.6, n)], 1),
        np.stack([rng.uniform(11, 15, n), rng.uniform(9.5, 14, n)], 1), rng.uniform(-0.2, 0.2, n), rng.uniform(0, 0.6, n),
    )  # fmt: skip


def points() -> tuple[Array, Array]:
    """x [1, 1, P] and y [1, P, 1] in pixels, of every point of the fine grid."""
    at = ((np.arange(SIZE * FINE) + 0.5) / FINE).astype(np.float32)
    return at[None, None], at[None, :, None]


def part(a: Array) -> Array:
    """The fraction of a, in [0, 1)."""
    return a - np.floor(a)


def patterned(pattern: Array, u: Array, v: Array) -> Array:
    """Where a top shows its second colour. pattern [n]; u across and v down, in body units [n, P, P] -> bool."""
    hoops, halves, checks, hem = part(v / 0.24) < 0.5, u > 0, (part(u / 0.3) < 0.5) ^ (part(v / 0.3) < 0.5), v > -0.15
    return np.select([pattern[:, None, None] == k for k in range(1, 5)], [hoops, halves, checks, hem], False)


def render(who: Identities, by: Views, rng: np.random.Generator) -> Array:
    """n identities, each by a camera of its own -> images [n, 3, SIZE, SIZE] uint8. rng draws pose, place and noise."""
    n = len(who.pattern)

    def lot(low: float, high: float) -> Array:
        return rng.uniform(low, high, n).astype(np.float32)[:, None, None]

    def column(values: Array) -> Array:
        return values.astype(np.float32)[:, None, None]

    x, y = points()
    floor = (y > column(by.horizon)) & (x > -1)
    wall = part((x + lot(0, 30)) / column(by.stripe[:, 0])) < column(by.stripe[:, 1])
    layers = [(~floor & wall, by.wall[:, 1]), (floor, by.floor)]

    far, facing = lot(0.85, 1.1), np.where(lot(0, 1) < 0.5, np.float32(-1), np.float32(1))
    v = (y - SIZE / 2 - lot(-2, 2)) / (column(by.squeeze[:, 1] * who.build[:, 1]) * far)
    u = facing * ((x - SIZE / 2 - lot(-4, 4)) / (column(by.squeeze[:, 0] * who.build[:, 0]) * far) + column(by.lean) * v)
    stride, swing, side = lot(0.08, 0.24), lot(0.0, 0.14), np.abs(u)

    def box(left: Array | float, right: Array | float, above: Array | float, below: Array | float, across: Array) -> Array:
        return (across > left) & (across < right) & (v > above) & (v < below)

    kind, drop = column(who.legs), np.clip((v - 0.1) / 0.9, 0, 1)
    limb = box(0.0, 0.1, 0.1, 1.0, np.abs(side - 0.1 - stride * drop))
    dress = (v > 0.1) & (v < 0.5) & (side < 0.26 + 0.3 * (v - 0.1))
    cloth = np.where(kind == 0, limb & (v < 0.94), np.where(kind == 1, limb & (v < 0.45), dress))
    arm = box(0.0, 0.08, -0.5, 0.1, np.abs(side - 0.37 - swing * (v + 0.5)))
    torso = box(-0.31, 0.31, -0.56, 0.14, u)
    top = torso | (arm & ((v < -0.22) | column(who.sleeves).astype(bool)))
    head = u * u + (v + 0.74) * (v + 0.74) * 0.8
    hair = (head < 0.044) & ((v < -0.78) | (column(who.long).astype(bool) & (side > 0.1)))
    second = patterned(who.pattern, u, v)
    bag = box(0.32, 0.58, -0.05, 0.28, u) & column(who.carries).astype(bool)
    tone = np.broadcast_to(BODY, (n, 3))
    layers += [(limb, tone), (cloth, who.bottom), (arm, tone), (top & ~second, who.top[:, 0]), (top & second, who.top[:, 1]),
               (head < 0.036, tone), (hair, who.hair), (bag, who.bag)]  # fmt: skip

    hidden, edge, from_left = lot(0, 1) < 0.3, lot(4, 13), lot(0, 1)
    layers.append((hidden & np.where(from_left < 0.4, x < edge, np.where(from_left < 0.8, x > SIZE - edge, y > SIZE - edge)),
                   by.wall.mean(1)))  # fmt: skip

    image = np.empty((n, 3, SIZE * FINE, SIZE * FINE), np.float32)
    image[:] = by.wall[:, 0, :, None, None]
    for where, colour in layers:
        np.copyto(
            image, colour.astype(np.float32)[:, :, None, None], where=np.broadcast_to(where, (n, *image.shape[2:]))[:, None]
        )
    image = sum(image[:, :, i::FINE, j::FINE] for i in range(FINE) for j in range(FINE)) * np.float32(1 / FINE**2)
    return exposed(image, by, rng)


def exposed(image: Array, by: Views, rng: np.random.Generator) -> Array:
    """[n, 3, SIZE, SIZE] in [0, 1] as each camera takes it -> uint8: cast, light of the moment, blur, noise."""
    n = len(image)
    cast = by.cast.astype(np.float32)
    image = sum(cast[:, :, c, None, None] * image[:, None, c] for c in range(3))
    gain = (by.light[:, 0] * rng.uniform(0.8, 1.2, n)).astype(np.float32)[:, None, None, None]
    image = image * gain + by.light[:, 1].astype(np.float32)[:, None, None, None]
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    around = (padded[:, :, :-2, 1:-1] + padded[:, :, 2:, 1:-1] + padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]) * np.float32(
        0.25
    )
    image = image + (around - image) * by.blur.astype(np.float32)[:, None, None, None]
    image = image + rng.standard_normal(image.shape, np.float32) * np.float32(0.04)
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def of(rows: NamedTuple, places: Array) -> NamedTuple:
    """The same of the rows at `places`."""
    return type(rows)(*(values[places] for values in rows))


def photographed(who: Identities, by: Views, identity: Array, camera: Array, rng: np.random.Generator) -> Images:
    """An image for each identity [N] and camera [N]; labels are the identities."""
    chunks = [slice(at, at + CHUNK) for at in range(0, len(identity), CHUNK)]
    x = np.concatenate([render(of(who, identity[c]), of(by, camera[c]), rng) for c in chunks])
    return Images(torch.from_numpy(x), torch.from_numpy(identity), camera=torch.from_numpy(camera))


@lru_cache(maxsize=2)
def generate(seed: int) -> dict[str, Images]:
    """The images of train, test, query and gallery. Nobody may write to them: they are kept."""
    lots = {
        k: np.random.Generator(np.random.PCG64([seed, VERSION, i])) for i, k in enumerate(["who", "train", "test", "sought"])
    }
    by, who = draw_cameras(lots["who"]), draw_identities(TRAINED + SOUGHT, lots["who"])
    known, others = of(who, np.arange(TRAINED)), of(who, np.arange(TRAINED, TRAINED + SOUGHT))
    sets = {}
    for split, each in PER_IDENTITY.items():
        identity = np.tile(np.arange(TRAINED), each)
        sets[split] = photographed(known, by, identity, lots[split].integers(0, CAMERAS, len(identity)), lots[split])
    cameras = lots["sought"].permuted(np.tile(np.arange(CAMERAS), (SOUGHT, 1)), axis=1)[:, :SEEN_BY]  # [identities, SEEN_BY]
    for split, shots in (("query", QUERIES), ("gallery", SHOTS - QUERIES)):
        identity = np.tile(np.repeat(np.arange(SOUGHT), SEEN_BY), shots)
        sets[split] = photographed(others, by, identity, np.tile(cameras.ravel(), shots), lots["sought"])
    return sets


@data_set
def reid(*, seed: int) -> Data:
    """60 schematic figures to learn, 60 others to find, 32x32, by 8 cameras. A class is an identity.

    20 training and 8 test images of every learned identity. `retrieval()` gives the others: each is seen by 5 cameras, with
    one image in the query and two in the gallery for each. `seed` is that of the images too. They are drawn in about two
    seconds; `root` and `download` do not matter.
    """
    sets = {split: Images(*(None if t is None else t.clone() for t in images)) for split, images in generate(seed).items()}
    names = [f"figure {k + 1}" for k in range(TRAINED)]
    return whole_set("reid", names, sets["train"], sets["test"], pad=2, query=sets["query"], gallery=sets["gallery"])
