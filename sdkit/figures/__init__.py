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
from .claims import Account, account, accounts, record_claims
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
from .general import gradients, noise, pictures, reliability, risk_coverage, step_costs, under_attack
from .on_record import on_record
from .page import index
from .records import Sheet, gain_by_length, length_sheet, recorded_gains, score_sheet, seed_curves, stamp
from .report import Report, folder, report
from .retrieval import cmc, hits
from .screens.cached import CachedFigure, cards, quick_png, thumbnail
from .screens.explorer import curves_figure, points_figure, run_curves, run_points
from .screens.inspector import LossBoard, loss_board, loss_in_words
from .screens.training import Course, Screen, course_table, courses, courses_in_words, terms_shown
from .screens.viewers import (
    answer_cards,
    answer_marks,
    cam_cards,
    cam_marks,
    feature_frame,
    feature_marks,
    feature_panels,
    feature_points,
    noise_marks,
    ranked_frame,
    ranked_marks,
    ranked_panels,
    ranked_view,
)
from .searches import search_figure, search_map, search_points
from .self_guidance import lambda_curves, lambda_table, sampling, snapshots, train_and_test
from .sfr import along_stages, self_features, transport_plan, variants, wrong_classes
from .shares import term_shares
from .side_by_side import agreement, factor_course, loss_plane, paths, scoreboard
from .sizes import saving, style
from .style import STYLE, bare, house, label, labels, legend, look, looks, new, png, show
from .tables import table_gains
from .training import exit_accuracy, learning_curves, loss_terms, marks

__all__ = [
    "Account", "CachedFigure", "Course", "FlowStep", "LossBoard", "Report", "STYLE", "Screen", "Sheet", "ablation", "account",
    "accounts", "agreement", "algorithm", "along_stages", "answer_cards", "answer_marks", "architecture", "bare",
    "block_table", "cam_cards", "cam_marks", "cards", "cmc", "course_table", "courses", "courses_in_words", "curves_figure",
    "distillations", "distorted_pairs", "exit_accuracy", "exit_bars", "exit_pca", "factor_course", "feature_frame",
    "feature_marks", "feature_panels", "feature_points", "folder", "gain_by_length", "gradients", "heat_maps", "hits", "house",
    "index", "label", "labels", "lambda_curves", "lambda_table", "learning_curves", "legend", "length_sheet", "look", "looks",
    "loss_board", "loss_in_words", "loss_plane", "loss_terms", "marks", "mechanisms", "minima", "mu_sensitivity", "new",
    "noise", "noise_marks", "noise_panels", "on_record", "overview", "paths", "pictures", "pipeline", "png", "points_figure",
    "projections", "quick_png", "ranked_correlation", "ranked_frame", "ranked_marks", "ranked_panels", "ranked_probabilities",
    "ranked_variance", "ranked_view", "record_claims", "recorded_gains", "reliability", "report", "risk_coverage",
    "run_curves", "run_points", "sampling", "saving", "scalable", "score_sheet", "scoreboard", "search_figure", "search_map",
    "search_points", "seed_curves", "self_features", "separation_bars", "show", "slices", "snapshots", "stamp", "step_costs",
    "style", "sweep", "table_gains", "term_shares", "terms_shown", "thresholds", "thumbnail", "time_and_space",
    "train_and_test", "training_flow", "transport_plan", "under_attack", "variants", "wrong_classes",
]  # fmt: skip
