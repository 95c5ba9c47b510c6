"""The figures: what is drawn is what was handed in, every word can be read, and nothing goes through pyplot."""

from __future__ import annotations

import html
import importlib
import itertools
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from drawn import hidden, illegible, many, on_screen, one, printed, pulls, unreadable
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from sdkit import figures
from sdkit.analysis import (
    AttackCurve,
    LossSlice,
    NoiseCurve,
    Projection,
    Separation,
    StepCost,
    Timing,
    answers,
    calibration,
    ranked_along,
    selective_risk,
)
from sdkit.analysis.gradients import GradientStatistics
from sdkit.figures.style import pdf as pdf_of
from sdkit.figures.training import line_style
from sdkit.papers import PAPERS, FigureNote, Paper
from sdkit.papers.checks import Verdict
from sdkit.papers.printed import Printed
from sdkit.studies import Band, Gain, Row
from sdkit.train import Epoch

GENERATOR = torch.Generator()
STAGES = [("stage 1", 64, 32), ("stage 2", 128, 16), ("stage 3", 256, 8), ("stage 4", 512, 4)]
ALGORITHM = [
    "input: data D, rate γ, weight α",
    "for t = 1 ... T:",
    "    z ← h(θ, B)",
    "    L ← L_HL + α L_RG",
    "    θ ← θ − γ ∇L",
]


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR.manual_seed(seed))


def history(epochs: int = 6, rise: float = 0.1) -> list[Epoch]:
    out = []
    for e in range(epochs):
        a = 0.2 + rise * e
        exits = {"1/4": a - 0.1, "2/4": a - 0.05, "final": a, "ensemble": a + 0.04}
        out.append(Epoch(e, 0.1, 3.0, {"task": 2.0 - 0.2 * e, "soft": 0.8 / (e + 1)}, a + 0.05, exits, 2.0 - 0.2 * e))
    return out


def along(seed: int) -> figures.drg_dsr.RankedAlong:
    z = randn(1, 40, 10, seed=seed) * torch.linspace(0.5, 4, 12)[:, None, None] + randn(12, 40, 10, seed=seed + 1)
    return ranked_along(z, torch.linspace(0.1, 0.8, 12) + 0.02 * randn(12, seed=seed))


def probabilities(heat: float) -> torch.Tensor:
    return (heat * randn(120, seed=3)).softmax(0).sort(descending=True).values[:30]


def noise_curves() -> dict[str, NoiseCurve]:
    sigma = torch.linspace(0, 0.1, 6).double()
    return {
        name: NoiseCurve(
            sigma, 0.8 - k * sigma[:, None] + 0.01 * randn(6, 5), 1 + 9 * k * sigma[:, None] * torch.ones(5), False
        )
        for name, k in [("vanilla", 5.0), ("byot", 3.0)]
    }


def statistics() -> dict[str, GradientStatistics]:
    names = ("stem", *(f"stages.{s}.{b}.conv" for s in range(4) for b in range(2)))
    m = {"vanilla": torch.linspace(3e-3, 1e-3, 9).double(), "byot": torch.linspace(5e-3, 2e-3, 9).double()}
    return {k: GradientStatistics(names, (-1, 0, 0, 1, 1, 2, 2, 3, 3), v, v / v.sum()) for k, v in m.items()}


class Recorded(NamedTuple):
    """A table of records, with what its networks were asked, or without."""

    found: Mapping[str, Mapping[str, Any]]
    label: str = "recorded, on CPU, 1 thread, recipe lab, 2 seeds"
    setting: str = "four-stage on cifar100, 30 epochs, batches of 128, learning rate 0.1, one cycle"

    @property
    def rows(self):
        plain = Row("vanilla", "vanilla", [0.50, 0.52], [0.5, 0.5], None, 0.1, math.nan, 2, 0)
        above = Gain({0: 0.01, 1: 0.02}, 0.0, 0.0001, 1.0, None)
        return [plain, Row("byot", "byot", [0.51, 0.54], [0.5, 0.5], above, 0.2, 2.0, 2, 0)]

    def curves(self, of="accuracy.final"):
        return {row.name: Band([1, 2, 3], [[a / 3, a / 2, a] for a in row.accuracy]) for row in self.rows}

    def calibrations(self):
        return calibrations()

    def analyses(self, name):
        return self.found.get(name, {})

    def printed(self):
        return [Printed("drg_dsr", "I", "ResNet18", "CIFAR-100", {"vanilla": 0.7, "byot": 0.71})]


def asked() -> Recorded:
    """One network of another depth among them: its layers cannot stand beside the others'."""
    noise = {k: {"absolute": v, "relative": v._replace(relative=True)} for k, v in noise_curves().items()}
    ends = {k: {"end": s} for k, s in statistics().items()}
    other = next(iter(ends.values()))["end"]
    ends["deeper"] = {"end": other._replace(layers=("stem", *other.layers[1:-1], "another"))}
    return Recorded({"noise": noise, "gradients": ends})


def risks() -> dict[str, figures.general.SelectiveRisk]:
    y = torch.arange(200) % 5
    return {n: selective_risk(h * (randn(200, 5) + 2 * torch.eye(5)[y]), y) for n, h in [("vanilla", 3.0), ("drg+dsr", 1.0)]}


def calibrations() -> dict[str, figures.general.Calibration]:
    y = torch.arange(200) % 5
    return {n: calibration(h * (randn(200, 5) + 2 * torch.eye(5)[y]), y) for n, h in [("vanilla", 3.0), ("drg+dsr", 1.0)]}


def attacks() -> dict[str, AttackCurve]:
    epsilon = torch.linspace(0, 16 / 255, 5).double()
    return {
        n: AttackCurve(epsilon, 0.8 - k * epsilon, epsilon, s) for n, k, s in [("vanilla", 9.0, 0.0), ("defensive", 2.0, 0.8)]
    }


COSTS = {
    (m, n): (t * (i + 1), b * (i + 1))
    for m, t, b in [("byot", 0.06, 50.0), ("dlb", 0.07, 44.0), ("drg+dsr", 0.045, 45.0)]
    for i, n in enumerate(["ResNet18", "ResNet50", "ResNet101"])
}
SECONDS, MEGABYTES = {k: v[0] for k, v in COSTS.items()}, {k: v[1] for k, v in COSTS.items()}
STEPS = {
    name: StepCost(time, flops, ops, Timing(0.06 * time, 0.05 * time, 0.08 * time, torch.tensor([0.06 * time])))
    for name, time, flops, ops in [
        ("vanilla", 1.0, 1.0, 1.0),
        ("byot", 1.35, 1.12, 2.05),
        ("self-guidance", 1.9, 1.84, 2.21),
        ("drg", 1.12, 1.03, 1.33),
        ("dsr", 1.01, 1.0, 1.12),
        ("drg+dsr", 1.14, 1.03, 1.45),
    ]
}
SWEEP = {"drg": {1: [0.50, 0.52], 2: [0.51, 0.49], 4: [0.47, 0.48]}, "dsr": {1: [0.44, 0.46], 2: [0.47, 0.48], 4: [0.49, 0.50]}}
BLOCKS = {
    "1": [0.61, 0.62],
    "2": [0.64, 0.63],
    "3": [0.60, 0.61],
    "1+2": [0.63, 0.63],
    "1+3": [0.61, 0.62],
    "2+3": [0.62, 0.62],
}
BLOCK_SECONDS = {"1": 0.50, "2": 0.51, "3": 0.52, "1+2": 0.58, "1+3": 0.60, "2+3": 0.61}
BLOCK_PAPER = {k: (0.78 + 0.002 * i, 0.044 + 0.002 * i) for i, k in enumerate(BLOCKS)}
IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
MAPS = {
    name: torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(i))
    for i, name in enumerate(["shallow 2", "byot", "drg"])
}
MASKS = torch.zeros(2, 16, 16, dtype=torch.bool)
MASKS[:, 4:12, 5:13] = True
CLASSES = torch.arange(300) % 50
POINTS = {
    name: Projection(randn(50, 2, seed=7)[CLASSES] * k + randn(300, 2, seed=8), "openTSNE", None)
    for name, k in [("vanilla", 2.0), ("drg", 4.0), ("dsr", 6.0)]
}
ROWS = {
    "vanilla": (probabilities(3.0), 2),
    "drg": (probabilities(2.0), 0),
    "dsr": (probabilities(1.5), 1),
    "drg+dsr": (probabilities(1.2), 57),
}


def turned() -> list[Epoch]:
    out = history()
    out[2].changes = [
        {"step": 70, "knob": "alpha", "before": 0.2, "after": 0.5},
        {"step": 75, "knob": "alpha", "before": 0.5, "after": 1},
    ]
    out[3].changes = [{"step": 100, "knob": "temperature", "before": 1, "after": 4}]
    return out


def side_by_side() -> Figure:
    """Two trainings as a notebook draws them: errors, below them the terms of each loss, below them every exit."""
    both = {"byot": finished(), "mine": finished()}
    figure, axes = figures.new(columns=2, rows=3, height=9)
    figures.learning_curves(both, axes[0])
    for draw, row in ((figures.loss_terms, axes[1]), (figures.exit_accuracy, axes[2])):
        for (name, epochs), ax in zip(both.items(), row, strict=True):
            draw(epochs, ax).set_title(figures.label(name))
    return figure


def finished() -> list[Epoch]:
    """Four terms, four exits that swing, and the whole test set at the end."""
    out = history(20, 0.03)
    for e in out:
        e.terms = {"task": 2.5, "head ce": 5.0 - 0.1 * e.epoch, "kd": 0.3, "hint": 0.02}
        rise = 0.1 + 0.04 * e.epoch + 0.3 * (e.epoch % 3 == 1)
        e.accuracy = {n: min(rise + 0.03 * i, 1.0) for i, n in enumerate(("final", "1/4", "2/4", "3/4", "ensemble"))}
    out[-1].test = dict(out[-1].accuracy)
    return out


GALLERY: dict[str, Callable[[], Figure]] = {
    "learning_curves": lambda: many(
        lambda a: figures.learning_curves({"vanilla": history(), "drg": history(6, 0.11), "drg+dsr": history(6, 0.12)}, a),
        columns=2,
    ),
    "learning_curves_one": lambda: one(lambda a: figures.learning_curves({"vanilla": history(), "byot": history(6, 0.12)}, a)),
    "loss_terms": lambda: one(lambda a: figures.loss_terms(history(), a)),
    "exit_accuracy": lambda: one(lambda a: figures.exit_accuracy(history(), a)),
    "two_trainings_side_by_side": side_by_side,
    "courses": lambda: many(
        lambda a: figures.courses({"live": figures.Course(turned(), changes=figures.marks(turned()))}, *a), columns=2, width=10
    ),
    "courses_with_many_turns": lambda: many(
        lambda a: figures.courses(
            {"live": figures.Course(history(8), (), [(0.6 * i + 0.3, f"temperature {i}→{i + 1}") for i in range(9)])}, *a
        ),
        columns=2,
        width=10,
    ),
    "courses_before_the_first_epoch": lambda: many(
        lambda a: figures.courses({"live": figures.Course([])}, *a), columns=2, width=10
    ),
    "overview": lambda: many(figures.overview, columns=5, width=14, height=3.4),
    "mechanisms": lambda: many(lambda a: figures.mechanisms(*a, STAGES, (2,)), columns=2, width=9, height=4.2),
    "mechanisms_two": lambda: many(lambda a: figures.mechanisms(*a, STAGES[:3], (1, 2)), columns=2, width=9, height=4.2),
    "algorithm": lambda: one(lambda a: figures.algorithm(a, "Algorithm 1: DRG", ALGORITHM), width=5.2, height=2.2),
    "ranked_variance": lambda: many(
        lambda a: figures.ranked_variance({"vanilla": along(0), "drg": along(4), "resnet50": along(8)}, a), columns=3, width=11
    ),
    "ranked_correlation": lambda: one(
        lambda a: figures.ranked_correlation({"vanilla": along(0), "drg": along(4)}, a), width=6.5
    ),
    "time_and_space": lambda: one(lambda a: figures.time_and_space(SECONDS, MEGABYTES, a), width=6),
    "time_and_space_one_network": lambda: one(
        lambda a: figures.time_and_space({"byot": 0.06, "drg+dsr": 0.045}, {"byot": 50.0, "drg+dsr": 45.0}, a), width=6
    ),
    "ranked_probabilities": lambda: many(lambda a: figures.ranked_probabilities(IMAGES[0], ROWS, a), columns=5, width=13),
    "sweep": lambda: one(lambda a: figures.sweep(SWEEP, a, "τ", {"drg": 1, "dsr": 4}), width=6, height=4),
    "sweep_log": lambda: one(
        lambda a: figures.sweep(
            {"drg": {v: [0.5 + 0.01 * i] for i, v in enumerate([0.01, 0.05, 0.2, 0.5, 1])}}, a, "α", {"drg": 0.2}, True
        ),
        width=6,
        height=4,
    ),
    "heat_maps": lambda: many(lambda a: figures.heat_maps(IMAGES, MAPS, a, MASKS), columns=4, rows=2, width=8, height=4.4),
    "projections": lambda: many(
        lambda a: figures.projections(POINTS, CLASSES, a, {k: Separation(1, 1, 1, 0.25, 0.8) for k in POINTS}),
        columns=3,
        width=11,
    ),
    "block_table": lambda: one(
        lambda a: figures.block_table(BLOCKS, BLOCK_SECONDS, BLOCK_PAPER, a, "2"), width=7.5, height=3.8
    ),
    "noise": lambda: many(lambda a: figures.noise(noise_curves(), *a), columns=2),
    "on_record": lambda: figures.on_record(asked()),
    "on_record, histories alone": lambda: figures.on_record(Recorded({})),
    "gradients": lambda: one(lambda a: figures.gradients(statistics(), a), width=7),
    "term_shares": lambda: one(lambda a: figures.term_shares(pulls(), a), width=9, height=2.6),
    "gradients_share": lambda: one(lambda a: figures.gradients(statistics(), a, share=True), width=7),
    "risk and coverage": lambda: one(lambda a: figures.risk_coverage(risks(), a), width=8, height=4.2),
    "reliability": lambda: one(lambda a: figures.reliability(calibrations(), a), width=4.6, height=4.2),
    "under_attack": lambda: one(lambda a: figures.under_attack(attacks(), a), width=5),
    "step_costs": lambda: one(lambda a: figures.step_costs(STEPS, a, "vanilla"), width=10, height=3.2),
    "step_costs_few": lambda: one(lambda a: figures.step_costs(dict([*STEPS.items()][:3]), a, "vanilla"), width=7, height=3.2),
}


@pytest.mark.parametrize("name", GALLERY)
def test_every_figure_draws_without_a_warning_and_all_its_words_can_be_read(name):
    figure, wrong = on_screen(GALLERY[name])
    assert wrong == []
    for ax in figure.axes:
        assert ax.lines or ax.patches or ax.images or ax.collections or ax.texts, "an empty panel"


PRINTED = [pytest.param(name, marks=() if i % 5 == 0 else pytest.mark.slow) for i, name in enumerate(GALLERY)]
"""Every fifth figure; all of them are slow."""


@pytest.mark.parametrize("kind", ["column", "page"])
@pytest.mark.parametrize("name", PRINTED)
def test_every_figure_can_be_read_in_print(name, kind):
    assert illegible(GALLERY[name], kind) == []


def test_a_style_is_a_call_or_holds_inside_a_block_and_an_unknown_one_is_named():
    made = [figures.new(width=6)[0]]
    with figures.style("column"):
        inside = figures.new(width=6)[0]
        with figures.style("slide"):
            slide = figures.new(width=6)[0]
    made.append(figures.new(width=6)[0])
    for figure, wide in [(made[0], 6), (inside, 3.3), (slide, 12), (made[1], 6)]:
        figures.png(figure)
        assert figure.get_figwidth() == pytest.approx(wide)
    with pytest.raises(KeyError, match="column"):
        figures.style("colunm")


def test_panels_that_are_too_narrow_are_stacked_and_keep_the_words_of_their_scale():
    with figures.style("column"):
        figure, axes = figures.new(columns=2, width=10, sharey=True)
        for ax in axes:
            ax.plot([0, 1], [0, 1])
        axes[0].set_ylabel("accuracy, %")
    figures.png(figure)
    assert axes[0].get_position().y0 > axes[1].get_position().y1 and axes[0].get_position().x0 < axes[1].get_position().x1
    assert axes[1].get_ylabel() == "accuracy, %" and any(t.get_visible() for t in axes[1].get_yticklabels())


@pytest.mark.parametrize("kind", ["column", "page", "notebook"])
def test_a_saved_figure_has_fonts_that_a_press_takes_and_the_width_that_was_said(kind, tmp_path):
    """Type 3 fonts are refused by IEEE's and ACM's checks: TrueType alone, in every PDF and PostScript file."""
    with figures.style(kind):
        figure = GALLERY["sweep"]()
    for suffix in ("pdf", "ps", "svg"):
        figure.savefig(tmp_path / f"a.{suffix}", bbox_inches="tight" if kind != "notebook" else None)
    for pdf in ((tmp_path / "a.pdf").read_bytes(), pdf_of(figure)):
        assert b"/FontFile2" in pdf and b"/Type3" not in pdf
        wide = float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", pdf)[1]) / 72
        assert wide == pytest.approx({"column": 3.3, "page": 7, "notebook": 6}[kind], abs=0.01)
    assert b"/FontType 42" in (postscript := (tmp_path / "a.ps").read_bytes()) and b"/FontType 3" not in postscript
    assert "validation" not in (svg := (tmp_path / "a.svg").read_text()) and "test accuracy" in svg, "words, not outlines"


def test_the_check_of_words_sees_what_it_is_there_for():
    figure, ax = figures.new()
    ax.text(0.5, 0.5, "below", transform=ax.transAxes)
    assert not unreadable(figure)
    ax.text(0.5, 0.5, "above", transform=ax.transAxes)
    assert unreadable(figure) == ["'below' over 'above'"]
    ax.texts[-1].set(position=(3, 0.5), fontsize=6, in_layout=False)
    assert unreadable(figure) == ["'above' leaves the canvas", "'above' is small"]


@pytest.mark.parametrize("name", ["mechanisms", "sweep", "projections"])
def test_the_same_figure_gives_the_same_bytes(name):
    assert figures.png(GALLERY[name](), 50) == figures.png(GALLERY[name](), 50)


def test_a_figure_keeps_its_bytes_after_it_was_drawn_once():
    figure = GALLERY["reliability"]()
    assert figures.png(figure, 50) == figures.png(figure, 50)


def test_no_figure_needs_pyplot_or_changes_global_settings():
    code = (
        "import sys, matplotlib\n"
        # asking for the backend would choose one
        "settings = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "before = settings()\n"
        "import test_figures as t\n"
        "for name in ('sweep', 'courses', 'heat_maps', 'overview'): t.figures.png(t.GALLERY[name](), 40)\n"
        "print('matplotlib.pyplot' in sys.modules, before == settings())"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(p) for p in Path(__file__).parents[:3])}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert out.stdout.split() == ["False", "True"]


# --- what is on the axes is what was handed in ---


def lines(ax: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Labelled lines: label -> x, y."""
    every = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    return {k: (np.asarray(v.get_xdata(), float).tolist(), np.asarray(v.get_ydata(), float).tolist()) for k, v in every.items()}


def heights(ax: Axes) -> dict[str, list[float]]:
    return {c.get_label(): [p.get_height() for p in c] for c in ax.containers if hasattr(c, "patches")}


def test_methods_have_their_own_colour_and_marker():
    looks = [(s["color"], s["marker"]) for s in figures.STYLE.values()]
    assert len({c for c, _ in looks}) == len(looks) == len({m for _, m in looks}) == 12
    assert figures.label("drg+dsr") == "DRG+DSR" and figures.label("resnet50") == "resnet50"


def test_a_steps_three_ratios_stand_side_by_side_with_their_numbers():
    ax = GALLERY["step_costs_few"]().axes[0]
    said = {"time": [1, 1.35, 1.9], "FLOPs": [1, 1.12, 1.84], "operations": [1, 2.05, 2.21]}
    assert heights(ax) == said and ax.get_ylabel() == "× vanilla"
    assert [t.get_text() for t in ax.texts] == [f"{v:.2f}" for values in said.values() for v in values]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["vanilla", "BYOT", "Self-Guidance"]


def test_an_unknown_name_always_looks_the_same_and_two_of_them_look_different():
    assert figures.look("resnet50") == figures.look("resnet50")
    a, b = figures.looks(["resnet18", "resnet50"]).values()
    assert a["color"] != b["color"] and a["marker"] != b["marker"]
    assert figures.looks(["drg", "resnet18"])["drg"] == figures.STYLE["drg"]


def test_no_two_of_forty_methods_without_a_style_of_their_own_share_colour_and_marker():
    for styled in ([], ["vanilla"], ["self-guidance"], ["vanilla", "byot", "drg+dsr"]):
        names = [*styled, *(f"method {i}" for i in range(20))]
        found = [(look["color"], look["marker"]) for look in figures.looks(names).values()]
        assert len({*found}) == len(names), styled


def test_a_methods_look_is_the_same_in_every_figure_and_its_second_row_is_grey():
    few = figures.looks(["vanilla", "vanilla, deeper", "self-guidance"])
    many = figures.looks(["vanilla", "vanilla, blocks=2", "drg", "self-guidance, blocks=2, survival=0.5"])
    assert few["vanilla"] == many["vanilla"] == figures.STYLE["vanilla"]
    assert few["vanilla, deeper"] == many["vanilla, blocks=2"] and few["vanilla, deeper"] not in figures.STYLE.values()
    assert few["self-guidance"] == many["self-guidance, blocks=2, survival=0.5"] == figures.STYLE["self-guidance"]
    assert figures.label("self-guidance, blocks=2, survival=0.5") == "Self-Guidance, blocks 2, survival 0.5"


def test_two_states_of_an_own_method_are_told_apart_by_their_digests():
    assert figures.labels(["byot", "Mine@3f2a91c0"]) == {"byot": "BYOT", "Mine@3f2a91c0": "Mine"}
    said = figures.labels(["byot", "Mine@3f2a91c0", "Mine@77d0aa01"])
    assert [*said.values()] == ["BYOT", "Mine (3f2a)", "Mine (77d0)"]


def test_learning_curves_are_errors_in_percent_over_finished_epochs():
    train, test = GALLERY["learning_curves"]().axes
    assert lines(test)["vanilla"] == ([1, 2, 3, 4, 5, 6], pytest.approx([80, 70, 60, 50, 40, 30]))
    assert lines(train)["vanilla"][1] == pytest.approx([75, 65, 55, 45, 35, 25])


def test_an_epoch_without_evaluation_is_left_out_of_the_curves():
    some = history(4)
    some[1].accuracy, some[2].accuracy = {}, {"final": float("nan")}
    _, ax = figures.new()
    assert lines(figures.exit_accuracy(some, ax))["final"] == ([1, 4], pytest.approx([20, 50]))


def test_loss_terms_are_logarithmic_only_where_they_differ_hundredfold():
    assert GALLERY["loss_terms"]().axes[0].get_yscale() == "linear"
    for e in (far := history()):
        e.terms["soft"] = 1e-3
    assert figures.loss_terms(far, figures.new()[1]).get_yscale() == "log"


def test_a_turned_knob_leaves_a_mark_with_its_first_and_its_last_value():
    assert figures.marks(turned()) == [(2.5, "alpha 0.2→1"), (3.5, "temperature 1→4")]
    assert figures.marks(turned(), steps_per_epoch=28)[0] == (2.5, "alpha 0.2→1")
    terms, accuracy = GALLERY["courses"]().axes
    for ax in (terms, accuracy):
        assert [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":" and len(line.get_xdata()) == 2] == [
            2.5,
            3.5,
        ]
    assert [t.get_text().strip() for t in terms.texts] == ["alpha 0.2→1", "temperature 1→4"]


def test_a_live_panel_drawn_again_shows_the_new_epochs_only_once():
    _, axes = figures.new(2)
    figures.courses({"live": figures.Course(history(2))}, *axes)
    figures.courses({"live": figures.Course(history(4))}, *axes)
    assert [len(line.get_xdata()) for line in axes[0].lines if len(line.get_xdata())] == [4, 4]


def test_ranked_variance_draws_each_reading_on_its_own_panel():
    a = along(0)
    _, axes = figures.new(3)
    figures.ranked_variance({"vanilla": a}, axes)
    for ax, space in zip(axes, ["probabilities", "standardised", "logits"], strict=True):
        assert lines(ax)["vanilla"] == (pytest.approx(a.progress.tolist()), pytest.approx(a.variance[space].tolist()))
        assert space.split()[0] in ax.get_title()


def test_ranked_correlation_bars_are_pearsons_r_with_and_without_the_first_epoch():
    a = along(0)
    ax = figures.ranked_correlation({"vanilla": a}, figures.new()[1])
    assert heights(ax)["vanilla"] == pytest.approx(list(a.pearson.values()))
    assert ax.lines[0].get_ydata() == pytest.approx(list(a.pearson_without_first.values()))


def test_time_stands_over_space_for_every_method_and_network():
    ax = GALLERY["time_and_space"]().axes[0]
    drawn = {(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in ax.lines if len(line.get_xdata()) == 1}
    assert drawn == {(MEGABYTES[k], SECONDS[k]) for k in SECONDS}
    with pytest.raises(ValueError, match="same runs"):
        figures.time_and_space({"byot": 1.0}, {"drg": 1.0}, ax)


def test_only_the_true_class_is_green_and_hatched_and_only_where_it_is_among_the_shown():
    axes = GALLERY["ranked_probabilities"]().axes
    for ax, (p, rank) in zip(axes[1:], ROWS.values(), strict=True):
        assert [b.get_width() for b in ax.patches] == pytest.approx((100 * p).tolist())
        assert [i for i, b in enumerate(ax.patches) if b.get_hatch()] == ([rank] if rank < 30 else [])
        assert f"rank {rank + 1}" in ax.get_title()


def test_a_normalised_image_is_refused():
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        figures.ranked_probabilities(IMAGES[0] - 0.5, {}, [figures.new()[1]])


def test_a_sweep_shows_means_spreads_runs_and_both_optima():
    ax = GALLERY["sweep"]().axes[0]
    bars = {c.get_label(): c for c in ax.containers}
    drg = bars["DRG, best here: τ = 1"]
    assert drg.lines[0].get_ydata() == pytest.approx([51, 50, 47.5])
    low, high = np.array(drg.lines[2][0].get_segments())[0, :, 1]
    assert (low, high) == pytest.approx((50, 52))  # +- one standard deviation
    assert "DSR, best here: τ = 4" in bars
    assert {k: v[0][0] for k, v in lines(ax).items() if "paper" in k} == {"DRG, paper's best: 1": 1, "DSR, paper's best: 4": 4}


def test_heat_maps_lie_in_their_column_over_their_image():
    axes = np.array(GALLERY["heat_maps"]().axes).reshape(2, 4)
    assert [ax.get_title() for ax in axes[0]] == ["image", "shallow 2", "BYOT", "DRG"]
    for r in range(2):
        assert np.allclose(axes[r, 0].images[0].get_array(), IMAGES[r].permute(1, 2, 0))
        for ax, heat in zip(axes[r, 1:], MAPS.values(), strict=True):
            assert np.array_equal(ax.images[1].get_array(), heat[r].numpy())


def test_a_projection_draws_every_point_and_names_its_engine():
    axes = GALLERY["projections"]().axes
    for ax, p in zip(axes, POINTS.values(), strict=True):
        drawn = np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections])
        assert {tuple(x) for x in drawn.round(4)} == {tuple(x) for x in p.points.numpy().astype(float).round(4)}
        assert "openTSNE" in ax.get_title() and "50 classes" in ax.get_xlabel()


def test_the_block_table_compares_times_as_multiples_on_each_side():
    left, right = GALLERY["block_table"]().axes
    assert heights(left)["accuracy, ours"] == pytest.approx([100 * np.mean(a) for a in BLOCKS.values()])
    assert heights(right)["time, ours"] == pytest.approx([s / 0.51 for s in BLOCK_SECONDS.values()])
    assert lines(right)["time, paper"][1] == pytest.approx([s / BLOCK_PAPER["2"][1] for _, s in BLOCK_PAPER.values()])
    assert lines(left)["accuracy, paper"][1] == pytest.approx([100 * a for a, _ in BLOCK_PAPER.values()])


def test_mechanisms_show_the_live_networks_numbers():
    drg, _ = GALLERY["mechanisms"]().axes
    texts = [t.get_text() for t in drg.texts]
    assert all(f"{name}: {c} × {s} × {s}" in texts for name, c, s in STAGES)
    with pytest.raises(ValueError, match="stages 1..4"):
        figures.mechanisms(*figures.new(2)[1], STAGES, (5,))


def test_noise_is_a_mean_over_draws_and_says_its_unit():
    curves = noise_curves()
    accuracy, loss = GALLERY["noise"]().axes
    assert lines(accuracy)["BYOT"][1] == pytest.approx((100 * curves["byot"].accuracy.mean(1)).tolist())
    assert lines(loss)["vanilla"][1] == pytest.approx(curves["vanilla"].loss.mean(1).tolist())
    assert "absolute" in accuracy.get_xlabel()
    mixed = {**curves, "drg": curves["byot"]._replace(relative=True)}
    with pytest.raises(ValueError, match="all absolute or all relative"):
        figures.noise(mixed, accuracy, loss)


def test_of_many_networks_plain_training_alone_has_a_band_of_its_draws():
    curve = noise_curves()["byot"]
    _, (left, right) = figures.new(columns=2)
    figures.noise(noise_curves() | {"drg": curve, "dsr": curve}, left, right)
    for ax in (left, right):
        assert [area.get_label() for area in ax.collections] == ["vanilla: ± 1 sd of the draws"]


def test_a_table_of_records_is_one_picture_that_says_where_it_is_from():
    six, three = GALLERY["on_record"](), GALLERY["on_record, histories alone"]()
    assert (len(six.axes), len(three.axes)) == (6, 3)
    for figure in (six, three):
        assert any(Recorded({}).label in t.get_text() for t in figure.texts)
    bars = {container.get_label() for container in six.axes[5].containers}
    assert bars == {"vanilla", "BYOT"}, "not the network with other layers"


def test_gradients_are_a_bar_for_every_convolution():
    assert heights(GALLERY["gradients"]().axes[0])["BYOT"] == pytest.approx(statistics()["byot"].magnitude.tolist())
    shares = heights(GALLERY["gradients_share"]().axes[0])
    assert sum(shares["BYOT"]) == pytest.approx(100) == sum(shares["vanilla"])


@pytest.mark.parametrize("names", [["vanilla", "sfr"], ["vanilla", "drg", "dsr"]])
def test_no_legend_stands_upon_a_reliability_curve(names):
    c = next(iter(calibrations().values()))
    everywhere = c._replace(accuracy=(7 * torch.arange(len(c.count))) % 15 / 15)  # a legend finds no room between
    _, ax = figures.new(width=4)
    assert hidden(figures.reliability(dict(zip(names, [c, everywhere, everywhere], strict=False)), ax)) == []


def test_no_legend_stands_upon_a_term_of_the_loss():
    _, ax = figures.new()
    for i, e in enumerate(terms := history(20)):
        e.terms = {f"term {n}": 1 + (n * i) % 20 for n in range(7)}
    assert hidden(figures.loss_terms(terms, ax)) == []


def test_no_legend_stands_upon_the_accuracy_of_an_exit():
    assert hidden(figures.exit_accuracy(finished(), figures.new()[1])) == []


@pytest.mark.parametrize("kind", ["notebook", "column", "page", "slide"])
def test_a_title_stands_above_the_legend_of_its_panel(kind):
    figure = printed(side_by_side, kind)
    assert unreadable(figure, 6) == []
    for ax in figure.axes:
        if ax.get_title() and ax.get_legend():
            assert ax.title.get_window_extent().y0 >= ax.get_legend().get_window_extent().y1 - 1


def test_contours_of_the_loss_keep_a_step_away_from_the_network():
    at = torch.linspace(-0.6, 0.6, 9)
    bowl = 0.05 + 10 * (at[:, None] ** 2 + at**2)
    _, ax = figures.new()
    figures.loss_plane(LossSlice(at, bowl, torch.zeros_like(bowl)), ax, levels=(0.1, 0.2, 1, 5))
    (drawn,) = [c for c in ax.collections if isinstance(c, QuadContourSet) and not c.filled]
    assert drawn.levels.tolist() == [1, 5], "0.1 and 0.2 are passed within the first step"


def test_reliability_leaves_out_empty_bins():
    c = calibrations()["vanilla"]
    full = c._replace(count=10 * c.count)
    ax = figures.reliability({"vanilla": full}, figures.new()[1])
    x, y = lines(ax)[f"vanilla (ECE {100 * c.ece:.1f} %)"]
    assert (x, y) == (
        pytest.approx((100 * c.confidence[c.count > 0]).tolist()),
        pytest.approx((100 * c.accuracy[c.count > 0]).tolist()),
    )
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["perfect", f"vanilla (ECE {100 * c.ece:.1f} %)"]


def test_a_bin_of_fewer_than_ten_images_is_hollow_and_stands_beside_the_curve():
    """The one image of 3,000 that a network is 13 % sure of and right about is no point of its curve."""
    c = calibrations()["vanilla"]
    count = torch.full_like(c.count, 10)
    count[0], count[3] = 1, 9
    c = c._replace(count=count, confidence=torch.arange(len(count)) / len(count), accuracy=torch.ones(len(count)))
    ax = figures.reliability({"vanilla": c}, figures.new()[1])
    curve = next(line for line in ax.lines if str(line.get_label()).startswith("vanilla"))
    (apart,) = [line for line in ax.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert len(curve.get_xdata()) == len(count) - 2 and apart.get_linestyle() == "None"
    assert apart.get_xdata().tolist() == pytest.approx([0, 100 * 3 / len(count)])
    assert ax.get_legend().get_texts()[-1].get_text() == "hollow: fewer than 10 images"
    assert f"ECE {100 * c.ece:.1f} %" in curve.get_label()


# --- reports ---

NOTE = FigureNote("sfr_fig3", "sfr", "3 left", "Curves of <A> & B", "plot", "", "A > B", "", "")
PAPER = Paper("000", "A <title>", "X and Y", "V", 2023, "Withdrawn & kept for study")


@pytest.fixture
def papers(monkeypatch, tmp_path):
    """One paper with one figure, and an empty folder to write to."""
    room = importlib.import_module("sdkit.figures.report")  # `figures.report` is the function
    monkeypatch.setattr(room, "PAPERS", {"sfr": PAPER})
    monkeypatch.setattr(room, "about", {"sfr_fig3": NOTE, "sfr_fig10": NOTE}.__getitem__)
    monkeypatch.setenv("SDKIT_FIGURES", str(tmp_path / "out"))
    return tmp_path / "out"


def verdict(held: bool | None) -> Verdict:
    return Verdict("falls <fast>", "r = -0.9", held)


def test_a_report_writes_three_files_and_shows_claim_and_measurement(papers):
    report = figures.report(GALLERY["sweep"](), "sfr_fig3--resnet18", [verdict(True)], "small & quick")
    assert sorted(p.name for p in (papers / "sfr").iterdir()) == [f"sfr_fig3--resnet18.{e}" for e in ("json", "pdf", "png")]
    assert report.paths["png"].read_bytes()[:4] == b"\x89PNG" and report.paths["pdf"].read_bytes()[:4] == b"%PDF"
    record = json.loads(report.paths["json"].read_text())
    assert record["verdicts"] == [{"claim": "falls <fast>", "measured": "r = -0.9", "word": "held"}]
    page = report._repr_html_()
    for text in (
        "data:image/png;base64,",
        "A &gt; B",
        "falls &lt;fast&gt;",
        "r = -0.9",
        "held",
        "small &amp; quick",
        "resnet18",
    ):
        assert text in page


def test_the_index_shows_every_report_with_words_and_colours(papers):
    for id, held in [("sfr_fig10", False), ("sfr_fig3", True), ("sfr_fig3--b", None)]:
        figures.report(GALLERY["algorithm"](), id, [verdict(held)])
    (papers / "notebooks").mkdir()
    (papers / "notebooks" / "04 drg.html").write_text("x")
    page = figures.index(papers).read_text(encoding="utf-8")
    assert re.findall(r'<section class="sdkit-figure" id="([^"]+)"', page) == ["sfr_fig3", "sfr_fig3--b", "sfr_fig10"]
    badges = dict(re.findall(r'background:(#\w+)">. ([^<]+)</span>', page))
    assert len(badges) == 3 and set(badges.values()) == {"held", "did not hold", "cannot be told at this scale"}
    for link in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert (papers / link.replace("%20", " ")).exists(), "a relative link to a file that is there"
    assert "Withdrawn &amp; kept for study" in page and "A &lt;title&gt;" in page and "://" not in page


def test_a_report_written_again_replaces_the_files_and_leaves_no_parts(papers):
    for _ in range(2):
        paths = figures.report(GALLERY["algorithm"](), "sfr_fig3").paths
    assert {p.name for p in (papers / "sfr").iterdir()} == {p.name for p in paths.values()}


def test_a_variant_that_is_no_file_name_is_refused(papers):
    with pytest.raises(ValueError, match="variant names a file"):
        figures.report(GALLERY["algorithm"](), "sfr_fig3--../../x")


def test_a_real_figure_is_reported_under_its_paper_and_sfr_carries_its_notice(monkeypatch, tmp_path):
    monkeypatch.setenv("SDKIT_FIGURES", str(tmp_path))
    verdict = Verdict("variance falls", "Spearman -0.9", None)
    paths = figures.report(GALLERY["ranked_variance"](), "drg_fig3_left--resnet20", [verdict]).paths
    assert paths["png"].parent == tmp_path / "drg_dsr"
    figures.report(GALLERY["overview"](), "sfr_fig1")
    page = figures.index(tmp_path).read_text(encoding="utf-8")
    assert html.escape(PAPERS["sfr"].notice) in page and "cannot be told at this scale" in page
    assert page.index(html.escape(PAPERS["drg_dsr"].title)) < page.index(html.escape(PAPERS["sfr"].title))


def test_the_index_counts_the_verdicts_of_every_paper_and_leads_to_its_figures(monkeypatch, tmp_path):
    monkeypatch.setenv("SDKIT_FIGURES", str(tmp_path))
    for id, held in [("sfr_fig1", False), ("drg_fig4", True), ("drg_fig4--b", None), ("byot_fig4a", True)]:
        figures.report(
            GALLERY["algorithm"](), id, [Verdict(f"{id} falls", "r = -0.9", held), Verdict(f"{id} rises", "r = 0.9", True)]
        )
    page = figures.index(tmp_path).read_text(encoding="utf-8")
    contents = page[: page.index("<section")]
    counts = [re.findall(r"<td>(\d+)</td>", row) for row in re.findall(r"<tr><td>.*?</tr>", contents)]
    assert counts == [["2", "0", "0"], ["3", "0", "1"], ["1", "1", "0"], ["6", "1", "1"]], "held, did not, cannot be told"
    links, ids = re.findall(r'href="#([^"]+)"', contents), set(re.findall(r'id="([^"]+)"', page))
    assert {*links} == {"byot", "byot_fig4a", "drg_dsr", "drg_fig4", "drg_fig4--b", "sfr", "sfr_fig1"} == ids
    figures.account("byot", {"byot_c1": ("shapes, one seed", [verdict(True)])})
    page = figures.index(tmp_path).read_text(encoding="utf-8")
    links, ids = re.findall(r'href="#([^"]+)"', page), set(re.findall(r'id="([^"]+)"', page))
    assert "byot-claims" in links and {*links} <= ids, "no link to the claims of a paper that nobody judged"


def test_the_index_counts_a_claim_once_however_many_figures_show_it(monkeypatch, tmp_path):
    monkeypatch.setenv("SDKIT_FIGURES", str(tmp_path))
    for letter in "abcd":
        figures.report(GALLERY["algorithm"](), f"byot_fig6{letter}", [verdict(False), Verdict(letter, "its own", True)])
    page = figures.index(tmp_path).read_text(encoding="utf-8")
    contents = page[: page.index("<section")]
    counts = [re.findall(r"<td>(\d+)</td>", row) for row in re.findall(r"<tr><td>.*?</tr>", contents)]
    assert counts == [["4", "1", "0"], ["4", "1", "0"]]


def test_the_index_has_the_papers_as_the_notebooks_follow_each_other():
    names = [p.stem.partition("_")[2] for p in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))]
    order = importlib.import_module("sdkit.figures.report").ORDER
    assert order == tuple(name for name in names if name in PAPERS) and {*order} == PAPERS.keys()


def test_a_star_says_what_the_whole_test_set_does_where_curves_are_of_a_part_of_it():
    along = [Epoch(e, 0.1, 1.0, train_accuracy=0.5, accuracy={"final": 0.5 + e / 10}) for e in range(3)]
    along[-1].test = {"final": 0.65}
    for draw in (figures.learning_curves, figures.train_and_test):
        _, ax = figures.new()
        draw({"vanilla": along}, ax)
        star, key = (line for line in ax.lines if line.get_marker() == "*")
        assert (float(star.get_xdata()[0]), float(star.get_ydata()[0])) == pytest.approx((3, 35)) and not len(key.get_xdata())
        assert [t.get_text() for t in ax.get_legend().get_texts()][-1] == "the whole test set"
    _, ax = figures.new()
    figures.exit_accuracy(along[:-1], ax)
    assert not [line for line in ax.lines if line.get_marker() == "*"], "an unfinished run was not tested on all"


# long names

LONG = [f"German shorthaired pointer {i}" for i in range(12)]


def test_the_names_of_several_trainings_stay_within_the_screen():
    history = [Epoch(e, 0.1, 1.0, {"task": 1.0}, 0.4, {"final": 0.5}) for e in range(3)]
    names = ["recorded", *(f"fork {i}: α 0.525, T 4.2, β 0.21 after epoch 3" for i in range(3))]
    screen = figures.Screen()
    figure = screen.draw({name: figures.Course(history) for name in names})
    figure.draw_without_rendering()
    box, inside = figure.legends[0].get_window_extent(), figure.bbox
    assert box.x0 >= inside.x0 and box.x1 <= inside.x1 and box.y1 <= inside.y1
    assert all(box.y0 >= ax.get_window_extent().y1 for ax in screen.axes)


def test_long_names_of_classes_are_cut_before_they_meet_or_leave_the_picture():
    figure, axes = figures.feature_panels(1, len(LONG))
    figures.feature_frame({"drg": "PCA"}, range(len(LONG)), axes, LONG)
    figure.draw_without_rendering()
    assert axes[0].get_legend().get_window_extent().x1 <= figure.bbox.x1
    figure, axes = figures.cards(1, 4)
    images = torch.rand(4, 3, 8, 8)
    figures.answer_cards(images, ["drg"], LONG[:4], axes)
    below = figures.answer_marks({"drg": answers(torch.eye(12)[:4])}, torch.arange(4), LONG, axes)
    figure.draw_without_rendering()
    for row in (below, [ax.title for ax in axes[0]]):
        boxes = [text.get_window_extent() for text in row]
        assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes)), [text.get_text() for text in row]
        assert all(b.y0 >= 0 and b.y1 <= figure.bbox.y1 for b in boxes)
    assert all("%" in text.get_text() for text in below)


def test_no_two_of_forty_terms_share_colour_and_marker():
    looks = [line_style(i) for i in range(40)]
    assert len({(look["color"], look["marker"]) for look in looks}) == 40


def test_a_search_over_yes_and_no_and_the_methods_own_choice_is_drawn():
    three = {(a, b, 0.1): [0.5] for a in (True, False) for b in (None, 0.2)}
    figure = figures.search_figure(["nesterov", "margin", "lr"], three, "drg", (True, None, 0.1))
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["True", "False"]
    assert [t.get_text() for t in figure.axes[1].get_xticklabels()] == ["None", "0.2"]
    two = {(a, b): [0.5 + a / 10] for a in (True, False) for b in (None, 0.2)}
    figure = figures.search_figure(["nesterov", "margin"], two, "drg", (False, None))
    assert {t.get_text() for t in figure.axes[0].texts} == {"50.0", "60.0"}
