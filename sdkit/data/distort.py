"""Distortions of a batch on its device, each image its own: what DDGSD's discussion lists beside crop and mirror, and Cutout.

Those that move pixels share one bilinear interpolation; what comes in from outside an image is black. Ranges without a
source are our reading: the paper names the distortions and no strengths.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import as_declared
from .policies import autoaugmented

ROTATION = 15.0  # degrees either way
SCALE = 1.25  # times larger or smaller at most, log-uniform
AFFINE = (10.0, 1.15, 10.0, 0.1)  # degrees, times, degrees of shear, share of the side to shift by
CORNER = 0.25  # share of the side by which a corner moves inwards at most
PLATE = (4, 0.1)  # control points a side, share of the side by which each moves along an axis at most: none overtakes another
COLOUR = 0.4  # brightness, contrast and saturation times 1 - 0.4 to 1 + 0.4
ERASING = (0.5, 0.02, 0.4, 0.3)  # probability, least and largest share of the area, least aspect (Zhong et al. 2020)
GREY = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R 601)
CORNERS = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))  # of the square, clockwise
TO_UNIT = ((0.5, 0.0, 0.5), (0.0, 0.5, 0.5), (0.0, 0.0, 1.0))  # takes the square to the unit square


def checked(distort: Iterable[str], cutout: int, size: int) -> tuple[str, ...]:
    """The names as a tuple. ValueError for unknown or repeated ones, and for a hole that is no size of images `size` wide."""
    if isinstance(distort, str):
        raise ValueError(f"distort is a list of names, got the string {distort!r}: write [{distort!r}]")
    names = as_declared("distort", distort, Sequence[str])
    known = (*DISTORTIONS, *POLICIES)
    if any(n not in known for n in names) or len(set(names)) < len(names):
        raise ValueError(f"distort names each of {', '.join(known)} at most once, got {list(names)}")
    if isinstance(cutout, bool) or not isinstance(cutout, int) or not 0 <= cutout <= size:
        raise ValueError(f"cutout is the side of a hole in pixels, 0 (none) to {size} here, got {cutout!r}")
    return names


def distorted(x: Tensor, names: Iterable[str], generator: torch.Generator) -> Tensor:
    """[B, 3, H, W] of 0..255 -> the same as float32, each image under its own draw: a policy, geometry, colour, erasing."""
    x = x.float()
    for n in POLICIES:
        x = POLICIES[n](x, generator) if n in names else x
    wanted = [n for n in DISTORTIONS if n in names]  # whatever the order they are asked for in
    moves = [GEOMETRY[n](len(x), generator) for n in wanted if n in GEOMETRY]
    bent = thin_plate(len(x), generator) if "thin-plate" in wanted else None
    if moves or bent is not None:
        m = moves[0] if moves else torch.eye(3, device=x.device).expand(len(x), 3, 3)
        for more in moves[1:]:
            m = m @ more
        x = warped(x, m, bent)
    for n in wanted:
        if n in PIXELS:
            x = PIXELS[n](x, generator)
    return x


def warped(x: Tensor, m: Tensor, bent: Tensor | None = None) -> Tensor:
    """Every image through its homography. x [B, C, H, W], m [B, 3, 3] -> [B, C, H, W].

    m takes a place of the result to its place in the image, in coordinates with the centre at 0 and the borders at -1 and 1.
    bent: where a thin-plate spline first takes the control points, [B, P, 2].
    """
    h, w = x.shape[2:]
    places = pixels(h, w, x.device) if bent is None else grip(h, w, x.device) @ bent
    there = F.pad(places, (0, 1), value=1.0) @ m.mT  # [B, HW, 3]
    grid = (there[..., :2] / there[..., 2:]).view(len(x), h, w, 2)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


@functools.lru_cache(maxsize=16)
def constant(values: tuple, device: torch.device) -> Tensor:
    """Numbers on a device, copied there once: a copy in every batch would have the host wait for the device."""
    return torch.tensor(values, device=device)


def pixels(h: int, w: int, device: torch.device | str | None = None) -> Tensor:
    """The centre (x, y) of every pixel, row by row, [HW, 2]."""
    ys, xs = ((torch.arange(n, device=device) + 0.5) * (2 / n) - 1 for n in (h, w))
    return torch.stack([xs.expand(h, w), ys[:, None].expand(h, w)], 2).view(-1, 2)


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """[n] draws on the generator's device."""
    return low + (high - low) * torch.rand(n, generator=generator, device=generator.device)


def matrices(*rows: Tensor) -> Tensor:
    """Nine [n] entries, row by row -> [n, 3, 3]."""
    return torch.stack(torch.broadcast_tensors(*rows), 1).view(-1, 3, 3)


def rotation(n: int, generator: torch.Generator, degrees: float = ROTATION) -> Tensor:
    """About the centre, up to `degrees` either way. -> [n, 3, 3]."""
    a = uniform(n, -degrees, degrees, generator) * (math.pi / 180)
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    return matrices(a.cos(), -a.sin(), zero, a.sin(), a.cos(), zero, zero, zero, one)


def scale(n: int, generator: torch.Generator, most: float = SCALE) -> Tensor:
    """About the centre, 1 / most to most times as large. -> [n, 3, 3]."""
    s = uniform(n, -math.log(most), math.log(most), generator).exp()
    zero, one = torch.zeros_like(s), torch.ones_like(s)
    return matrices(1 / s, zero, zero, zero, 1 / s, zero, zero, zero, one)


def affine(n: int, generator: torch.Generator) -> Tensor:
    """A little rotation and scale, shear along x, a shift. -> [n, 3, 3]."""
    degrees, most, shear, shift = AFFINE
    turn, size = rotation(n, generator, degrees), scale(n, generator, most)
    k = (uniform(n, -shear, shear, generator) * (math.pi / 180)).tan()
    dx, dy = (2 * uniform(n, -shift, shift, generator) for _ in range(2))  # the side is 2 long
    zero, one = torch.zeros_like(k), torch.ones_like(k)
    return turn @ size @ matrices(one, k, dx, zero, one, dy, zero, zero, one)


def perspective(n: int, generator: torch.Generator) -> Tensor:
    """Each corner of the result shows a place up to `CORNER` of the side further in. -> [n, 3, 3]."""
    inwards = 2 * torch.rand(n, 4, 2, generator=generator, device=generator.device) * CORNER
    return quadrilateral(constant(CORNERS, inwards.device) * (1 - inwards))


def quadrilateral(corners: Tensor) -> Tensor:
    """The homography of the square [-1, 1]^2 onto a quadrilateral, its corners [n, 4, 2] clockwise from (-1, -1). -> [n, 3, 3].

    Closed form for the unit square (Heckbert 1989), then the square's own scale; no linear system, no wait for the device.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = (c.unbind(1) for c in corners.unbind(1))
    ax, ay, bx, by = x1 - x2, y1 - y2, x3 - x2, y3 - y2
    sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    area = ax * by - bx * ay
    g, h = (sx * by - sy * bx) / area, (ax * sy - ay * sx) / area
    m = matrices(
        x1 - x0 + g * x1, x3 - x0 + h * x3, x0, y1 - y0 + g * y1, y3 - y0 + h * y3, y0, g, h, torch.ones_like(g)
    )  # fmt: skip
    return m @ constant(TO_UNIT, m.device).to(m.dtype)


def thin_plate(n: int, generator: torch.Generator) -> Tensor:
    """Where each point of a square grid of control points goes, up to `PLATE` of the side off along each axis. -> [n, P, 2]."""
    side, share = PLATE
    off = uniform(n * 2 * side**2, -2 * share, 2 * share, generator).view(n, -1, 2)  # the side is 2 long
    return control_points(side, off.device) + off


def control_points(side: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """side x side points from border to border, row by row. -> [side^2, 2]."""
    line = torch.linspace(-1, 1, side, device=device, dtype=dtype)
    return torch.stack([line.repeat(side), line.repeat_interleave(side)], 1)


def spline(places: Tensor, points: Tensor) -> Tensor:
    """The thin-plate spline through control points [P, 2], as what each of them counts for at places [M, 2]. -> [M, P].

    Times where the points go, [P, 2], it is where the places go: through every point, and between them with the least bending
    energy (Bookstein 1989). It is linear in where they go, so that one solution serves every image.
    """
    n = len(points)
    ones = F.pad(points, (1, 0), value=1.0)  # [P, 3]
    system = torch.cat([torch.cat([bump(points, points), ones], 1), torch.cat([ones.T, ones.new_zeros(3, 3)], 1)])
    weights = torch.linalg.inv(system)[:, :n]  # P weights of the bumps and 3 of the affine part
    return bump(places, points) @ weights[:n] + F.pad(places, (1, 0), value=1.0) @ weights[n:]


def bump(a: Tensor, b: Tensor) -> Tensor:
    """U = r^2 log r^2 of the distances between points [M, 2] and [P, 2]. -> [M, P]. Bookstein 1989."""
    square = (a[:, None] - b).square().sum(2)
    return torch.xlogy(square, square)


@functools.lru_cache(maxsize=16)
def grip(h: int, w: int, device: torch.device) -> Tensor:
    """`spline` at the pixels of an h x w image, [HW, P], float32. The same for every batch; solved on the host."""
    return spline(pixels(h, w).double(), control_points(PLATE[0], dtype=torch.float64)).float().to(device)


def colour(x: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation, in this order, each times its own draw. [B, 3, H, W] of 0..255 -> the same."""
    brightness, contrast, saturation = (uniform(len(x), 1 - COLOUR, 1 + COLOUR, generator).view(-1, 1, 1, 1) for _ in range(3))
    x = (x * brightness).clamp(0, 255)
    x = blended(grey(x).mean((2, 3), keepdim=True), x, contrast)
    return blended(grey(x), x, saturation)


def grey(x: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, 1, H, W]."""
    return (x * constant(GREY, x.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def blended(base: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    """base + factor (x - base), within 0..255."""
    return (base + factor * (x - base)).clamp(0, 255)


def erasing(x: Tensor, generator: torch.Generator) -> Tensor:
    """In half of the images a rectangle becomes random pixels (Zhong et al. 2020). [B, 3, H, W] of 0..255 -> the same.

    Where the paper redraws a rectangle that does not fit, a side is cut to the image's: a batch draws a fixed number of times.
    """
    chance, least, most, aspect = ERASING
    (n, _, h, w), u = x.shape, lambda low, high: uniform(len(x), low, high, generator)
    happens, area = u(0, 1) < chance, u(least, most) * h * w
    ratio = u(math.log(aspect), -math.log(aspect)).exp()
    tall, wide = (area * ratio).sqrt().round().clamp(1, h), (area / ratio).sqrt().round().clamp(1, w)
    top, left = (u(0, 1) * (h - tall + 1)).floor(), (u(0, 1) * (w - wide + 1)).floor()
    inside = window(top, top + tall, left, left + wide, h, w) & happens.view(n, 1, 1, 1)
    return torch.where(inside, 255 * torch.rand(x.shape, generator=generator, device=x.device), x)


def cut_out(x: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """One square hole of zeros in each image, its centre anywhere in it. DeVries & Taylor 2017.

    [B, 3, H, W] normalised -> a copy, in x's memory format.
    """
    n, _, h, w = x.shape
    top, left = (torch.randint(size, (n,), generator=generator, device=x.device) - side // 2 for size in (h, w))
    return x.clone().masked_fill_(window(top, top + side, left, left + side, h, w), 0)  # out of place it would be contiguous


def window(top: Tensor, bottom: Tensor, left: Tensor, right: Tensor, h: int, w: int) -> Tensor:
    """Rows top..bottom-1 and columns left..right-1 of every image, each [B] -> [B, 1, h, w] bool."""
    y, x = torch.arange(h, device=top.device)[:, None], torch.arange(w, device=top.device)
    top, bottom, left, right = (t.view(-1, 1, 1, 1) for t in (top, bottom, left, right))
    return (top <= y) & (y < bottom) & (left <= x) & (x < right)


GEOMETRY = {"rotation": rotation, "scale": scale, "affine": affine, "perspective": perspective}
PIXELS = {"colour": colour, "erasing": erasing}
DISTORTIONS = (*GEOMETRY, "thin-plate", *PIXELS)
"""Every distortion by name, in the order in which they are drawn and applied."""
POLICIES = {"autoaugment": autoaugmented}
"""Learned sequences of distortions, which come before all others."""
