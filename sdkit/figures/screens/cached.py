"""Figures that a screen shows again and again: drawn once, kept as pixels, and packed as PNG quickly rather than tightly."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ..style import bare, picture


class CachedFigure:
    """A finished figure as pixels, over which a few artists are drawn again and again: in milliseconds instead of a hundred.

    Args:
        figure: its layout and its scales stay as they are now.
        dpi: pixels per inch.
        without: Axes that are left out because they change: `over` draws them.
    """

    def __init__(self, figure: Figure, dpi: float = 90, without: Sequence[Axes] = ()) -> None:
        self.figure, self.canvas = figure, FigureCanvasAgg(figure)
        figure.set_dpi(dpi)
        for ax in without:
            ax.set_visible(False)
        self.canvas.draw()
        for ax in without:
            ax.set_visible(True)
        figure.set_layout_engine("none")
        for ax in figure.axes:
            ax.autoscale(False)
        self._over: Hashable = None
        self._bare = self._pixels = self.canvas.copy_from_bbox(figure.bbox)

    def over(self, what: Hashable, draw: Callable[[], Iterable[Artist]]) -> None:
        """Draws a layer between the figure and the artists of `png`, in place of the layer before.

        Args:
            what: tells one layer from another; the layer that is there already is not drawn again.
            draw: makes the layer's artists. They are taken off the figure again, but for an Axes among them.
        """
        if what == self._over:
            return
        self._over = what
        self.canvas.restore_region(self._bare)
        self._draw(draw())
        self._pixels = self.canvas.copy_from_bbox(self.figure.bbox)

    def png(self, artists: Iterable[Artist] = ()) -> bytes:
        """The figure with these artists on top, as a PNG file's bytes. The artists are taken off again."""
        self.canvas.restore_region(self._pixels)
        self._draw(artists)
        return packed(self.canvas.buffer_rgba())

    def _draw(self, artists: Iterable[Artist]) -> None:
        for artist in artists:
            artist.draw(self.canvas.renderer)
            if not isinstance(artist, Axes):
                artist.remove()

    def places(self, ax: Axes, points: Tensor) -> Tensor:
        """Where points [N, 2] of an Axes lie on the picture: (x, y) in fractions of it, from the top left corner."""
        at = ax.transData.transform(points.double().numpy()) / self.figure.bbox.size
        return torch.from_numpy(np.stack([at[:, 0], 1 - at[:, 1]], 1))

    @property
    def aspect(self) -> float:
        """Width over height."""
        return float(self.figure.bbox.width / self.figure.bbox.height)


def cards(rows: int, columns: int, side: float = 1.3, below: float = 0.5, left: float = 0.3, top: float = 0.3):
    """A figure of small square pictures with room for words -> (Figure, array of bare Axes [rows, columns]). All in inches.

    below: the room under each picture. left: the room beside the first column. top: above the first row.
    """
    gap = 0.15
    width, height = left + columns * (side + gap), top + rows * (side + below)
    figure = Figure((width, height))
    FigureCanvasAgg(figure)
    axes = np.empty((rows, columns), dtype=object)
    for r in range(rows):
        for c in range(columns):
            place = (left + c * (side + gap), height - top - r * (side + below) - side, side, side)
            axes[r, c] = bare(figure.add_axes([v / (width if i % 2 == 0 else height) for i, v in enumerate(place)]))
    return figure, axes


def thumbnail(image: Tensor, side: int = 160) -> bytes:
    """One image [3, H, W] in [0, 1] as a PNG of about `side` pixels, every pixel a square."""
    shown = picture(image)
    by = max(round(side / max(shown.shape[:2])), 1)
    return packed((255 * shown.repeat(by, 0).repeat(by, 1)).round().astype(np.uint8))


def quick_png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes at its own dpi: sooner there than by `png`."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return packed(canvas.buffer_rgba())


def packed(pixels: np.ndarray | memoryview) -> bytes:
    """[H, W, 3 or 4] uint8 -> a PNG file's bytes, without transparency. No row is filtered: filters take the most time."""
    rgb = np.asarray(Image.fromarray(np.asarray(pixels)).convert("RGB"))
    rows = np.zeros((len(rgb), 1 + rgb[0].size), np.uint8)  # each begins with 0: no filter
    rows[:, 1:] = rgb.reshape(len(rgb), -1)
    head = struct.pack(">IIBBBBB", rgb.shape[1], len(rgb), 8, 2, 0, 0, 0)  # 8 bits, RGB, not interlaced
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    chunks = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
