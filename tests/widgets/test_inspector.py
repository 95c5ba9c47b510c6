"""The loss inspector: its numbers against slow NumPy, its contract for every method, and the panel without a browser."""

from __future__ import annotations

import copy
import math
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import COMBINATIONS, build

from sdkit.core import Batch
from sdkit.experiment import Experiment
from sdkit.figures import LossBoard, loss_board, loss_in_words
from sdkit.losses import ranked
from sdkit.methods import METHODS, Combined, Frozen, Method, RankedTarget, TransportPlans, Vanilla
from sdkit.methods.inspector import FrozenStep, StepReport, step_report
from sdkit.models import four_stage, sampled
from sdkit.train import Recipe
from sdkit.widgets import LossInspector
from sdkit.widgets.parts import KEPT

B, IMAGE = 16, 3
SMALL = {
    "model": "four-stage", "network": {"width": 4}, "data": "digits", "dataset": {"train_size": 128},
    "recipe": Recipe(epochs=2, batch_size=32, lr=0.05),
}  # fmt: skip


def step(name: str, quick: bool = False, **knobs: float) -> FrozenStep:
    """A held step of a small network, trained a little so that its outputs are not all alike. quick: of `build`."""
    model, method, data = build(name, quick=quick)
    with torch.no_grad():
        model.classifier.weight.mul_(4)
    for knob, value in knobs.items():
        setattr(method, knob, value)
    batch, before, *_ = data.batches(B, pair=method.pair or "same image", samples_per_class=method.samples_per_class)
    return FrozenStep(model, method, batch, before, data.mean, data.std)


class Inspecting(Vanilla):
    """A method of one's own with a name that another uses for something else; so are the next two."""

    def inspect(self) -> str:
        return "mine"


class Remembering(Vanilla):
    def __init__(self) -> None:
        super().__init__()
        self.temperature = 2.0

    def remember(self, out, batch, progress):
        self.memory["ranked"] = out.logits


class Learning(Vanilla):
    """It trains a network of its own, behind a name that teachers have."""

    def __init__(self) -> None:
        super().__init__()
        self.net = four_stage(10, width=4)

    def forward_features(self, x):
        return self.net.forward_features(x)

    def terms(self, model, out, batch, progress):
        beside = torch.nn.functional.cross_entropy(self.net.forward_features(batch.x).logits, batch.y)
        return super().terms(model, out, batch, progress) | {"beside": beside}


class Declared(Inspecting, Remembering, Learning):
    """All three, and what they have is said."""

    def __init__(self, teacher) -> None:
        super().__init__()
        self.old = Frozen(teacher)

    def peer_networks(self):
        return {"sister": self.net}

    def targets(self, batch, progress):
        return torch.full((len(batch.y), 10), 0.1)

    def ranked_target(self, out, progress):
        return RankedTarget(self.memory["ranked"].sort().values, 5.0)

    def transport_plans(self, out):
        b = len(out.logits)
        return TransportPlans(torch.ones(1, b, 4, 4) / 16, torch.zeros(b, 1), torch.ones(b, 1))


def inspected(*methods: Method, names=None) -> tuple[FrozenStep, StepReport]:
    model, _, data = build("vanilla")
    batch, before, *_ = data.batches(B, pair="same image")
    held = FrozenStep(model, methods[0] if len(methods) == 1 else Combined(*methods, names=names), batch, before)
    return held, step_report(held, IMAGE)


@pytest.mark.parametrize("kind", [Inspecting, Remembering, Learning])
def test_nothing_is_concluded_from_the_names_in_a_method_of_ones_own(kind):
    _, now = inspected(kind())
    assert now.plan is None and now.ranked is None
    assert now.logits.keys() == {"final"} and now.gradient.get("beside", {}) == {}
    assert LossBoard([str(k) for k in range(10)]).png(now)[:4] == b"\x89PNG"


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("beside", [(), (Vanilla,)])
def test_what_a_method_of_ones_own_declares_is_shown(beside, order):
    torch.manual_seed(0)
    teacher = four_stage(10, width=4)
    methods = [Declared(teacher), *(kind() for kind in beside)]
    held, now = inspected(*methods[::order])
    assert now.logits.keys() == {"final", "old", "sister"}
    close(now.logits["old"], teacher.forward_features(held.batch.x).logits[IMAGE].detach())
    sister = softmax(now.logits["sister"])
    close(now.gradient["beside"]["sister"], (sister - hot(held)) / B)
    memory = next(m for m in held.method.members() if m.memory).memory
    close(now.ranked.target, sorted(softmax(memory["ranked"][IMAGE], 5)))
    assert now.ranked.temperature == 5 and now.plan.plan.shape == (1, 4, 4)
    if not beside:
        close(now.label, np.full(10, 0.1))


def test_teachers_of_one_name_are_each_shown():
    model, both, data = build("kd+cc")
    batch, before, *_ = data.batches(B)
    now = step_report(FrozenStep(model, both, batch, before), IMAGE)
    assert {"kd teacher", "cc teacher"} <= now.logits.keys()


def test_the_held_step_of_sfr_compares_the_blocks_of_its_own_pass():
    model, _, data = build("vanilla")
    method = METHODS["sfr"](model, train_size=100, students="blocks")
    batch, before, *_ = data.batches(B)
    model.forward_features(torch.randn(4, 3, 32, 32))  # a pass over other images leaves nothing behind
    held = FrozenStep(model, method, batch, before)
    plain = held.method.terms(held.model, held.model.forward_features(batch.x), batch, held.progress)
    assert step_report(held, IMAGE).terms["emd"] == pytest.approx(float(plain["emd"]), rel=1e-4)
    assert step_report(held, IMAGE).plan.plan.shape[0] == 3


def softmax(z: torch.Tensor, t: float = 1.0) -> np.ndarray:
    """Of one image, as printed."""
    e = [np.exp(v / t) for v in z.double().tolist()]
    return np.array([v / sum(e) for v in e])


def hot(held: FrozenStep) -> np.ndarray:
    return np.eye(10)[int(held.batch.y[IMAGE])]


def close(a, b) -> None:
    np.testing.assert_allclose(np.asarray(a, dtype=float), b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", [*METHODS, *COMBINATIONS])
def test_every_method_has_a_bench_whose_terms_are_those_of_its_step(name):
    held = step(name, quick=True)
    now = step_report(held, IMAGE)
    assert np.isfinite([*now.terms.values(), now.total]).all() and now.total == pytest.approx(sum(now.terms.values()))
    for p in (*now.distributions.values(), now.label):
        assert p.shape == (10,) and (p >= 0).all() and float(p.sum()) == pytest.approx(1, abs=1e-4)
    for by in now.gradient.values():
        assert by.keys() <= now.logits.keys() and all(torch.isfinite(g).all() for g in by.values())
    for reader, pull in now.summed.items():
        close(pull, sum(by[reader].numpy() for by in now.gradient.values() if reader in by))
    if not held.draws:  # the same terms without listening, every pass made anew
        plain = held.method.terms(held.model, held.out, held.batch, held.progress)
        assert now.terms == pytest.approx({k: float(t) for k, t in plain.items()}, rel=1e-4, abs=1e-6)
    again = step_report(held, IMAGE)
    assert again.terms == now.terms and all(torch.equal(now.logits[k], again.logits[k]) for k in now.logits)
    assert LossBoard([str(k) for k in range(10)]).png(now)[:4] == b"\x89PNG"


def test_cross_entropy_sends_p_minus_y_over_b_to_the_logits():
    held = step("vanilla")
    now = step_report(held, IMAGE)
    close(now.gradient["task"]["final"], (softmax(now.logits["final"]) - hot(held)) / B)


def test_distillation_sends_the_difference_of_the_softened_outputs_times_alpha_t_over_b():
    held = step("kd", alpha=0.7, temperature=3.0)
    now = step_report(held, IMAGE)
    z, t = now.logits["final"], now.logits["teacher"]
    close(now.gradient["kd"]["final"], 0.7 * 3 / B * (softmax(z, 3) - softmax(t, 3)))
    close(now.gradient["task"]["final"], 0.3 / B * (softmax(z) - hot(held)))
    close(now.distributions["teacher"], softmax(t, 3))


def test_the_deepest_exit_pulls_every_shallow_one_and_is_not_pulled():
    held = step("byot", alpha=0.3, temperature=2.0)
    now = step_report(held, IMAGE)
    assert now.gradient["kd"].keys() == {"1/4", "2/4", "3/4"} and now.gradient["hint"] == {}
    deep = now.logits["final"]
    for exit in ("1/4", "2/4", "3/4"):
        z = now.logits[exit]
        close(now.gradient["kd"][exit], 0.3 / (2 * B) * (softmax(z, 2) - softmax(deep, 2)))
        close(now.gradient["head ce"][exit], 0.7 / B * (softmax(z) - hot(held)))
    close(now.logits["ensemble"], np.mean([now.logits[k].numpy() for k in ("1/4", "2/4", "3/4", "final")], axis=0))


def test_the_shallow_classifier_of_drg_pulls_the_whole_network():
    now = step_report(step("drg", alpha=0.5, temperature=2.0), IMAGE)
    z, shallow = now.logits["final"], now.logits["shallow 2"]
    close(now.gradient["rg"]["final"], 0.5 * 2 / B * (softmax(z, 2) - softmax(shallow, 2)))


def test_both_views_of_ddgsd_pull_each_other():
    held = step("ddgsd", lam=2.0, temperature=3.0)
    now = step_report(held, IMAGE)
    a, b = now.logits["final"], now.logits["other view"]
    assert not torch.allclose(a, b) and now.views.shape[0] == 2 and not torch.equal(*now.views)
    for mine, its, reader in ((a, b, "final"), (b, a, "other view")):
        close(now.gradient["kl"][reader], 2 / (3 * B) * (softmax(mine, 3) - softmax(its, 3)))
        close(now.gradient["task"][reader], (softmax(mine) - hot(held)) / B)


def test_the_ranked_shape_is_this_output_sorted_beside_that_of_the_batch_before():
    model, method, data = build("dsr")
    batch, before, *_ = data.batches(B, pair="same image")
    held = FrozenStep(model, method, batch, before)
    now = step_report(held, IMAGE).ranked
    model.train()
    close(now.now, sorted(softmax(held.out.logits[IMAGE], 4)))
    close(now.target, softmax(ranked(model.forward_features(before.x).logits.detach())[IMAGE], 4))
    assert now.temperature == 4


def test_the_label_is_read_as_the_method_softens_it():
    held = step("lsr", epsilon=0.3)
    close(step_report(held, IMAGE).label, 0.7 * hot(held) + 0.03)
    held = step("ps-kd", alpha=0.6)
    close(step_report(held, IMAGE).label, 0.4 * hot(held) + 0.6 * softmax(held.out.logits[IMAGE]))
    held = step("sfr", epsilon=0.2)
    said = softmax(held.out.logits[IMAGE]) * (1 - hot(held))
    close(step_report(held, IMAGE).label, 0.8 * hot(held) + 0.2 * said / said.sum())
    for name in ("vanilla", "kd", "ddgsd", "dlb"):
        held = step(name)
        close(step_report(held, IMAGE).label.round(decimals=3), hot(held))


@pytest.mark.parametrize(
    ("name", "knob", "value", "moved"),
    [
        ("byot", "temperature", 6.0, {"kd"}),
        ("byot", "alpha", 0.9, {"kd", "head ce"}),
        ("byot", "lam", 1e-3, {"hint"}),
        ("dsr", "beta", 3.0, {"sr"}),
        ("ddgsd", "mu", 0.01, {"mmd"}),
        ("self-guidance", "temperature", 8.0, {"kd"}),
        ("sfr", "lam", 0.5, {"emd"}),
        ("sfr", "epsilon", 0.4, {"task"}),
        ("dlb", "temperature", 1.0, {"lb"}),
        ("drg+dsr", "dsr.temperature", 9.0, {"sr"}),
    ],
)
def test_a_knob_moves_its_terms_and_nothing_else(name, knob, value, moved):
    held = step(name)
    before = step_report(held, IMAGE)
    setattr(held.method, knob, value)
    after = step_report(held, IMAGE)
    assert {k for k in before.terms if before.terms[k] != pytest.approx(after.terms[k], rel=1e-6)} == moved
    assert all(torch.equal(before.logits[k], after.logits[k]) for k in before.logits)


def test_the_sampled_network_is_the_one_whose_blocks_are_shown():
    held = step("self-guidance")
    seen = {}
    for draw in range(12):
        now = step_report(held, IMAGE, draw=draw)
        seen[now.blocks.on] = now
        with sampled(held.model, now.blocks.on), torch.no_grad():
            close(now.logits["sub-network"], held.model.forward_features(held.batch.x).logits[IMAGE])
        assert step_report(held, IMAGE, draw=draw).terms == now.terms
    assert len(seen) > 2 and len({now.terms["kd"] for now in seen.values()}) == len(seen)
    assert len({now.terms["task"] for now in seen.values()}) == 1, "the teacher is the whole network"


def test_sinkhorn_plans_move_everything_and_attention_sums_to_one():
    plan = step_report(step("sfr"), IMAGE).plan
    close(plan.plan.sum((1, 2)), np.ones(3))
    assert float(plan.weight.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["self-guidance", "drg+dsr", "ddgsd", "dlb", "mean-teacher"])
def test_a_bench_leaves_everything_as_it_found_it(name):
    if name not in METHODS and "+" not in name:
        pytest.skip(f"{name} is not here")
    model, method, data = build(name)
    model.train()
    batch, before, *_ = data.batches(B, pair="same image")
    weights, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    held = FrozenStep(model, method, batch, before)
    step_report(held, IMAGE)
    setattr(held.method, next(iter(method.knobs)), 1.0)
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m.memory for m in method.modules() if isinstance(m, Method))
    assert "forward_features" not in vars(held.model) and not any("forward" in vars(m) for m in held.method.modules())


def test_an_image_or_a_batch_that_is_not_there_is_refused():
    held = step("vanilla")
    with pytest.raises(IndexError, match="images 0 to 15, got 16"):
        step_report(held, B)
    one = Batch(*(None if t is None else t[:1] for t in held.batch))
    with pytest.raises(ValueError, match="at least 2 images"):
        FrozenStep(held.model, held.method, one, one)


# the panel, without a browser


@pytest.fixture(scope="module")
def trained():
    return Experiment("drg+dsr", **SMALL).run(progress=False)


@pytest.fixture
def panel(trained):
    KEPT.clear()
    return LossInspector(trained, ["byot", "sfr", "self-guidance", "vanilla"])


def test_every_slider_and_choice_gives_another_picture_and_other_numbers(panel):
    for name in ("drg+dsr", "byot", "sfr"):
        panel.method.value = name
        panel.latest.wait(20)
        for knob, slider in panel.sliders.items():
            before, shown = panel.last, panel.picture.value
            slider.value = slider.max if slider.value < slider.max else slider.min
            assert panel.latest.wait(20)
            assert panel.last.terms != before.terms and panel.picture.value != shown, (name, knob)
            assert panel.held(name).method.settings()[knob] == slider.value
    before = panel.last
    panel.image.value = 5
    panel.latest.wait(20)
    assert panel.last.terms == before.terms, "terms are the batch's"
    assert not torch.equal(panel.last.logits["final"], before.logits["final"])
    panel.method.value = "drg+dsr"
    panel.sliders["dsr.temperature"].value = 2.0
    panel.latest.wait(20)
    before = panel.last.distributions["final"]
    panel.soften.value = "dsr.temperature"
    panel.latest.wait(20)
    assert not torch.equal(panel.last.distributions["final"], before)


def test_five_hundred_asks_return_at_once_and_leave_the_last(panel):
    slider = panel.sliders["dsr.beta"]
    drawn, work = [], panel.latest.work
    panel.latest.work = lambda config: (drawn.append(config), work(config))
    began = time.monotonic()
    for i in range(500):
        slider.value = 0.1 + 2.9 * (i + 1) / 500
    took = time.monotonic() - began
    assert panel.latest.wait(30)
    assert drawn[-1].knobs["dsr.beta"] == slider.value == 3.0 and len(drawn) < 400
    assert took < 10, "sliding waits for no drawing"
    alone = step_report(panel.held("drg+dsr"), panel.image.value)
    assert panel.last.terms == pytest.approx(alone.terms)


def test_a_method_that_does_not_fit_says_why_and_changes_nothing(panel):
    before = panel.picture.value
    panel.method.value = "self-guidance"
    panel.latest.wait(20)
    assert "survival" in panel.notice.value and panel.method.value == "drg+dsr" and panel.picture.value == before
    panel.method.value = "vanilla"
    panel.latest.wait(20)
    assert panel.notice.value == "" and panel.picture.value != before


def test_without_a_choice_every_method_that_fits_the_network_is_offered(trained):
    names = LossInspector(trained).names
    assert names[0] == "drg+dsr" and {"vanilla", "byot", "ddgsd", "drg", "dsr", "sfr", "dlb", "ps-kd"} <= {*names}
    assert not {"kd", "self-guidance"} & {*names}, "this run has no teacher, and its network drops no blocks"


def test_the_code_twin_opens_the_same_bench(panel):
    panel.method.value = "byot"
    panel.sliders["alpha"].value = 0.8
    panel.image.value = 7
    panel.latest.wait(20)
    *before, comment, line = panel.code().splitlines()
    KEPT.clear()
    space: dict = {}
    exec("\n".join(before), space)
    again = eval(line, space)
    assert again.last.terms == panel.last.terms and again.picture.value == panel.picture.value
    said = eval(comment.partition(": ")[2], {"Experiment": Experiment, "Recipe": Recipe})
    assert said.method == "byot" and said.knobs["alpha"] == 0.8


def test_the_saved_figure_and_its_numbers_are_those_on_screen(panel, tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    panel.twin.save.click()
    files = sorted(tmp_path.rglob("loss-inspector-1.*"))
    assert [f.suffix for f in files] == [".csv", ".pdf", ".png", ".svg"]
    header, first, *_ = files[0].read_text().splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True))
    assert cells["term"] == "task" and float(cells["value"]) == pytest.approx(panel.last.terms["task"])
    assert float(cells["d task / d logit of final"]) == pytest.approx(float(panel.last.gradient["task"]["final"][0]))


def test_a_rerun_of_the_cell_finds_the_bench_as_it_was_and_two_do_not_disturb_each_other(trained):
    KEPT.clear()
    one = LossInspector(trained, ["byot"])
    one.method.value = "byot"
    one.sliders["temperature"].value = 7.0
    one.image.value = 4
    one.latest.wait(20)
    two = LossInspector(trained, ["byot"])
    assert (two.method.value, two.image.value, two.sliders["temperature"].value) == ("byot", 4, 7.0)
    assert two.picture.value == one.picture.value
    shown = one.picture.value
    two.sliders["temperature"].value = 1.0
    two.latest.wait(20)
    assert one.picture.value == shown and one.held("byot").method.temperature == 7.0


def test_the_board_draws_again_what_it_drew_before(panel):
    """What moves is drawn over a kept background: nothing of an older picture may stay behind."""
    board, classes = LossBoard(panel.trained.data.classes), panel.trained.data.classes
    first, other = step_report(panel.held("drg+dsr"), 0), step_report(panel.held("drg+dsr"), 1, temperature=5.0)
    drawn = board.png(first)
    assert board.png(other) != drawn and board.png(first) == drawn == LossBoard(classes).png(first)
    assert not [a for ax in loss_board(first, classes).axes for a in ax.get_children() if a.get_animated()]


def test_a_move_draws_nothing_anew_that_did_not_change_and_the_picture_is_the_same(panel, monkeypatch):
    held, classes = panel.held("drg+dsr"), panel.trained.data.classes
    board, before = LossBoard(classes), held.method.settings()
    board.png(step_report(held, 3))
    drawn, draw = [], type(board.figure).draw_artist
    try:
        for alpha in (0.3, 0.31, 0.9):
            setattr(held.method, "drg.alpha", alpha)
            report = step_report(held, 3)
            with monkeypatch.context() as patch:
                patch.setattr(type(board.figure), "draw_artist", lambda self, a: (drawn.append(a), draw(self, a))[1])
                shown = board.png(report)
            assert shown == LossBoard(classes).png(report), "nothing is left of what was drawn before"
    finally:
        setattr(held.method, "drg.alpha", before["drg.alpha"])
    said = [a.get_text() for a in drawn if hasattr(a, "get_text")]
    assert f"{report.terms['rg']:.4f}" in said
    assert said.count("softmax at T = 4") <= 1 and sum(s.startswith("sorted output") for s in said) <= 1, said


def test_from_an_image_of_one_batch_to_a_method_that_composes_its_own(trained):
    KEPT.clear()
    panel = LossInspector(trained, ["byot", "softmax-triplet"], image=3)
    panel.method.value = "softmax-triplet"
    assert panel.latest.wait(20) and not panel.notice.value
    assert panel.last.terms.keys() == step_report(panel.held("softmax-triplet"), panel.image.value).terms.keys()
    assert {*panel._left["knobs"]["softmax-triplet"]} == {*panel.held("softmax-triplet").method.knobs}


def wide_report(panel, **values):
    """A report of 20 classes, of which 10 have room; the largest gradient is of one that has none."""
    now = step_report(panel.held("vanilla"), 0)
    z = torch.arange(20.0)
    pull = torch.full((20,), 0.001)
    pull[0] = 0.25
    return now._replace(
        logits={"final": z}, distributions={"final": z.softmax(0)}, label=F.one_hot(torch.tensor(19), 20).float(),
        gradient={"task": {"final": pull}}, summed={"final": pull},
    )._replace(**values)  # fmt: skip


def test_the_largest_gradient_is_the_largest_of_all_classes(panel):
    report, classes = wide_report(panel), [str(k) for k in range(20)]
    said = [t.get_text() for ax in loss_board(report, classes).axes for t in ax.texts]
    assert "0.25" in said and "0.001" not in said
    assert "at most 0.25" in loss_in_words(report, classes)


def test_terms_that_are_no_numbers_or_all_zero_are_drawn_as_they_are(panel, recwarn):
    classes = [str(k) for k in range(20)]
    for value, text in ((math.nan, "nan"), (math.inf, "inf"), (0.0, "0.0000")):
        report = wide_report(panel, terms={"task": value}, total=value)
        assert LossBoard(classes).png(report)
        assert text in [t.get_text() for ax in loss_board(report, classes).axes for t in ax.texts]
    lost = wide_report(panel, gradient={"task": {"final": torch.full((20,), math.nan)}})
    assert "nan" in [t.get_text() for ax in loss_board(lost, classes).axes for t in ax.texts]
    assert not [w for w in recwarn if "identical" in str(w.message)]


def test_an_inspector_that_shows_nothing_says_so_when_it_is_saved(panel):
    panel.last = None
    panel.twin.save.click()
    assert "nothing is shown yet" in panel.twin.saved.value


def test_long_names_of_classes_stay_within_the_board(panel):
    report = step_report(panel.held("byot"), 3)
    figure = loss_board(report, [f"German shorthaired pointer {i}" for i in range(10)])
    figure.draw_without_rendering()
    words = [t for ax in figure.axes for t in (*ax.get_xticklabels(), *ax.texts) if "German" in t.get_text()]
    inside = figure.bbox
    boxes = [t.get_window_extent() for t in words if t.get_visible()]
    assert len(boxes) > 10 and all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= inside.x1 for b in boxes)
    label = next(t for t in words if "label" in t.get_text()).get_window_extent()
    assert all(label.x1 <= t.get_window_extent().x0 for t in figure.axes[1].get_yticklabels())
