"""What is recorded of a few methods on one data set, in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from matplotlib.figure import Figure

from ..analysis import Calibration
from ..papers.printed import Printed
from .byot import noise_panels
from .general import gradients, reliability
from .records import Band, Row, recorded_gains, seed_curves, stamp
from .style import SIZE, new


class Recorded(Protocol):
    """Methods of one network, data set and recipe over their seeds; row -> what is drawn. See `studies.Comparison`."""

    rows: Sequence[Row]
    label: str
    setting: str

    def curves(self, of: str = ...) -> Mapping[str, Band]:
        """A column of the epochs."""
        ...

    def calibrations(self) -> Mapping[str, Calibration]:
        """Of the last epoch."""
        ...

    def analyses(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        """An analysis of the trained network, part by part."""
        ...

    def printed(self) -> Sequence[Printed]:
        """What the papers print beside it."""
        ...


def on_record(found: Recorded) -> Figure:
    """A table of records as a picture that carries its label.

    Above: test accuracy along the training, calibration, and gains over plain training beside the papers'. Below, where the
    records hold it, of one seed: accuracy under weight noise, absolute and relative, and every layer's part of the gradient at
    the end of training, of the networks that have the first one's layers. BYOT, Fig. 4 and 5.

    Args:
        found: the table, such as one of `studies.recorded_on`.

    Returns:
        A figure of three panels or six.
    """
    noise, pulls = found.analyses("noise"), found.analyses("gradients")
    below = bool(noise and pulls)
    figure, axes = new(columns=3, rows=1 + below, width=14, height=3.8 + 3 * below, squeeze=False)
    course, sure, gains = axes[0]
    seed_curves(found.curves("accuracy.final"), course, "test accuracy, %", percent=True, key=False)
    reliability(found.calibrations(), sure)
    recorded_gains(found.rows, found.printed(), gains)
    if below:
        noise_panels([{name: by[kind] for name, by in noise.items()} for kind in ("absolute", "relative")], axes[1][:2])
        ends = {name: by["end"] for name, by in pulls.items()}
        layers = next(iter(ends.values())).layers
        gradients({name: end for name, end in ends.items() if end.layers == layers}, axes[1][2], share=True)
        keys = [ax.get_legend() for ax in (sure, gains)]  # of all panels
        handles, words = (
            [h for key in keys for h in key.legend_handles],
            [t.get_text() for key in keys for t in key.get_texts()],
        )
        figure.legend(handles, words, loc="outside right upper", fontsize=SIZE)
        for ax in axes.flat:
            if ax.get_legend():
                ax.get_legend().remove()
    bands = dict.fromkeys(str(area.get_label()) for ax in axes.flat for area in ax.collections)
    said = [words for words in bands if not words.startswith("_")]
    return stamp(figure, f"{found.label}: {found.setting}" + (f"\nbands: {', '.join(said)}" if said else ""))
