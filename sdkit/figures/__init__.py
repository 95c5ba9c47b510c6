"""Figures of the papers and of any training: a result and an Axes in, the Axes out. No pyplot, no global settings.

`new` makes a figure in the house style, `png` turns it into bytes, `report` writes it beside the paper's claim.
"""

from __future__ import annotations

from .diagrams import algorithm, mechanisms, overview
from .drg_dsr import (
    block_table,
    heat_maps,
    projections,
    ranked_correlation,
    ranked_probabilities,
    ranked_variance,
    sweep,
    time_and_space,
)
from .general import gradients, noise, pictures, reliability
from .report import Report, folder, index, report
from .style import STYLE, bare, house, label, legend, look, looks, new, png, show
from .training import exit_accuracy, learning_curves, live, loss_terms, marks

__all__ = [
    "STYLE",
    "Report",
    "algorithm",
    "bare",
    "block_table",
    "exit_accuracy",
    "folder",
    "gradients",
    "heat_maps",
    "house",
    "index",
    "label",
    "learning_curves",
    "legend",
    "live",
    "look",
    "looks",
    "loss_terms",
    "marks",
    "mechanisms",
    "new",
    "noise",
    "overview",
    "pictures",
    "png",
    "projections",
    "ranked_correlation",
    "ranked_probabilities",
    "ranked_variance",
    "reliability",
    "report",
    "show",
    "sweep",
    "time_and_space",
]
