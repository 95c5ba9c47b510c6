"""Paper 003: its figures draw what was handed in, its verdicts say no more than the numbers, its networks have four exits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn import illegible, many, on_screen, one

from sdkit import figures
from sdkit.analysis import ExitCost, FixedPolicy, LossSlice, NoiseCurve, PolicyCurve, Projection, Separation, forward_flops
from sdkit.figures import byot as draw
from sdkit.methods import BYOT, EarlyExit
from sdkit.models import MODELS, parameters
from sdkit.papers import byot as checks

EXITS = ["1/4", "2/4", "3/4", "4/4"]
STAGES = [("stage 1", 16, 32), ("stage 2", 32, 16), ("stage 3", 64, 8), ("stage 4", 128, 4)]
STEP = draw.FlowStep
OURS = {
    "traditional distillation": [STEP("teacher", "4 stages × 2 blocks", 2.1, 0.81), STEP("student", "4 stages × 1", 1.5, 0.79)],
    "self distillation": [STEP("all in one", "4 stages × 1", 1.4, 0.82)],
    "plain training": [STEP("baseline", "4 stages × 1", 0.9, 0.79)],
}
REPORTED = {
    "traditional distillation": [STEP("teacher", "ResNet152", 14.67, 0.7921), STEP("student", "ResNet50", 12.31, 0.7933)],
    "self distillation": [STEP("all in one", "ResNet50", 5.87, 0.8104)],
    "plain training": [STEP("baseline", "ResNet50", 4.03, 0.7768)],
}


def curves(relative: bool) -> dict[str, NoiseCurve]:
    sigma = torch.linspace(0, 0.1, 6).double()
    shape = 0.01 * torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    return {
        n: NoiseCurve(sigma, 0.9 - k * sigma[:, None] + shape, 0.3 + 9 * k * sigma[:, None] + shape.abs(), relative)
        for n, k in [("vanilla", 5.0), ("byot", 3.0)]
    }


def slice_(k: float) -> LossSlice:
    at = torch.linspace(-1, 1, 11).double()
    return LossSlice(at, 0.2 + k * at.square(), 0.9 - 0.3 * at.square())


ACCURACY = {"byot": {e: [0.6 + 0.05 * i, 0.62 + 0.05 * i] for i, e in enumerate(EXITS)}}
ACCURACY["dsn"] = {e: [0.58 + 0.055 * i, 0.6 + 0.055 * i] for i, e in enumerate(EXITS)}
SEPARATIONS = {
    e: Separation(0.6 - 0.1 * i, 0.3 + 0.1 * i, (0.6 - 0.1 * i) / (0.3 + 0.1 * i), 0.2, 0.8) for i, e in enumerate(EXITS)
}
Y = torch.arange(200) % 10
NAMES = [f"class {k}" for k in range(10)]
POINTS = {
    e: Projection(0.1 * torch.randn(200, 2, generator=torch.Generator().manual_seed(i)), "PCA", torch.tensor([0.3, 0.2]))
    for i, e in enumerate(EXITS)
}
COSTS = {e: ExitCost(10**6 * (i + 1), 1, 4, 1e-3 * (i + 1)) for i, e in enumerate(EXITS)} | {
    "ensemble": ExitCost(5 * 10**6, 1, 4, 6e-3)
}
DEPTH = dict(zip([*EXITS, "ensemble"], [0.67, 0.78, 0.82, 0.81, 0.83], strict=True))
FIXED = FixedPolicy(
    tuple(EXITS), torch.tensor([0.67, 0.78, 0.82, 0.81]).double(), torch.tensor([1.0, 2.0, 3.0, 4.0]).double() * 1e6
)
SHARE = torch.linspace(0, 1, 21).double()[:, None] * torch.tensor([-0.9, 0.3, 0.3, 0.3]) + torch.tensor([1.0, 0, 0, 0])
CURVE = PolicyCurve(
    torch.linspace(0, 1, 21).double(), 0.67 + 0.15 * torch.linspace(0, 1, 21), SHARE @ FIXED.cost, SHARE, FIXED.exits
)

GALLERY = {
    "training_flow": lambda: many(
        lambda a: draw.training_flow(*a, OURS, REPORTED), columns=2, width=11, height=4.4, width_ratios=[1.7, 1]
    ),
    "architecture": lambda: one(
        lambda a: draw.architecture(a, STAGES, {i: ("bottleneck", 20000 - i) for i in range(3)}, 20, 128), width=10, height=4.8
    ),
    "minima": lambda: one(draw.minima),
    "slices": lambda: one(lambda a: draw.slices({"vanilla": [slice_(9.0), slice_(8.0)], "byot": slice_(4.0)}, a)),
    "noise_accuracy": lambda: many(lambda a: draw.noise_panels([curves(False), curves(True)], a), columns=2),
    "noise_loss": lambda: many(lambda a: draw.noise_panels([curves(False), curves(True)], a, "loss"), columns=2),
    "exit_bars": lambda: one(lambda a: draw.exit_bars(ACCURACY, a, [0.75, 0.76]), width=6.5),
    "exit_pca": lambda: many(lambda a: draw.exit_pca(POINTS, Y, a, 1.0, SEPARATIONS, NAMES), columns=4, width=13, height=3.7),
    "separation_bars": lambda: many(lambda a: draw.separation_bars(SEPARATIONS, a), columns=2, width=9),
    "scalable": lambda: many(lambda a: draw.scalable(DEPTH, COSTS, a, 0.79, "4/4"), columns=2, width=10),
    "thresholds": lambda: many(lambda a: draw.thresholds(CURVE, FIXED, a), columns=2, width=10.5),
}


def test_panels_of_features_are_of_one_scale_centred_and_name_their_classes():
    _, axes = figures.new(columns=2, width=9)
    points = {name: POINTS[name]._replace(points=POINTS[name].points + 7) for name in EXITS[:2]}
    draw.exit_pca(points, Y, axes, 2.0, SEPARATIONS, NAMES)
    for ax, p in zip(axes, points.values(), strict=True):
        middle = ((p.points.amax(0) + p.points.amin(0)) / 2).tolist()
        for (low, high), at in zip((ax.get_xlim(), ax.get_ylim()), middle, strict=True):
            assert high - low == pytest.approx(2.0) and (high + low) / 2 == pytest.approx(at, abs=1e-5)
    assert [t.get_text() for t in axes[-1].get_legend().get_texts()] == [NAMES[k] for k in sorted(set(Y.tolist()))]


@pytest.mark.parametrize("name", GALLERY)
def test_every_figure_draws_without_a_warning_and_all_its_words_can_be_read(name):
    assert on_screen(GALLERY[name])[1] == []


@pytest.mark.parametrize("name", GALLERY)
def test_every_figure_can_be_read_in_a_column(name):
    assert illegible(GALLERY[name], "column") == []


# --- what is drawn is what was handed in ---


def test_the_flow_names_every_time_and_its_bars_are_multiples_of_plain_training():
    flow, bars = GALLERY["training_flow"]().axes
    words = " ".join(t.get_text() for t in flow.texts)
    assert all(f"{s.time:g} h" in words for steps in REPORTED.values() for s in steps) and "81.04 %" in words
    ends = sorted(round(p.get_x() + p.get_width(), 4) for p in bars.patches)
    totals = [(2.1, 2.1 + 1.5, 1.4, 0.9), (14.67, 14.67 + 12.31, 5.87, 4.03)]
    assert ends == pytest.approx(sorted(t / side[-1] for side in totals for t in side), abs=1e-3)
    with pytest.raises(ValueError, match="same lanes"):
        draw.training_flow(flow, bars, OURS, {"plain training": []})


def test_the_architecture_shows_the_live_networks_numbers_and_all_three_sources_of_loss():
    ax = GALLERY["architecture"]().axes[0]
    words = " ".join(t.get_text() for t in ax.texts)
    assert all(f"{c} × {s} × {s}" in words for _, c, s in STAGES) and "20,000 weights" in words
    assert len([t for t in ax.get_legend().get_texts()]) == 3
    colours = [t.arrow_patch.get_edgecolor() for t in ax.texts if getattr(t, "arrow_patch", None)]
    assert len({tuple(c) for c in colours}) == 4  # the pass, labels, KL, hint
    with pytest.raises(ValueError, match=r"stages 0\.\.2"):
        draw.architecture(ax, STAGES, {3: ("linear", 1)}, 20, 128)


def test_a_shift_costs_the_sharp_minimum_more_than_the_flat_one():
    rises = [line.get_ydata() for line in GALLERY["minima"]().axes[0].lines if line.get_linewidth() == 2.4]
    costs = [np.ptp(y) for y in rises if len(y) == 2]
    assert costs[1] > 5 * costs[0] > 0


def test_noise_panels_draw_means_over_draws_and_refuse_to_mix_kinds():
    ax = GALLERY["noise_accuracy"]().axes[0]
    byot = next(line for line in ax.lines if line.get_label() == "BYOT")
    assert byot.get_ydata() == pytest.approx((100 * curves(False)["byot"].accuracy.mean(1)).tolist())
    with pytest.raises(ValueError, match="all absolute or all relative, got 2 kinds"):
        draw.noise_panels([{"a": curves(False)["byot"], "b": curves(True)["byot"]}], [ax])


def test_acceleration_is_the_whole_networks_cost_over_the_exits():
    ax = GALLERY["scalable"]().axes[0]
    at = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_linestyle() == "None"}
    assert at["1/4"] == pytest.approx((4.0, 67.0)) and at["4/4"][0] == 1 and at["ensemble"][0] == pytest.approx(0.8)


# --- verdicts ---


def test_one_step_is_faster_only_where_the_times_do_not_overlap():
    from sdkit.analysis import Timing

    def timing(low, high):
        return Timing((low + high) / 2, low, high, torch.zeros(1))

    slow, quick = timing(2.0, 2.2), timing(1.0, 1.2)
    assert checks.one_step({"teacher": slow, "kd": slow, "byot": quick}, [0.8], [0.7], 1000)[0].held is True
    assert checks.one_step({"teacher": quick, "kd": quick, "byot": slow}, [0.8], [0.7], 1000)[0].held is None
    assert checks.one_step({"teacher": quick, "kd": quick, "byot": timing(3, 4)}, [0.8], [0.7], 1000)[0].held is False


def test_tolerance_is_the_area_under_the_curve_paired_by_draw():
    sigma, ours = [0.0, 1.0, 3.0], [[0.9, 0.9], [0.8, 0.7], [0.4, 0.3]]
    base = [[0.9, 0.9], [0.7, 0.6], [0.2, 0.1]]
    verdict = checks.tolerates_noise(sigma, ours, base, "accuracy", "absolute")
    assert verdict.held is True
    # trapezoids by hand: (0.85 + 2 x 0.6) / 3 and (0.8 + 2 x 0.5) / 3, their mean
    assert f"{((0.85 + 1.2) / 3 + (0.8 + 1.0) / 3) / 2:.1%}" in verdict.measured
    assert checks.tolerates_noise(sigma, ours, base, "loss", "absolute").held is False
    assert checks.tolerates_noise(sigma, ours, ours, "accuracy", "absolute").held is None


def test_gradients_are_compared_by_ratio_over_groups_of_batches():
    assert checks.larger_gradients([2.0, 2.2, 1.9], [1.0, 1.0, 1.0], "").held is True
    assert checks.larger_gradients([0.5, 0.55, 0.45], [1.0, 1.0, 1.0], "").held is False
    assert checks.larger_gradients([2.0, 0.5], [1.0, 1.0], "").held is None
    assert checks.larger_gradients([2.0], [1.0], "").held is None


def test_separation_must_fall_at_every_step_to_hold():
    falls = {"1/3": [0.9, 0.91], "2/3": [0.5, 0.52], "3/3": [0.2, 0.23]}
    assert checks.separates_with_depth(falls).held is True
    assert checks.separates_with_depth(falls | {"3/3": [0.7, 0.73]}).held is False


def test_deep_supervision_is_compared_exit_by_exit_and_the_shallow_half_with_the_deep_one():
    dsn = {e: [0.5, 0.52, 0.51] for e in EXITS}
    ours = {e: [a + g for a in dsn[e]] for e, g in zip(EXITS, (0.21, 0.2, 0.15, 0.16), strict=True)}
    ours["1/4"][0] += 0.001  # a spread, however small
    every, more = checks.beats_deep_supervision(ours, dsn, 2000)
    assert every.held is True and more.held is True
    every, more = checks.beats_deep_supervision({e: v[:1] for e, v in ours.items()}, {e: v[:1] for e, v in dsn.items()}, 2000)
    assert more.held is None


def test_a_network_is_cut_at_the_cheapest_exit_that_suffices():
    cost = {e: i + 1.0 for i, e in enumerate(EXITS)}
    verdict = checks.cut_to_target(DEPTH | {}, cost | {"ensemble": 5.0}, 0.775)
    assert verdict.held and "2/4" in verdict.measured and "40%" in verdict.measured
    assert checks.cut_to_target({"4/4": 0.7}, {"4/4": 1.0}, 0.8).held is False
    assert checks.cut_to_target({"1/2": 0.5, "2/2": 0.9}, {"1/2": 1.0, "2/2": 2.0}, 0.8).held is False


def test_a_threshold_policy_that_is_better_by_a_hair_cannot_be_told():
    fixed = {"2/4": 0.7, "3/4": 0.75}
    assert checks.beats_fixed_exits({"2/4": 0.701, "3/4": 0.751}, fixed, 500).held is None
    assert checks.beats_fixed_exits({"2/4": 0.9, "3/4": 0.92}, fixed, 500).held is True
    assert checks.beats_fixed_exits({"2/4": 0.9, "3/4": 0.6}, fixed, 500).held is False


# --- four exits on networks of three stages ---


@pytest.mark.parametrize(("name", "options"), [("resnet20", {}), ("resnet32", {}), ("resnet56", {"block": "bottleneck"})])
def test_four_sections_are_the_same_network_tapped_once_more(name, options):
    torch.manual_seed(0)
    three = MODELS[name](num_classes=7, width=4, **options).eval()
    torch.manual_seed(0)
    four = MODELS[name](num_classes=7, width=4, sections=4, **options).eval()
    assert parameters(three) == parameters(four)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        a, b = three.forward_features(x), four.forward_features(x)
    assert torch.equal(a.logits, b.logits) and torch.equal(a.embedding, b.embedding)
    assert len(b.stages) == 4 and all(torch.equal(s, t) for s, t in zip(a.stages, (*b.stages[:2], b.stages[3]), strict=True))
    assert [f.shape[1] for f in b.stages] == list(four.channels) and four.strides == (1, 2, 4, 4)
    assert forward_flops(three, x) == forward_flops(four, x)


def test_byot_has_four_exits_on_a_cifar_resnet_of_four_sections_and_each_can_be_cut():
    model = MODELS["resnet20"](num_classes=7, width=4, sections=4).eval()
    for head in ("bottleneck", "separable"):
        method = BYOT(model, head=head).eval()
        x = torch.randn(2, 3, 32, 32)
        exits = method.exits(model.forward_features(x), x)
        assert [*exits] == ["final", "1/4", "2/4", "3/4", "4/4", "ensemble"]
        for name, part in method.auxiliary_heads().items():
            assert torch.allclose(EarlyExit(model, part)(x), exits[name], atol=1e-5)
    assert "halve" in str(pytest.raises(ValueError, MODELS["resnet20"].func, 8, 7, sections=4).value)
    assert "3 stages" in str(pytest.raises(ValueError, MODELS["resnet20"], num_classes=7, sections=5).value)
