"""The analysis viewers without a browser: what they show is what the analyses say, and the last event wins."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from sdkit import analysis, figures
from sdkit.experiment import Experiment, Trained
from sdkit.train import Recipe
from sdkit.widgets import CamViewer, FeatureViewer, NoiseViewer, RankedViewer
from sdkit.widgets.features import LOGITS
from sdkit.widgets.parts import KEPT
from sdkit.widgets.viewer import checked

TINY = {"model": "four-stage", "network": {"width": 4}, "recipe": Recipe(epochs=3, batch_size=32, lr=0.05)}
SIGMAS = {True: (0, 0.2, 0.5), False: (0, 0.02, 0.05)}


@pytest.fixture(scope="module")
def runs():
    return {m: Experiment(m, data="digits", dataset={"train_size": 96}, **TINY).run(progress=False) for m in ("vanilla", "drg")}


@pytest.fixture(scope="module")
def with_masks():
    return {m: Experiment(m, data="shapes", dataset={"train_size": 64}, **TINY).run(progress=False) for m in ("vanilla", "drg")}


@pytest.fixture(autouse=True)
def forget():
    KEPT.clear()


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch, request):
    """The runs stay where the session keeps them; what is saved goes where the test looks."""
    request.getfixturevalue("runs")
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path_factory.mktemp("home")))


def settled(viewer):
    assert viewer.wait(60)
    assert viewer.notice.value == ""
    return viewer


def small_noise(runs):
    return settled(NoiseViewer(runs, limit=64, draws=2, sigmas=SIGMAS))


# the analyses


def test_noisy_logits_are_those_of_the_curve_s_draw(runs):
    model = runs["drg"].model
    x, y = runs["drg"].images("train", 64)
    for relative in (True, False):
        curve = analysis.noise_tolerance(model, x, y, SIGMAS[relative], draws=3, relative=relative, seed=4)
        for s, sigma in enumerate(SIGMAS[relative]):
            for draw in range(3):
                z = analysis.noisy_logits(model, x, sigma, relative, seed=4, draw=draw)
                assert (z.argmax(1) == y).double().mean() == pytest.approx(float(curve.accuracy[s, draw]))
                loss = nn.functional.cross_entropy(z.double(), y)
                assert float(loss) == pytest.approx(float(curve.loss[s, draw]), rel=1e-6)


def test_noise_gives_the_weights_back_bit_for_bit(runs):
    model = runs["vanilla"].model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x, _ = runs["vanilla"].images("train", 8)
    clean = analysis.noisy_logits(model, x, 0.0)
    assert not torch.equal(clean, analysis.noisy_logits(model, x, 0.3, relative=True))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_step_of_noise_is_its_length_over_the_weights():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(300, 300), nn.Linear(300, 300))
    w = [m.weight.detach().double() for m in net]
    length = math.sqrt(sum(float((x**2).sum()) for x in w))
    drawn = [torch.randn(x.shape, dtype=torch.float64) for x in w]
    absolute = math.sqrt(sum(float((e**2).sum()) for e in drawn)) / length
    relative = math.sqrt(sum(float(((e * x.std()) ** 2).sum()) for e, x in zip(drawn, w, strict=True))) / length
    assert analysis.noise_step(net) == pytest.approx(absolute, rel=0.01)
    assert analysis.noise_step(net, relative=True) == pytest.approx(relative, rel=0.01) == pytest.approx(1, rel=0.01)


def test_ranked_profile_is_the_mean_and_spread_of_each_rank():
    g = np.random.default_rng(0)
    z = g.normal(size=(2, 7, 5))
    for space in analysis.SPACES:
        found = analysis.ranked_profile(torch.tensor(z), space, top=3)
        for e in range(2):
            rows = []
            for row in z[e]:
                if space == "probabilities":
                    row = np.exp(row) / np.exp(row).sum()
                if space == "standardised":
                    row = (row - row.mean()) / row.std()
                rows.append(sorted(row, reverse=True))
            rows = np.array(rows)
            assert np.allclose(found.mean[e], rows.mean(0)[:3]) and np.allclose(found.sd[e], rows.std(0)[:3])
            assert float(found.variance[e]) == pytest.approx(rows.var(0).mean())
            assert float(found.variance[e]) == pytest.approx(float(analysis.ranked_output_variance(torch.tensor(z[e]), space)))


def test_iou_with_the_object_by_hand():
    heat = torch.tensor([[[0.9, 0.8], [0.1, 0.0]]])
    assert analysis.mask_iou(heat, torch.tensor([[[True, True], [False, False]]])).item() == 1
    assert analysis.mask_iou(heat, torch.tensor([[[False, False], [True, True]]])).item() == 0
    assert analysis.mask_iou(heat, torch.tensor([[[True, False], [True, False]]])).item() == pytest.approx(1 / 3)
    assert analysis.mask_iou(heat, torch.zeros(1, 2, 2, dtype=torch.bool)).isnan().all()


def test_nearest_measures_in_pixels_of_the_picture():
    places = torch.tensor([[0.5, 0.5], [0.8, 0.9]])
    assert analysis.nearest([places], 0.6, 0.7) == 0
    assert analysis.nearest([places], 0.7, 0.7, aspect=2.0) == 1, "0.2 of a wide picture is further than 0.2 of its height"
    assert analysis.nearest([places, places.flip(0)], 0.8, 0.88) == 0, "any panel counts; of two as near, the first image"


def test_every_level_says_its_own_mean_and_nothing_else_is_made_up(runs):
    curve = analysis.NoiseCurve(torch.tensor([0.0, 1.0]), torch.tensor([[1.0, 1.0], [0.2, 0.4]]), torch.zeros(2, 2), False)
    assert analysis.noise_level(curve, 1)[:3] == pytest.approx((1.0, 0.3, 0.1))
    with pytest.raises(ValueError, match="levels 0 to 1, got 2"):
        analysis.noise_level(curve, 2)


def test_all_epochs_of_a_training_share_their_axes():
    outputs = torch.randn(3, 20, 4, generator=torch.Generator().manual_seed(0))
    planes = analysis.project_epochs(outputs)
    every = analysis.project_pca(outputs.reshape(60, 4)).points
    assert torch.equal(torch.cat([p.points for p in planes]), every)


def test_a_still_with_artists_on_top_is_the_figure_with_them():
    curves = {"drg": analysis.NoiseCurve(torch.tensor([0.0, 0.5]), torch.rand(2, 3), torch.rand(2, 3), True)}
    figure, axes = figures.new(columns=2)
    figures.noise(curves, *axes)
    still = figures.CachedFigure(figure)
    bare = still.png()
    one, two = (still.png(figures.noise_marks(curves, level, axes)) for level in (0, 1))
    assert one != two != bare != one
    assert still.png(figures.noise_marks(curves, 0, axes)) == one and still.png() == bare, "nothing is left behind"


# the viewers


def test_noise_is_read_off_at_its_levels(runs):
    viewer = small_noise(runs)
    x, y = runs["drg"].images("train", 64)
    for relative in (True, False):
        viewer.relative.value = relative
        settled(viewer)
        curve = analysis.noise_tolerance(runs["drg"].model, x, y, SIGMAS[relative], 2, relative)
        for level in range(3):
            before = viewer.curves.value
            viewer.level.value = level
            settled(viewer)
            assert f"{float(curve.accuracy[level].mean()):.1%} ±" in viewer.says.value
            assert f"σ = {SIGMAS[relative][level]:g}," in viewer.says.value
            if level:
                assert viewer.curves.value != before
    assert [label for label, _ in viewer.level.options] == ["0", "0.02", "0.05"]


def test_a_fresh_draw_changes_the_answers_and_not_the_curves(runs):
    viewer = small_noise(runs)
    viewer.level.value = 2
    settled(viewer)
    curves, cards = viewer.curves.value, viewer.cards.value
    viewer.fresh.click()
    settled(viewer)
    assert viewer.curves.value == curves and viewer.cards.value != cards and "draw 2" in viewer.words.value
    x, _ = runs["drg"].images("train", 8)
    logits = analysis.noisy_logits(runs["drg"].model, x, 0.5, True, draw=1)
    assert torch.equal(viewer.answers(viewer.state())["drg"].label, logits.argmax(1))


def test_features_follow_exit_classes_engine_and_point(runs):
    viewer = settled(FeatureViewer(runs, limit=200, per_class=12))
    seen = {viewer.plane.value}

    def moved():
        settled(viewer)
        assert viewer.plane.value not in seen
        seen.add(viewer.plane.value)

    viewer.point.value = 7
    moved()
    at = int(analysis.of_classes(runs["drg"].data.test.y[:200], range(10), 12)[7])
    says = analysis.answers(runs["drg"].logits()[at : at + 1])
    assert f"test image {at}," in viewer.about.value and f"{float(says.confidence):.1%}" in viewer.about.value
    viewer.count.value = 4
    assert viewer.classes.value == (0, 1, 2, 3)
    moved()
    viewer.classes.value = (2, 5, 7)
    moved()
    viewer.feature.value = "shallow 2"
    moved()
    planes, apart = viewer.planes(viewer.state())
    assert list(planes) == ["drg"], "vanilla has no such exit"
    x, _ = runs["drg"].images("test", 200)
    features = analysis.collect_features(runs["drg"].features, x)["shallow 2"][viewer.places((2, 5, 7), "shallow 2")]
    assert torch.allclose(planes["drg"].points, analysis.project_pca(features).points, atol=1e-4)
    assert apart["drg"].silhouette == pytest.approx(
        analysis.separation_of(features, runs["drg"].data.test.y[viewer.places((2, 5, 7), "shallow 2")]).silhouette, abs=1e-4
    )
    viewer.engine.value = "sklearn"
    moved()
    assert viewer.epoch.disabled


def test_logits_move_along_the_recorded_epochs(runs):
    viewer = settled(FeatureViewer(runs, limit=200, per_class=12))
    viewer.feature.value = LOGITS
    settled(viewer)
    assert not viewer.epoch.disabled and [e for _, e in viewer.epoch.options] == [0, 1, 2]
    pictures = set()
    for epoch in range(3):
        viewer.epoch.value = epoch
        settled(viewer)
        pictures.add(viewer.plane.value)
        assert f"epoch {epoch + 1}" in viewer.says.value
    assert len(pictures) == 3


def test_the_pointer_finds_the_nearest_point_and_keys_walk(runs):
    viewer = settled(FeatureViewer(runs, limit=200, per_class=5))
    state = viewer.state()
    planes, _ = viewer.planes(state)
    still = viewer.frames[viewer.frame_of(state)]
    for panel, name in enumerate(planes):
        spots = still.places(still.figure.axes[panel], planes[name].points)
        alone = int(torch.cdist(spots, spots).fill_diagonal_(9).amin(1).argmax())  # the point with the most room around it
        viewer.plane.hover = tuple(spots[alone].tolist())
        settled(viewer)
        assert viewer.point.value == alone
    viewer.plane.hover = None
    viewer.point.value = viewer.point.max
    viewer.plane.pressed = ("ArrowRight", 1)
    assert viewer.point.value == 0, "behind the last comes the first"
    viewer.plane.pressed = ("ArrowRight", 2)
    viewer.plane.pressed = ("ArrowRight", 3)
    viewer.plane.pressed = ("ArrowLeft", 4)
    assert viewer.point.value == 1


def test_heat_maps_and_their_overlap_are_the_analyses(with_masks):
    viewer = settled(CamViewer(with_masks, limit=6))
    run, seen = with_masks["drg"], set()
    x, y = run.images("test", 6)
    exits = ("final", "shallow 2")
    for target, wanted in (("answer", None), ("true", y), (3, torch.full_like(y, 3))):
        viewer.target.value = target
        viewer.image.value = 4
        settled(viewer)
        assert viewer.maps.value not in seen
        seen.add(viewer.maps.value)
        layers = {"final": run.model.stages[-1], "shallow 2": run.method.auxiliary_heads()["shallow 2"]}
        maps = {e: analysis.grad_cam(run.exit(e), x, analysis.last_convolution(layers[e]), wanted).map for e in exits}
        shown = viewer.shown_maps(viewer.state())["drg"]
        assert all(torch.allclose(shown[e], maps[e][4], atol=1e-5) for e in exits)
        iou = analysis.mask_iou(maps["final"][4:5], run.data.test.mask[4:5])
        row = next(r for r in viewer.measured(viewer.state()) if (r["run"], r["exit"]) == ("drg", "final"))
        assert row["IoU with the object"] == pytest.approx(float(iou))
        both = float(analysis.overlap(maps["final"][4:5], maps["shallow 2"][4:5], 0.2))
        assert f'DRG final and DRG shallow 2</td><td style="padding: 0 1.2em 0 0">{both:.2f}' in viewer.says.value
    before = viewer.says.value
    viewer.top.value = 0.5
    settled(viewer)
    assert viewer.says.value != before and viewer.maps.value in seen
    viewer.exits.value = ("final",)
    settled(viewer)
    assert viewer.maps.value not in seen
    viewer.exits.value = ()
    viewer.wait()
    assert "choose one or more" in viewer.notice.value


def test_ranked_outputs_follow_epoch_space_and_k(runs):
    viewer = settled(RankedViewer(runs))
    outputs, accuracy = runs["drg"].ranked()
    seen = set()
    for space in analysis.SPACES:
        viewer.space.value = space
        for epoch in range(3):
            viewer.epoch.value = epoch
            settled(viewer)
            assert f"{float(analysis.ranked_output_variance(outputs[epoch], space)):.3g}" in viewer.says.value
            assert f"{float(accuracy[epoch]):.1%}" in viewer.says.value
            seen.add(viewer.curves.value)
    assert len(seen) == 9
    viewer.top.value = 4
    settled(viewer)
    assert viewer.curves.value not in seen


def test_only_recorded_epochs_can_be_chosen(runs):
    viewer = settled(RankedViewer(runs))
    assert [e for _, e in viewer.epoch.options] == [0, 1, 2]
    with pytest.raises(Exception, match="(?i)invalid"):
        viewer.epoch.value = 7


@pytest.mark.parametrize("kind", [NoiseViewer, FeatureViewer, CamViewer, RankedViewer])
def test_five_hundred_events_leave_the_last(runs, kind):
    viewer = small_noise(runs) if kind is NoiseViewer else settled(kind(runs))
    box = {"noise-viewer": "level", "feature-viewer": "point", "cam-viewer": "image", "ranked-viewer": "epoch"}[viewer.name]
    box, picture = getattr(viewer, box), {"feature-viewer": "plane", "cam-viewer": "maps"}.get(viewer.name, "curves")
    box.value = 2
    settled(viewer)
    expected = getattr(viewer, picture).value, viewer.says.value
    drawn, draw = [], viewer.draw
    viewer.draw = lambda state: (drawn.append(state), draw(state))
    began = time.monotonic()
    for i in range(500):
        box.value = i % 2 if i < 499 else 2
    config = time.monotonic() - began
    settled(viewer)
    assert (getattr(viewer, picture).value, viewer.says.value) == expected
    assert drawn[-1] == viewer.state() and len(drawn) < 250 and config < 5, "asking neither waits nor queues up"


@pytest.mark.parametrize("kind", [NoiseViewer, FeatureViewer, CamViewer, RankedViewer])
def test_the_copied_code_draws_what_is_on_screen_and_the_files_hold_it(runs, with_masks, kind, monkeypatch):
    runs = with_masks if kind is CamViewer else runs
    viewer = small_noise(runs) if kind is NoiseViewer else settled(kind(runs))
    getattr(
        viewer, {"noise-viewer": "level", "cam-viewer": "image", "feature-viewer": "point"}.get(viewer.name, "epoch")
    ).value = 1
    settled(viewer)
    viewer.export.copy.click()
    assert "Experiment(" in viewer.export.shown.value
    kept = {str(t.experiment): t for t in runs.values()}
    monkeypatch.setattr(Experiment, "run", lambda self: kept[str(self)])
    space: dict = {}
    exec(viewer.code(), space)
    assert figures.png(space["figure"]) == figures.png(viewer.figure())
    viewer.export.save.click()
    assert "PNG, PDF, SVG, CSV" in viewer.export.saved.value
    columns = viewer.data()
    assert len({len(v) for v in columns.values()} - {viewer_top(viewer)}) <= 1 and all(len(v) for v in columns.values())


def viewer_top(viewer) -> int:
    return viewer.top.value if viewer.name == "ranked-viewer" else -1


def test_a_cell_that_runs_again_finds_its_results_and_its_sliders(runs):
    first = small_noise(runs)
    first.level.value, first.relative.value = 1, False
    settled(first)
    again = NoiseViewer(runs, limit=64, draws=2, sigmas=SIGMAS)
    assert again.ready(again.state()), "nothing is computed twice"
    settled(again)
    assert (again.level.value, again.relative.value) == (1, False) and again.curves.value == first.curves.value


def test_two_viewers_do_not_disturb_each_other(runs):
    one, two = NoiseViewer(runs, limit=64, draws=2, sigmas=SIGMAS), CamViewer(runs, limit=4)
    settled(one)
    settled(two)
    held = two.maps.value, two.image.value
    one.level.value = 2
    settled(one)
    assert (two.maps.value, two.image.value) == held
    KEPT.clear()
    assert settled(CamViewer(runs, limit=4)).maps.value == held[0], "heat maps beside weight noise are those without it"


def test_a_viewer_says_what_it_takes(runs, with_masks):
    with pytest.raises(TypeError, match="finished runs by name"):
        RankedViewer([*runs.values()])
    with pytest.raises(ValueError, match="same images, got a: digits, b: shapes"):
        RankedViewer({"a": runs["drg"], "b": with_masks["drg"]})
    viewer = settled(FeatureViewer(runs, limit=200, per_class=1))
    viewer.classes.value = (1, 2)
    viewer.wait()
    assert "three or more images, got 2" in viewer.notice.value


def test_runs_of_two_folders_or_seeds_are_of_other_images_and_the_sentence_says_which(runs):
    one, other = (
        Trained(replace(runs["drg"].experiment, dataset={"train_size": 96, "seed": seed}), runs["drg"].run) for seed in (0, 1)
    )
    with pytest.raises(ValueError, match=r"a: digits \(seed 0\), b: digits \(seed 1\)"):
        checked({"a": one, "b": other})
    folders = [SimpleNamespace(data="image_folder", config={"dataset": {"folder": f, "seed": 0}}) for f in ("cats", "dogs")]
    for trained, experiment in zip((one, other), folders, strict=True):
        trained.experiment = experiment
    with pytest.raises(ValueError, match=r"a: image_folder \(folder cats\)"):
        checked({"a": one, "b": other})


def test_levels_of_two_kinds_may_be_of_two_lengths(runs):
    viewer = settled(NoiseViewer(runs, limit=32, draws=1, sigmas={True: (0, 0.1, 0.2, 0.4), False: (0, 0.02)}))
    viewer.level.value = 3
    settled(viewer)
    viewer.relative.value = False
    settled(viewer)
    assert viewer.level.value == 1 and "σ = 0.02" in viewer.says.value


def test_without_an_exit_there_is_nothing_to_save_and_the_sentence_says_so(runs):
    viewer = settled(CamViewer(runs, limit=4))
    viewer.exits.value = ()
    viewer.wait()
    viewer.export.save.click()
    assert "no exit is chosen" in viewer.export.saved.value


def test_what_the_maps_explain_is_said_to_those_who_do_not_see_them(runs):
    viewer = settled(CamViewer(runs, limit=4))
    viewer.target.value = 7
    settled(viewer)
    assert f"for class {runs['drg'].data.classes[7]}" in viewer.page.texts["sdkit-maps"]


def test_two_classes_whose_standardised_outputs_never_differ_have_a_scale(recwarn):
    outputs = torch.tensor([[[1.0, 2.0], [5.0, 3.0]]])
    along = {"drg": analysis.ranked_profile(outputs, "standardised")}
    _, axes = figures.ranked_panels()
    assert figures.ranked_view(along, {"drg": [0]}, axes[0]).get_ylim() == (0, 1)
    assert not [w for w in recwarn if "identical" in str(w.message)]
