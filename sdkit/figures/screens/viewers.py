"""Figures of the viewers: frames that are drawn once (`CachedFigure`), and the marks that a slider moves over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from torch import Tensor

from ...analysis import Answers, NoiseCurve, Projection, RankedProfile, Separation
from ..drg_dsr import SPACE_LABELS
from ..style import INK, PALE, SIZE, bare, class_look, house, instead, label, legend, looks, outline, picture, shorten

GRAY, HEAT = colormaps["gray"], colormaps["inferno"]
"""Kept here: by its name a colour map is made anew for every image."""


def noise_marks(
    curves: Mapping[str, NoiseCurve], level: int, axes: Sequence[Axes], steps: Mapping[str, float] | None = None
) -> list[Artist]:
    """Marks sigma[level] on accuracy and loss over sigma (`noise`) and, on a third Axes, on loss slices (`slices`).

    steps: how long noise of sigma = 1 is in the slice's unit (`analysis.noise_step`): upright lines on both sides.
    """
    styles, drawn = looks(curves), []
    sigma = float(next(iter(curves.values())).sigma[level])
    for ax, of, scale in zip(axes, ("accuracy", "loss"), (100, 1), strict=False):
        drawn.append(ax.axvline(sigma, color=INK, linewidth=1.2, linestyle=":", label="_"))
        for name, curve in curves.items():
            value = scale * float(getattr(curve, of)[level].mean())
            mark = {"color": styles[name]["color"], "marker": styles[name]["marker"], "markersize": 12, "mec": INK, "mew": 1.4}
            drawn += ax.plot(sigma, value, linestyle="", zorder=5, label="_", **mark)
    for name in (steps or {}) if len(axes) > 2 else ():
        style = {"color": styles[name]["color"], "linestyle": styles[name]["linestyle"], "linewidth": 1.6}
        drawn += [axes[2].axvline(side * sigma * steps[name], label="_", **style) for side in ((-1, 1) if sigma else (1,))]
    return drawn


def answer_cards(images: Tensor, names: Sequence[str], true: Sequence[str], axes) -> None:
    """The same images [N, 3, H, W] in [0, 1] in a row for each network; the true classes on top. axes [networks, N]."""
    for row, name in zip(axes, names, strict=True):
        for ax, image in zip(row, images, strict=True):
            ax.imshow(picture(image))
        row[0].set_ylabel(label(name), fontsize=SIZE + 1)
    for ax, title in zip(axes[0], true, strict=True):
        ax.set_title(shorten(title, 18), fontsize=SIZE)


def answer_marks(answers: Mapping[str, Answers], y: Tensor, classes: Sequence[str], axes) -> list[Artist]:
    """Under each picture of `answer_cards`: a tick or a cross, the class that the network answers and its confidence."""
    drawn = []
    for row, answer in zip(axes, answers.values(), strict=True):
        for ax, says, sure, true in zip(row, answer.label.tolist(), answer.confidence.tolist(), y.tolist(), strict=True):
            drawn.append(_below(ax, f"{'✓' if says == true else '✗'} {classes[says]}\n{sure:.0%}", says == true))
    return drawn


def feature_panels(networks: int, classes: int):
    """A figure for `feature_frame` -> (Figure, array of Axes), with room for the classes' names."""
    side, room = 3.0, _legend_columns(classes) * 1.5 + 0.1
    width, height = networks * (side + 0.2) + 0.1 + room, side + 1.1
    figure = Figure((width, height))
    FigureCanvasAgg(figure)
    places = [(0.1 + i * (side + 0.2), 0.5, side, side) for i in range(networks)]
    boxes = [[v / (height if i % 2 else width) for i, v in enumerate(place)] for place in places]
    return figure, np.array([house(figure.add_axes(box)) for box in boxes], dtype=object)


def feature_frame(
    engines: Mapping[str, str],
    among: Sequence[int],
    axes: Sequence[Axes],
    classes: Sequence[str],
    shown: Sequence[int] | None = None,
) -> None:
    """The frames that `feature_points` fills, a panel per network, and the names of up to 42 classes beside the last.

    engines: network -> what draws it. among: the classes that colours are for, in their order. classes: all names.
    shown: of `among` those that are named; None: all.
    """
    for ax, (name, engine) in zip(axes, engines.items(), strict=True):
        bare(ax)
        ax.spines[:].set(visible=True, color=PALE)
        ax.set_title(f"{label(name)}\n{engine}", fontsize=SIZE + 1)
    if columns := _legend_columns(len(among)):
        looks_ = [_class_look(i) for i in range(len(among))]
        handles = [
            Line2D([], [], linestyle="", color=color, marker=marker, label=shorten(classes[c]))
            for c, (color, marker) in zip(among, looks_, strict=True)
            if shown is None or c in shown
        ]
        legend(axes[-1], outside=True, handles=handles, ncols=columns)


def feature_points(
    points: Mapping[str, Projection],
    y: Tensor,
    among: Sequence[int],
    axes: Sequence[Axes],
    separations: Mapping[str, Separation],
    reach: Mapping[str, float],
) -> list[Artist]:
    """Features on a plane, and below how well the classes are separated.

    y [N] labels. among: class number i of it has colour i mod 10 and marker i div 10 mod 5. reach: name -> the axes go from
    -reach to reach.
    """
    drawn: list[Artist] = []
    order = np.searchsorted(np.asarray(among), y.numpy())
    for ax, (name, p) in zip(axes, points.items(), strict=True):
        ax.set_xlim(-reach[name], reach[name])
        ax.set_ylim(-reach[name], reach[name])
        xy = p.points.numpy()
        for marker in dict.fromkeys(_class_look(i)[1] for i in order):  # one artist per marker: quicker than one per class
            own = np.array([_class_look(i)[1] == marker for i in order])
            colours = [_class_look(i)[0] for i in order[own]]
            drawn.append(ax.scatter(*xy[own].T, s=11, c=colours, marker=marker, linewidths=0, alpha=0.85))
        if s := separations.get(name):
            words = f"SSE/SSB {s.ratio:.2f}, silhouette {s.silhouette:.2f}\nneighbours alike {100 * s.knn_purity:.0f} %"
            drawn.append(_below(ax, words, None))
    return drawn


def _legend_columns(classes: int) -> int:
    """Of the legend of so many classes; 0 where it would not fit."""
    return -(-classes // 14) if classes <= 42 else 0


def _class_look(i: int) -> tuple[str, str]:
    return tuple(class_look(i).values())


def feature_marks(points: Mapping[str, Projection], chosen: int, axes: Sequence[Axes]) -> list[Artist]:
    """A ring around one image's point in every panel."""
    ring = {"linestyle": "", "marker": "o", "markersize": 13, "mfc": "none", "label": "_"}
    at = [(ax, *p.points[chosen].tolist()) for ax, p in zip(axes, points.values(), strict=True)]
    outer = [artist for ax, x, y in at for artist in ax.plot(x, y, mec="white", mew=4.5, **ring)]
    return outer + [artist for ax, x, y in at for artist in ax.plot(x, y, mec=INK, mew=2, **ring)]


def cam_cards(exits: Mapping[str, Sequence[str]], columns: Sequence[str], axes) -> None:
    """The empty places of heat maps, a row per network, the image and a column per exit. axes [networks, 1 + columns].

    exits: network -> the exits that it has.
    """
    for row, (name, own) in zip(axes, exits.items(), strict=True):
        row[0].set_ylabel(label(name), fontsize=SIZE + 1)
        for ax, exit in zip(row[1:], columns, strict=True):
            if exit not in own:
                instead(ax, "has no\nsuch exit", SIZE)
    for ax, title in zip(axes[0], ["image", *columns], strict=True):
        ax.set_title(title, fontsize=SIZE)


def cam_marks(
    image: Tensor,
    maps: Mapping[str, Mapping[str, Tensor]],
    words: Mapping[str, Mapping[str, tuple[str, bool]]],
    columns: Sequence[str],
    axes,
    mask: Tensor | None = None,
    title: str = "",
) -> list[Artist]:
    """One image's heat maps on `cam_cards`: bright is important; the object, where it is known, is outlined in white.

    image [3, H, W] in [0, 1]. maps: network -> exit -> [H, W] in [0, 1]. words: what stands below each, and whether the
    answer is right. mask [H, W] bool. title: below the image.
    """
    shown, drawn = picture(image), []
    h, w = shown.shape[:2]
    for ax in (ax for row in axes for ax in row):
        if (ax.get_xlim(), ax.get_ylim()) != ((-0.5, w - 0.5), (h - 0.5, -0.5)):
            ax.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5))
    for row, name in zip(axes, maps, strict=True):
        drawn += [_pixels(row[0], shown), _below(row[0], title, None)]
        for ax, exit in zip(row[1:], columns, strict=True):
            if exit not in maps[name]:
                continue
            drawn.append(_pixels(ax, shown.mean(2), cmap=GRAY))
            drawn.append(_pixels(ax, maps[name][exit].cpu().numpy(), cmap=HEAT, alpha=0.65))
            drawn.append(_below(ax, *words[name][exit]))
            if mask is not None:
                drawn += outline(mask, ax)
    return drawn


def ranked_panels():
    """A figure for `ranked_view` and `ranked_frame` -> (Figure, array of two Axes)."""
    figure = Figure((11, 3.4))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.075, right=0.99, bottom=0.16, top=0.92, wspace=0.18)
    return figure, np.array([house(ax) for ax in axes], dtype=object)


def ranked_view(along: Mapping[str, RankedProfile], epochs: Mapping[str, Sequence[int]], ax: Axes) -> Axes:
    """The variance of the ranked outputs over the epochs. Paper 004, Fig. 3. epochs: network -> recorded ones, from 0."""
    styles = looks(along)
    for name, a in along.items():
        every = max(len(epochs[name]) // 10, 1)
        at = [e + 1 for e in epochs[name]]
        ax.plot(at, a.variance, label=label(name), markersize=4, markevery=every, **styles[name])
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("epoch")
    ax.set_ylabel("variance over images")
    ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    top = 1.3 * max(float(a.variance.max()) for a in along.values())
    ax.set_ylim(0, top or 1)  # standardised outputs of two classes are the same for all images
    ax.margins(x=0.03)
    legend(ax, loc="upper left", ncols=2)
    return ax


def ranked_frame(along: Mapping[str, RankedProfile], ax: Axes, space: str, top: int) -> Axes:
    """The frame for the largest `top` outputs: the same one for every epoch, so that a move is a move of the outputs."""
    low = min(float((a.mean - a.sd)[:, :top].min()) for a in along.values())
    high = max(float((a.mean + a.sd)[:, :top].max()) for a in along.values())
    if space == "probabilities":
        low, high = 0.0, min(high, 1.0)
    room = 0.04 * (high - low)
    ax.set_ylim(low - room, high + room)
    ax.set_xlim(0.5, top + 0.5)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("rank of the output, 1 is the largest")
    ax.set_ylabel(f"{SPACE_LABELS[space]}, mean ± sd")
    return ax


def ranked_marks(
    along: Mapping[str, RankedProfile], epochs: Mapping[str, Sequence[int]], epoch: int, axes: Sequence[Axes], top: int
) -> list[Artist]:
    """One epoch on `ranked_view` and `ranked_frame`: a line, and each network's largest outputs.

    A network that has not recorded it is left out.
    """
    styles, (left, right) = looks(along), axes
    drawn: list[Artist] = [left.axvline(epoch + 1, color=INK, linewidth=1.2, linestyle=":", label="_")]
    for name, a in along.items():
        if epoch not in epochs[name]:
            continue
        e = list(epochs[name]).index(epoch)
        mean, sd, style = a.mean[e, :top].numpy(), a.sd[e, :top].numpy(), styles[name]
        rank = np.arange(1, len(mean) + 1)
        drawn.append(right.fill_between(rank, mean - sd, mean + sd, color=style["color"], alpha=0.15, linewidth=0, label="_"))
        drawn += right.plot(rank, mean, markersize=5, label="_", **style)
        mark = {"color": style["color"], "marker": style["marker"], "markersize": 12, "mec": INK, "mew": 1.4}
        drawn += left.plot(epoch + 1, float(a.variance[e]), linestyle="", label="_", **mark)
    return drawn


def _pixels(ax: Axes, values: np.ndarray, cmap: Colormap | None = None, alpha: float | None = None) -> Artist:
    """An image over the whole of an Axes whose limits are set: sooner than `imshow`, which sets them."""
    image = AxesImage(ax, cmap=cmap, alpha=alpha)
    image.set_data(values)
    image.set_clim(0, 1)
    image.set_clip_path(ax.patch)
    return ax.add_image(image)


def _in_lines(words: str, ax: Axes) -> str:
    """Words in at most two lines that are no wider than an Axes, about 12.5 letters an inch."""
    wide = ax.get_position().width * ax.figure.get_figwidth()
    return fill(words, int(12.5 * wide), max_lines=2, placeholder="…")


def _below(ax: Axes, words: str, right: bool | None) -> Artist:
    """Words under a picture, in the colour of a right or a wrong answer."""
    color = {True: "#006b4f", False: "#a63f00", None: INK}[right]
    words = "\n".join(_in_lines(line, ax) for line in words.split("\n"))
    return ax.text(
        0.5, -0.04, words, transform=ax.transAxes, ha="center", va="top", fontsize=SIZE, color=color, linespacing=1.1
    )
