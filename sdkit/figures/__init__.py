"""Figures of the papers and of any training: a result and an Axes in, the Axes out. No pyplot, no global settings.

`new` makes a figure in the house style, `png` turns it into bytes, `report` writes it beside the paper's claim.
"""

from __future__ import annotations

from .byot import (
    FlowStep,
    architecture,
    exit_bars,
    exit_pca,
    minima,
    noise_panels,
    scalable,
    separation_bars,
    slices,
    thresholds,
    training_flow,
)
from .ddgsd import ablation, distillations, distorted_pairs, mu_sensitivity, pipeline
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
from .self_guidance import lambda_curves, lambda_table, sampling, snapshots, step_cost, train_and_test
from .sfr import along_stages, self_features, transport_plan, variants, wrong_classes
from .style import STYLE, bare, house, label, legend, look, looks, new, png, show
from .training import exit_accuracy, learning_curves, live, loss_terms, marks

__all__ = [
    "STYLE",
    "FlowStep",
    "Report",
    "ablation",
    "algorithm",
    "along_stages",
    "architecture",
    "bare",
    "block_table",
    "distillations",
    "distorted_pairs",
    "exit_accuracy",
    "exit_bars",
    "exit_pca",
    "folder",
    "gradients",
    "heat_maps",
    "house",
    "index",
    "label",
    "lambda_curves",
    "lambda_table",
    "learning_curves",
    "legend",
    "live",
    "look",
    "looks",
    "loss_terms",
    "marks",
    "mechanisms",
    "minima",
    "mu_sensitivity",
    "new",
    "noise",
    "noise_panels",
    "overview",
    "pictures",
    "pipeline",
    "png",
    "projections",
    "ranked_correlation",
    "ranked_probabilities",
    "ranked_variance",
    "reliability",
    "report",
    "sampling",
    "scalable",
    "self_features",
    "separation_bars",
    "show",
    "slices",
    "snapshots",
    "step_cost",
    "sweep",
    "thresholds",
    "time_and_space",
    "train_and_test",
    "training_flow",
    "transport_plan",
    "variants",
    "wrong_classes",
]
