"""Papers 001 and 002: their figures draw what was handed in and can be read, their verdicts judge as the papers' checks say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn import illegible, unreadable
from matplotlib.figure import Figure

from sdkit import figures
from sdkit.analysis import AblationCurve, Projection
from sdkit.experiment import Experiment, sweep
from sdkit.figures import ddgsd as drawn
from sdkit.models import residuals
from sdkit.models.backbone import linear_survival
from sdkit.models.resnet import four_stage
from sdkit.papers import ddgsd, self_guidance, table
from sdkit.train import Epoch


def images(n: int) -> list[torch.Tensor]:
    return [*torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(0))]


def history(epochs: int = 10, gap: float = 0.05, up: float = 0.06) -> list[Epoch]:
    return [Epoch(e, 0.1, 1.0, {"task": 1.0}, 0.2 + up * e + gap, {"final": 0.2 + up * e}) for e in range(epochs)]


SURVIVAL = [1 - place / 16 for place in range(1, 9)]
MASK = [True, True, False, True, True, True, False, False]
MU = {v: [0.8, 0.81 + v / 100] for v in (0, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 10)}
PAPER_MU = {row["hp_value"]: row["value"] for row in table("ddgsd_table5")}
FRACTION = torch.arange(6, dtype=torch.float64) / 5
CURVES = {
    name: AblationCurve(FRACTION, (0.9 - 0.8 * FRACTION**k)[:, None] * torch.tensor([1.0, 0.97]), 128)
    for name, k in [("vanilla", 1), ("ddgsd", 2)]
}
ROWS = {"baseline": [0.80, 0.81], "two-branch": [0.80, 0.82], "MMD": [0.81, 0.80], "KL": [0.83, 0.84], "SD": [0.85, 0.86]}
PAPER_ROWS = {"ResNet-32": {"baseline": 31.01, "two-branch": 31.32, "MMD": 30.62, "KL": 29.06, "SD": 28.22}}
LAMBDAS = {"baseline": [0.8, 0.9], "0": [0.8, 0.82], "0.25": [0.9, 0.92], "3": [0.3]}
PAPER_LAMBDAS = {"ResNet-50": {"baseline": 6.06, "0": 5.31, "0.25": 5.28, "3": 90.0}}
LABELS = torch.arange(60) % 10
POINTS = {
    name: {e: Projection(torch.randn(60, 2, generator=torch.Generator().manual_seed(e)), "t-SNE", None) for e in (1, 4)}
    for name in ("teacher", "student A: 6 of 8")
}


def one(draw, **options) -> Figure:
    figure, axes = figures.new(**options)
    draw(axes)
    return figure


GALLERY = {
    "distillations": lambda: one(figures.distillations, columns=3, width=11, height=3),
    "pipeline": lambda: one(
        lambda ax: figures.pipeline(ax, images(3), {"task": 6.1, "kl": 0.02, "mmd": 1e-5}, (16, 32, 64, 128), 20),
        width=11, height=4.4,
    ),
    "distorted pairs": lambda: one(
        lambda axes: figures.distorted_pairs({"rotation": images(4), "crop, mirror": images(4)}, axes), columns=4, rows=2
    ),
    "mu": lambda: one(lambda axes: figures.mu_sensitivity(MU, PAPER_MU, axes), columns=2, width=11, height=3.6),
    "reliance": lambda: one(lambda ax: drawn.reliance(CURVES, ax, {"vanilla": 0.5, "ddgsd": 0.6})),
    "ablation": lambda: one(lambda ax: figures.ablation(ROWS, PAPER_ROWS, ax, "baseline"), width=9, height=3.6),
    "sampling": lambda: one(lambda ax: figures.sampling(ax, SURVIVAL, MASK), width=11, height=4),
    "train and test": lambda: one(
        lambda ax: figures.train_and_test({"vanilla": history(), "self-guidance": history(gap=0.01)}, ax), width=7
    ),
    "lambda curves": lambda: one(lambda ax: figures.lambda_curves({0.25: [history()] * 2, 1: [history(up=0.04)]}, ax)),
    "lambda table": lambda: one(
        lambda axes: figures.lambda_table(LAMBDAS, PAPER_LAMBDAS, axes, 0.1, {"3": 2}), columns=2, width=11
    ),
    "snapshots": lambda: one(
        lambda axes: figures.snapshots(POINTS, LABELS, axes, {n: {1: 0.1, 4: 0.2} for n in POINTS}), columns=2, rows=2
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GALLERY)
def test_every_word_of_a_figure_can_be_read(name):
    assert not (found := unreadable(GALLERY[name]())), found


@pytest.mark.parametrize("name", GALLERY)
def test_every_figure_can_be_read_in_a_column(name):
    assert illegible(GALLERY[name], "column") == []


def words(figure: Figure) -> str:
    from matplotlib.text import Text

    return "\n".join(t.get_text() for t in figure.findobj(Text))


def test_the_pipeline_bears_the_numbers_of_the_loss():
    said = words(GALLERY["pipeline"]())
    assert "6.100" in said and "0.020" in said and "1e-05" in said and "6.120" in said


def test_the_student_skips_what_its_mask_leaves_out():
    said = words(GALLERY["sampling"]())
    assert said.count("skip") == MASK.count(False) and "5 of 8" in said


def test_mu_of_zero_has_a_place_on_the_logarithmic_axis():
    figure, axes = figures.new(columns=2)
    figures.mu_sensitivity(MU, PAPER_MU, axes)
    ticks = [t.get_text() for t in axes[1].get_xticklabels()]
    assert ticks[0] == "0" and len(ticks) == 7 and ticks[-1] == "10"
    assert np.allclose(axes[0].lines[0].get_ydata(), [29.06, 28.79, 28.22, 28.81, 28.88, 28.54])
    assert drawn.power(5e-4) == "5·$10^{-4}$" and drawn.power(1e-3) == "$10^{-3}$" and drawn.power(10) == "10"


def test_an_error_far_above_the_others_is_an_arrow_and_leaves_them_their_scale():
    mu = MU | {10: [0.1, 0.2]}
    figure, (_, ax) = figures.new(columns=2)
    figures.mu_sensitivity(mu, PAPER_MU, figure.axes)
    assert ax.get_ylim()[1] < 25 and "85 ± 5 %" in words(figure)
    (arrow,) = [line for line in ax.lines if line.get_marker() == "^"]
    assert arrow.get_xdata()[0] == 10


def test_the_own_side_of_a_table_has_no_empty_places():
    _, axes = figures.new(columns=2)
    figures.lambda_table(LAMBDAS, PAPER_LAMBDAS | {"ResNet-110": {"0.1": 21.2}}, axes, 0.1)
    ticks = [[t.get_text() for t in ax.get_xticklabels()] for ax in axes]
    assert ticks == [["baseline", "0", "0.1", "0.25", "3"], ["baseline", "0", "0.25", "3"]]
    assert [b[0].get_xdata()[0] for b in axes[1].containers] == [0, 1, 2, 3]


def test_an_ablation_is_drawn_as_points_above_each_sides_own_baseline():
    figure, ax = figures.new()
    figures.ablation(ROWS, PAPER_ROWS, ax, "baseline")
    assert np.allclose([p.get_height() for p in ax.patches], [0.5, 0.0, 3.0, 5.0])
    theirs = next(line for line in ax.lines if "the paper" in str(line.get_label()))
    assert np.allclose(theirs.get_ydata(), [-0.31, 0.39, 1.95, 2.79])


def test_a_diverged_run_is_shown_at_chance_with_the_word():
    figure, axes = figures.new(columns=2)
    figures.lambda_table(LAMBDAS, PAPER_LAMBDAS, axes, 0.1, {"3": 2})
    assert "diverged: 2 of 3" in words(figure)
    assert any(np.allclose(line.get_ydata(), [90.0]) and line.get_marker() == "X" for line in axes[1].lines)


def test_lambda_curves_are_means_over_seeds_dashed_for_training():
    figure, ax = figures.new()
    figures.lambda_curves({0.25: [history(up=0.02), history(up=0.04)]}, ax)
    train, test = ax.lines
    assert np.allclose(test.get_ydata(), [100 * (0.8 - 0.03 * e) for e in range(10)])
    assert train.get_linestyle() == "--" and np.allclose(test.get_ydata() - train.get_ydata(), 5)


def test_the_gap_of_the_last_epoch_is_in_the_legend():
    assert "test − train +5.0" in words(GALLERY["train and test"]())


def test_curves_of_the_two_stay_apart_in_kind():
    with pytest.raises(ValueError, match="kept or not"):
        one(lambda ax: figures.sampling(ax, [0.5], [True, False]))
    with pytest.raises(ValueError, match="three panels"):
        one(lambda ax: figures.distillations([ax]))


# -- verdicts ------------------------------------------------------------------------------------------------------------------


def test_a_flat_curve_over_mu_holds_a_steep_one_does_not_and_noise_decides_nothing():
    flat = {v: [0.90, 0.905] for v in (0, 1e-4, 1e-2)}
    steep = flat | {1e-4: [0.70, 0.71]}
    assert ddgsd.insensitive(flat, 1000).held is True
    assert ddgsd.insensitive(steep, 1000).held is False
    assert ddgsd.insensitive(flat | {1e-4: [0.88]}, 50).held is None
    assert ddgsd.insensitive(flat | {10: [0.1]}, 1000).held is True, "the overly high value is another claim"
    assert ddgsd.insensitive({10: [0.1], 0: [0.2]}, 100).held is None


def test_an_overly_high_mu_is_compared_with_the_default():
    assert ddgsd.too_much({5e-4: [0.9], 10: [0.5]}, 1000).held is True
    assert ddgsd.too_much({5e-4: [0.9], 10: [0.9]}, 1000).held is None
    assert ddgsd.too_much({5e-4: [0.9]}, 1000).held is None


def test_the_papers_own_ablation_holds_at_the_papers_scale():
    errors = PAPER_ROWS["ResNet-32"]
    rows = {name: [1 - e / 100] for name, e in errors.items()}
    labels, each, best = ddgsd.components(rows, 10**7)  # as if without sampling error
    assert labels.held and each.held and best.held
    assert ddgsd.components(rows | {"two-branch": [0.9]}, 10**7)[0].held is False
    assert ddgsd.components(rows, 400)[2].held is None
    assert ddgsd.components(rows, 400)[0].held is None, "-0.3 ± 6.5 points are no proof that labels alone do not help"


def test_less_reliant_is_a_larger_area():
    assert ddgsd.less_reliant([0.60, 0.61, 0.62], [0.50, 0.51, 0.49]).held is True
    assert ddgsd.less_reliant([0.50, 0.51, 0.49], [0.60, 0.61, 0.62]).held is False
    assert ddgsd.less_reliant([0.6], [0.5]).held is None, "one order has no spread"


def test_no_parameters_are_counted():
    for paper in (ddgsd, self_guidance):
        assert paper.no_parameters(7, 7).held is True and paper.no_parameters(8, 7).held is False


def test_the_schedule_of_a_live_network_falls_to_one_half():
    model = four_stage(10, blocks=2)
    linear_survival(model, 0.5)
    survival = [b.survival for b in residuals(model)]
    assert self_guidance.schedule(survival).held is True
    assert self_guidance.schedule(survival[::-1]).held is False
    assert self_guidance.schedule([0.9, 0.8]).held is False


def test_a_smaller_gap_is_told_from_chance():
    train, test = {"vanilla": 0.99, "self-guidance": 0.85}, {"vanilla": 0.8, "self-guidance": 0.82}
    assert self_guidance.smaller_gap(train, test, 5000, 5000).held is True
    assert self_guidance.smaller_gap(train, test, 20, 20).held is None
    swapped = [{"vanilla": d["self-guidance"], "self-guidance": d["vanilla"]} for d in (train, test)]
    assert self_guidance.smaller_gap(*swapped, 5000, 5000).held is False


def test_stalling_and_improving_are_both_needed():
    stalls, climbs = [0.5] * 8 + [0.5, 0.5], [0.5] * 8 + [0.6, 0.7]
    assert self_guidance.keeps_improving(climbs, stalls, 5000).held is True
    assert self_guidance.keeps_improving(climbs, climbs, 5000).held is False
    assert self_guidance.keeps_improving(stalls, stalls, 5000).held is None
    assert self_guidance.keeps_improving([0.5, 0.6], [0.5, 0.5], 5000).held is None


def test_a_blow_up_is_no_number_or_no_better_than_chance():
    assert self_guidance.blows_up([], 3, 0.1, 400).held is True
    assert self_guidance.blows_up([0.1, 0.11], 1, 0.1, 400).held is True
    assert self_guidance.blows_up([0.6, 0.7], 0, 0.1, 400).held is False
    assert self_guidance.blows_up([0.6], 1, 0.1, 400).held is None
    assert self_guidance.blows_up([], 0, 0.1, 400).held is None


def test_components_of_self_guidance_judge_order_spread_and_likeness():
    def rows(full, zero, still, depth):
        return {"baseline": [0.7], "stochastic depth": depth, "λ = 0": zero, "no teacher backward": still, "full": full}

    good = rows([0.900, 0.901, 0.902], [0.85, 0.851, 0.849], [0.80, 0.70, 0.75], [0.85, 0.851, 0.849])
    assert [v.held for v in self_guidance.components(good, 10**6)] == [True, True, True]
    few = {name: a[:1] for name, a in good.items()}
    assert self_guidance.components(few, 100)[1].held is None
    assert self_guidance.components(good | {"full": [0.1, 0.1, 0.1]}, 10**6)[0].held is False


def test_figure_5_is_judged_by_silhouette_and_likeness():
    rows = {"teacher": [0.1, 0.3], "student A": [0.0, 0.2]}
    assert self_guidance.teacher_is_tighter(rows).held is True and self_guidance.separates(rows).held is True
    assert self_guidance.teacher_is_tighter(rows | {"student B": [0.1, 0.4]}).held is False
    assert self_guidance.separates(rows | {"student B": [0.4, 0.1]}).held is False
    assert self_guidance.students_differ(0.8, 0.99).held is True and self_guidance.students_differ(0.99, 0.98).held is False


def test_the_sampled_student_computes_what_its_schedule_promises():
    from sdkit.analysis import forward_flops
    from sdkit.models import sampled

    model, x = four_stage(10, blocks=2, survival=0.5), torch.randn(2, 3, 8, 8)
    n = len(residuals(model))
    with sampled(model, [True] * n):
        whole = forward_flops(model, x)
    alone = []
    for k in range(n):
        with sampled(model, [i != k for i in range(n)]):
            alone.append(whole - forward_flops(model, x))
    with sampled(model, [False] * n):
        assert forward_flops(model, x) == whole - sum(alone), "every block's branch is counted once"
    assert all(a > 0 for a in alone)
    expected = whole - sum((1 - b.survival) * a for b, a in zip(residuals(model), alone, strict=True))
    assert self_guidance.skipped_cost(expected, expected, whole).held is True
    assert self_guidance.skipped_cost(whole, expected, whole).held is False
    assert math.isclose(expected / whole, 0.72, abs_tol=0.1)


def test_an_experiment_with_a_temperature_of_the_methods_own_choice_can_be_varied():
    base = Experiment(method="ddgsd", data="digits")
    assert replace(base, seed=0).key == base.key
    assert sweep(base, mu=[10])[0].knobs["temperature"] is None
    with pytest.raises(TypeError, match="temperature"):
        Experiment(method="self-guidance", network={"survival": 0.5}, knobs={"temperature": None})
