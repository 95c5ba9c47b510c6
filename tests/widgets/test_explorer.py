"""The explorer on recorded runs that were written without training: what it shows is what the folders hold."""

from __future__ import annotations

import csv
import io
import math
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from written import SMALL, accuracy_of, drg, row, write

from sdkit import figures, runs, studies
from sdkit.experiment import Experiment
from sdkit.figures.screens.explorer import nearest, places, ring, words
from sdkit.runs import Run, table
from sdkit.train import Epoch, Recipe
from sdkit.widgets.descriptions import line
from sdkit.widgets.explorer import Explorer

ALPHAS, SEEDS = (0.1, 0.2, 0.6), (0, 1)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def many(home) -> dict[str, Run]:
    """A sweep of alpha at two seeds without one corner, vanilla, BYOT, and every state a folder can be in."""
    found = {f"drg {a} {s}": write(drg(a, s)) for a in ALPHAS for s in SEEDS if (a, s) != (0.6, 1)}
    found |= {f"vanilla {s}": write(Experiment("vanilla", seed=s, **SMALL)) for s in SEEDS}
    found["byot"] = write(Experiment("byot", **SMALL))
    found["steered"] = write(drg(0.1, 7), turned=True)
    found["half"] = write(Experiment("dsr", **SMALL), status="training", epochs=2)
    found["empty"] = write(Experiment("dsr", seed=1, **SMALL), status="training", epochs=0)
    found["diverged"] = write(Experiment("dsr", seed=2, **SMALL), status="diverged", epochs=0)
    found["damaged"] = write(Experiment("dsr", seed=3, **SMALL))
    (found["damaged"].folder / "history.json").write_text('{"status": "do')
    return found


def said(code: str) -> str:
    """The experiment in the code of a run."""
    return code.partition("run = ")[2].partition(".run()")[0]


# the table of runs


def test_a_row_holds_what_was_asked_and_what_came_out(many):
    r = row(many["drg 0.2 1"])
    assert r.status == "done" and not r.wrong
    assert (r["method"], r["knobs.alpha"], r["seed"], r["recipe"], r["recipe.lr"]) == ("drg", 0.2, 1, "own", 0.05)
    assert r["network.width"] == 4 and r["dataset.train_size"] == 128 and r["teacher"] is None
    assert r["accuracy.final"] == pytest.approx(0.57), "of the last epoch"
    assert r["best.final"] == pytest.approx(0.60), "of the best one"
    assert (r["accuracy.shallow 2"], r["seconds"], r["epochs"]) == (0.3, 6.0, 3)
    assert r["loss"] == pytest.approx(1.3) and r["train_accuracy"] == pytest.approx(0.6) and r["terms.kd"] == 0.5
    assert (r["parameters"], r["scaffolding"]) == (116, 10), "buffers are no parameters"
    assert r["no such column"] is None


def test_one_bad_folder_hides_no_other_and_says_its_mend(many):
    table = runs.records()
    assert len(table) == len(many)
    bad = row(many["damaged"])
    assert bad.status == "damaged" and "delete the folder" in bad.wrong and str(bad.run.folder) in bad.wrong
    (many["half"].folder / "experiment.json").write_text('{"config": {"method": 3}}')
    assert row(many["half"]).status == "damaged"
    assert {row(many[n]).status for n in ("empty", "diverged", "byot")} == {"training", "diverged", "done"}


def test_only_what_changed_is_read_again(many, monkeypatch):
    runs.records()
    read = []
    inner = table.row_of
    monkeypatch.setattr(table, "row_of", lambda run: read.append(run.key) or inner(run))
    runs.records()
    assert read == []
    write(Experiment("dsr", **SMALL), status="training", epochs=3)
    assert row(many["half"])["epochs"] == 3 and read == [many["half"].key]


def test_means_join_runs_that_differ_only_in_seed_and_place(many):
    table = runs.select(runs.records(), method="drg")
    points = runs.points(table, "knobs.alpha", "accuracy.final", "method")
    assert len(points.keys) == 6, "no point is made up and none is merged"
    ((at, means, colour),) = points.means
    assert at == [0.1, 0.2, 0.6] and colour == "drg"
    assert means == pytest.approx([(0.53 + 0.54) / 2, (0.56 + 0.57) / 2, 0.68]), "the steered run is in no mean"


def test_names_are_joined_by_no_line(many):
    points = runs.points(runs.records(), "method", "accuracy.final")
    assert all(len(at) == 1 for at, _, _ in points.means)
    assert {(at[0], round(mean[0], 4)) for at, mean, _ in points.means} >= {("vanilla", 0.625), ("drg", 0.535)}


def test_points_are_the_runs_that_have_both_and_the_diverged(many):
    points = runs.points(runs.records(), "seed", "accuracy.final", "method")
    assert many["diverged"].key in points.keys and math.isnan(points.y[points.keys.index(many["diverged"].key)])
    assert not {many["damaged"].key, many["empty"].key} & {*points.keys}
    assert points.status[points.keys.index(many["half"].key)] == "training"


def test_select_keeps_the_settings_asked_for(many):
    table = runs.records()
    assert {r.status for r in runs.select(table, complete=True)} == {"done"}
    assert {r["method"] for r in runs.select(table, method="byot")} == {"byot"}
    assert runs.select(table, method="byot", data="cifar10") == []


def test_what_varies_differs_between_runs_of_one_method(many):
    write(Experiment("vanilla", **{**SMALL, "network": {"width": 6}}))
    table = runs.records()
    assert runs.varied(table, "knobs.") == {"knobs.alpha"}, "that DRG and BYOT have other temperatures does not count"
    assert runs.varied(table) == {"knobs.alpha", "seed", "network.width", "steered"}


def test_a_sweep_is_what_differs_in_knobs_and_seed_alone(many):
    write(drg(0.9, recipe=Recipe(epochs=4, batch_size=32, lr=0.05, schedule="one cycle")))
    family, values = runs.swept(runs.records(), row(many["drg 0.1 0"]))
    assert values == {"knobs.alpha": [0.1, 0.2, 0.6], "seed": [0, 1]}, "0.9 ran under another recipe, seed 7 was steered"
    assert len(family) == 5


# the picture


def test_places_are_where_the_ring_is_drawn(many):
    """The pixels of the ring, found in the picture itself, lie around the place that is told for the point."""
    for x, y in [("knobs.alpha", "accuracy.final"), ("method", "seconds"), ("seed", "loss")]:
        points = runs.points(runs.records(), x, y, "data")
        figure, ax = figures.points_figure(points)
        told = places(points, ax)
        assert ((told > 0) & (told < 1)).all()
        without = pixels(figure)
        for i, key in enumerate(points.keys):
            (line,) = ring(points, ax, key)
            changed = np.argwhere((pixels(figure) != without).any(2))
            line.remove()
            assert len(changed)
            middle = (changed.min(0) + changed.max(0) + 1) / 2 / without.shape[:2]
            assert np.abs(middle[::-1] - told[i]).max() < 0.004, (x, y, key)


def pixels(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int).copy()


def test_the_nearest_point_is_nearest_in_the_picture_not_in_its_fractions():
    where = np.array([[0.5, 0.2], [0.62, 0.5]])
    assert nearest(where, (0.5, 0.5), (2.0, 1.0)) == 1, "0.24 wide against 0.3 high"
    assert nearest(where, (0.5, 0.5), (4.0, 1.0)) == 0, "0.48 wide against 0.3 high"
    assert nearest(np.empty((0, 2)), (0.5, 0.5), (1, 1)) is None


def test_clicking_again_walks_through_points_at_one_place():
    where = np.array([[0.5, 0.5], [0.1, 0.1], [0.5, 0.5], [0.501, 0.5]])
    walk, last = [], None
    for _ in range(4):
        last = nearest(where, (0.5, 0.5), (7, 4), last)
        walk.append(last)
    assert walk == [0, 2, 3, 0]


def test_the_axes_say_units_and_honesty(many):
    assert words("accuracy.final") == "test accuracy, final exit, last epoch, %"
    assert "chosen on the test set" in words("best.final")
    assert words("knobs.alpha") == "knob alpha" and words("method") == "method" and words("recipe.lr") == "learning rate (peak)"
    points = runs.points(runs.records(), "knobs.alpha", "accuracy.final")
    _, ax = figures.points_figure(points, symbols={"knobs.alpha": "α"})
    assert ax.get_xlabel() == "α" and "%" in ax.get_ylabel()
    assert ax.get_ylim()[0] > 1, "percent on the axis"


def test_the_plane_tells_apart_done_half_and_diverged(many):
    points = runs.points(runs.records(), "seed", "accuracy.final", "method")
    _, ax = figures.points_figure(points)
    told = [t.get_text() for t in ax.get_legend().get_texts()]
    assert "hollow: not finished" in told and "diverged" in told and "DRG" in told
    inside = [c for s in ax.collections for c in s.get_facecolors()]
    assert sum(tuple(c) == (1, 1, 1, 1) for c in inside) == 1, "the half run alone is hollow"
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert [tuple(line.get_xdata()) for line in crosses] == [(2,)]
    done = runs.points(runs.select(runs.records(), complete=True), "seed", "accuracy.final", "method")
    _, ax = figures.points_figure(done)
    assert not {"hollow: not finished", "diverged"} & {t.get_text() for t in ax.get_legend().get_texts()}


def test_a_plane_without_points_says_so(many):
    _, ax = figures.points_figure(runs.points([], "seed", "accuracy.final"))
    assert "no run" in ax.texts[0].get_text()


# the panel


def open_one(**options) -> Explorer:
    panel = Explorer(**options)
    assert panel.latest.wait(20)
    return panel


def chosen(panel: Explorer) -> str:
    assert panel.latest.wait(20)
    return panel.chosen and panel.chosen.run.key


def click(panel: Explorer, x: float, y: float) -> None:
    panel.plane.set_state({"at": [x, y], "clicks": panel.plane.clicks + 1})


def test_it_opens_with_every_run_and_a_picture(many):
    panel = open_one()
    assert len(panel.list.options) == len(many) and f"<b>{len(many)}</b>" in panel.counted.value
    assert "<b>1</b> damaged" in panel.counted.value and panel.notice.value == ""
    assert panel.plane.value[:4] == b"\x89PNG"


def test_a_click_chooses_the_nearest_point_and_shows_it(many):
    panel = open_one(x="knobs.alpha", y="accuracy.final")
    _, ax = panel._seen[1:]
    where = dict(zip(panel.points.keys, places(panel.points, ax), strict=True))
    seen = set()
    for name in ("drg 0.2 1", "drg 0.6 0", "drg 0.1 0"):
        key = many[name].key
        before = panel.plane.value
        click(panel, *(where[key] + [0.004, -0.004]))
        assert chosen(panel) == key and panel.list.value == key
        assert key in panel.says.value and f"{accuracy_of(drg(float(name.split()[1]), int(name[-1]))):.1%}" in panel.says.value
        assert panel.plane.value != before
        seen.add(panel.curves.value)
    assert len(seen) == 3, "every run has its own curves"


def test_the_arrows_walk_the_points_from_left_to_right(many):
    panel = open_one(x="knobs.alpha", y="accuracy.final")
    panel.filters["method"].value = "drg"
    walk = []
    for n in range(1, 7):
        panel.plane.set_state({"pressed": ["ArrowRight", n]})
        walk.append(chosen(panel))
    values = [(r["knobs.alpha"], r["accuracy.final"]) for key in walk for r in panel.shown if r.run.key == key]
    assert values == sorted(values) and len({*walk}) == 6
    panel.plane.set_state({"pressed": ["ArrowLeft", 7]})
    assert chosen(panel) == walk[-2]


def test_sliders_move_over_what_was_run_and_the_rest_is_not_run(many):
    panel = open_one()
    panel.choose(row(many["drg 0.1 1"]))
    alpha, seed = panel.sliders["knobs.alpha"], panel.sliders["seed"]
    assert [v for _, v in alpha.options] == [0.1, 0.2, 0.6] and [v for _, v in seed.options] == [0, 1]
    assert alpha.description == "α (alpha)" and (alpha.value, seed.value) == (0.1, 1)
    alpha.value = 0.2
    assert chosen(panel) == many["drg 0.2 1"].key and panel.list.value == many["drg 0.2 1"].key
    alpha.value = 0.6
    assert chosen(panel) is None and panel.list.value is None
    assert "not run" in panel.says.value and "α (alpha) = 0.6" in panel.says.value
    line = said(panel.run_code())
    missing = eval(line, {"Experiment": Experiment, "Recipe": Recipe})
    assert missing.key == drg(0.6, 1).key, "the line runs what is missing"
    write(missing)
    panel.refresh.click()
    panel.sliders["seed"].value = 0
    panel.sliders["seed"].value = 1
    assert chosen(panel) == missing.key
    assert panel.sliders["knobs.alpha"] is alpha, "the sweep is the same: so are its sliders"


def test_a_knob_that_the_method_may_choose_has_its_place_on_the_slider(home):
    """None is no value of a slider's: without a name of its own the choice ended in an error of the widget's."""
    found = {t: write(Experiment("ddgsd", knobs={"temperature": t}, **SMALL)) for t in (None, 2.0)}
    panel = Explorer()
    panel.choose(row(found[None]))
    assert panel.sliders["knobs.temperature"].label == "the method's choice" and not panel.notice.value
    panel.sliders["knobs.temperature"].value = 2.0
    assert panel.chosen.run.key == found[2.0].key
    panel.sliders["knobs.temperature"].index = 1
    assert panel.chosen.run.key == found[None].key


def test_the_records_of_a_plan_stand_beside_ones_own_runs(home):
    """They are marked, can be walked through, and neither noted nor deleted; their code reads them."""
    both = [drg(0.1, 0), drg(0.2, 0)]
    for e in both:
        write(e)
        studies.write_result(kept(e))
    told = row(both[1].stored)["accuracy.final"]
    shutil.rmtree(runs.root() / both[1].key)
    panel = Explorer(recorded="mine")
    own, recorded = sorted(panel.shown, key=lambda r: r["knobs.alpha"])
    assert (own.note, recorded.note, recorded["accuracy.final"]) == ("", "recorded", told)
    assert "“recorded”" in dict((key, line) for line, key in panel.list.options)[recorded.run.key]
    panel.choose(own)
    panel.sliders["knobs.alpha"].value = 0.2
    assert panel.chosen.run.key == recorded.run.key and panel.keeping.delete.disabled and panel.keeping.note.disabled
    assert "(run,) = studies.gather([Experiment('drg'" in panel.run_code().replace("method=", "")
    assert "studies.with_records(runs.records(), 'mine')" in panel.plane_code()
    found: dict = {}
    exec(panel.run_code(), found)
    assert found["run"].history[-1].accuracy["final"] == told


def kept(e: Experiment) -> studies.Result:
    """The record of a run that was written by hand."""
    run = e.stored
    columns = {name: [None if v != v else v for v in column] for name, column in runs.epoch_table(run.history()).items()}
    where = {
        "machine": "none",
        "source": "0",
        "test images": 10,
        "steps per epoch": 1,
        "sdkit": "0",
        "torch": "0",
        "device": "CPU",
    }
    return studies.Result("mine", run.key, run.status, run.config, run.environment | where, columns)


def test_the_list_chooses_and_the_sliders_follow(many):
    panel = open_one()
    panel.list.value = many["drg 0.6 0"].key
    assert chosen(panel) == many["drg 0.6 0"].key and panel.sliders["knobs.alpha"].value == 0.6
    panel.list.value = many["byot"].key
    assert panel.sliders == {} and not panel.sweep.children, "a run that is no sweep has no sliders"


def test_filters_leave_what_passes_and_say_when_nothing_does(many):
    panel = open_one()
    panel.filters["method"].value = "dsr"
    assert {r["method"] for r in panel.shown} == {"dsr"} and len(panel.list.options) == 3
    panel.complete.value = True
    assert panel.list.options == () and "set one of them back" in panel.notice.value
    panel.filters["method"].value = "any"
    assert {r.status for r in panel.shown} == {"done"} and panel.notice.value == ""


def test_every_column_can_be_an_axis(many):
    panel = open_one()
    offered = [v for _, v in panel.axes["x"].options]
    assert {"knobs.alpha", "recipe.lr", "network.width", "parameters", "accuracy.shallow 2", "method", "loss"} <= {*offered}
    for n, column in enumerate(offered):
        panel.axes["x" if n % 2 else "colour"].value = column
        chosen(panel)
        assert panel.notice.value == "", column
        x = panel.axes["x"].value
        expected = [r for r in panel.shown if r[x] is not None and (r["accuracy.final"] is not None or r.status == "diverged")]
        assert len(panel.points.keys) == len(expected) and panel.points.columns[2 - 2 * (n % 2)] == column


def test_half_diverged_empty_and_damaged_runs_are_said_to_be_so(many):
    panel = open_one()
    for name, said in [
        ("half", "not finished"),
        ("diverged", "diverged"),
        ("empty", "not finished"),
        ("damaged", "delete the folder"),
    ]:
        panel.list.value = many[name].key
        assert chosen(panel) == many[name].key and said in panel.says.value
        assert panel.notice.value == ""
    panel.list.value = many["steered"].key
    assert "turned while it ran: alpha 0.1→0.9" in panel.says.value
    panel.list.value = many["damaged"].key
    panel.run_export.save.click()
    assert "delete the folder" in panel.run_export.saved.value


def test_no_run_at_all_is_a_friendly_sentence(home):
    panel = open_one()
    assert "no run is recorded" in panel.notice.value and "Refresh" in panel.notice.value
    click(panel, 0.5, 0.5)
    panel.plane.set_state({"pressed": ["ArrowRight", 1]})
    panel.plane_export.copy.click()
    panel.run_export.copy.click()
    assert "no run is chosen" in panel.run_export.shown.value
    run = write(drg(0.1))
    panel.refresh.click()
    assert [key for _, key in panel.list.options] == [run.key] and panel.notice.value == ""


def test_a_folder_that_vanishes_leaves_a_sentence(many):
    panel = open_one()
    for run in many.values():
        shutil.rmtree(run.folder)
    panel.refresh.click()
    assert "no run is recorded" in panel.notice.value and chosen(panel) is None


def test_a_folder_that_cannot_be_read_is_a_sentence_and_is_read_once_it_can(many, monkeypatch):
    def refused(self):
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(type(runs.root()), "iterdir", refused)
        panel = open_one()
        assert panel.notice.value.count("cannot be read (Permission denied): make it readable") == 1
        assert not panel.list.options and chosen(panel) is None
    panel.refresh.click()
    assert {run.key for run in many.values()} == {key for _, key in panel.list.options} and not panel.notice.value


def test_the_code_draws_the_same_picture(many):
    panel = open_one(x="knobs.alpha", y="best.final", colour="seed")
    panel.filters["method"].value = "drg"
    panel.list.value = many["drg 0.2 0"].key
    chosen(panel)
    scope: dict = {}
    *before, last = panel.plane_code().splitlines()
    exec("\n".join(before), scope)
    shown = eval(last, scope)
    assert (pixels(shown.figure) == np.asarray(Image.open(io.BytesIO(panel.plane.value)))).all()
    line = said(panel.run_code())
    assert eval(line, {"Experiment": Experiment, "Recipe": Recipe}).key == many["drg 0.2 0"].key


def test_saved_numbers_are_the_records(many, home):
    panel = open_one(x="knobs.alpha")
    panel.list.value = many["drg 0.2 0"].key
    panel.plane_export.save.click()
    panel.run_export.save.click()
    folder = home / "figures" / "saved"
    assert {f.suffix for f in folder.glob("runs-1.*")} == {".png", ".pdf", ".svg", ".csv"}
    with open(folder / "runs-1.csv", encoding="utf-8") as file:
        told = {r["run"]: r for r in csv.DictReader(file)}
    assert float(told[many["drg 0.6 0"].key]["accuracy.final"]) == accuracy_of(drg(0.6))
    with open(folder / "run-1.csv", encoding="utf-8") as file:
        epochs = list(csv.DictReader(file))
    assert [e["epoch"] for e in epochs] == ["1", "2", "3"] and float(epochs[1]["terms.task"]) == 1.0


def test_what_was_chosen_survives_a_re_run_of_the_cell_and_panels_are_apart(many):
    one = open_one()
    one.axes["x"].value = "knobs.alpha"
    one.filters["method"].value = "drg"
    one.list.value = many["drg 0.2 0"].key
    two = open_one()
    assert two.axes["x"].value == "knobs.alpha" and two.filters["method"].value == "drg"
    assert chosen(two) == many["drg 0.2 0"].key
    two.axes["x"].value = "seconds"
    two.list.value = many["drg 0.6 0"].key
    assert one.axes["x"].value == "knobs.alpha" and chosen(one) == many["drg 0.2 0"].key


def test_five_hundred_slider_events_leave_the_last(many):
    panel = open_one()
    panel.choose(row(many["drg 0.1 0"]))
    slider = panel.sliders["knobs.alpha"]
    began = time.monotonic()
    for n in range(500):
        slider.index = n % 3
    assert time.monotonic() - began < 5, "the events themselves do not wait for pictures"
    assert chosen(panel) == many["drg 0.2 0"].key, "499 mod 3 is 1"
    picture = panel.plane.value
    panel.choose(row(many["drg 0.6 0"]))
    chosen(panel)
    panel.choose(row(many["drg 0.2 0"]))
    chosen(panel)
    assert panel.plane.value == picture, "the picture is that of the last event"


def test_five_hundred_runs_open_within_a_second(many):
    """A wide margin over what it takes, as tests share their machine: a folder of runs is read in one go."""
    source = many["byot"].folder
    for n in range(500):
        shutil.copytree(source, source.parent / f"{source.name[:8]}{n:04d}")
    began = time.monotonic()
    panel = Explorer()
    opened = time.monotonic() - began
    assert len(panel.list.options) == 500 + len(many) and opened < 3
    began = time.monotonic()
    panel.refresh.click()
    assert time.monotonic() - began < 1
    panel.latest.wait(30)
    print(f"500 runs: opened in {opened:.2f} s")


def test_the_legends_of_a_runs_curves_are_whole():
    exits = {name: 0.5 for name in ("final", "shallow 2", "ensemble")}
    history = [Epoch(e, 0.1, 1.0, {"task": 1.0, "shallow ce": 2.0}, 0.4, exits, test=exits) for e in range(3)]
    figure = figures.curves_figure("drg", history)
    figure.draw_without_rendering()
    for ax in figure.axes[1:]:
        assert ax.get_legend().get_window_extent().x1 <= figure.bbox.x1


def test_curves_on_the_figure_of_other_curves_are_those_on_a_new_one():
    def history(terms, epochs, test=None):
        return [Epoch(e, 0.1, 1.0, terms, 0.4, {"final": 0.5 + 0.1 * e}, test=test or {}) for e in range(epochs)]

    wide = {"task": 1.0, "rg": 1000.0}
    every = [history({"task": 1.0}, 1), history(wide, 3, {"final": 0.7}), [], history({"task": 3.0, "sr": 2.0}, 30), []]
    sheet = None
    for h in every:
        sheet = figures.curves_figure("drg", h, sheet)
        assert figures.quick_png(sheet) == figures.quick_png(figures.curves_figure("drg", h))


def test_runs_that_differ_in_a_whole_number_or_a_word_differ_in_the_list(many):
    row = next(r for r in runs.records() if r.run.key == many["drg 0.1 0"].key)
    settings = row.settings | {"knobs.blocks": 2, "knobs.way": "deep", "knobs.gate": True, "knobs.own": None}
    said = line(replace(row, settings=settings), {"knobs.blocks", "knobs.way", "knobs.gate", "knobs.own", "knobs.alpha"})
    assert "alpha=0.1 blocks=2 way=deep gate=True" in said and "own" not in said


# what another process does


def test_a_chosen_run_that_another_process_deletes_is_no_longer_shown_nor_slid_to(many):
    panel = open_one()
    panel.choose(panel._row(many["drg 0.1 0"].key))
    assert panel.sliders and many["drg 0.1 0"].key in panel.says.value
    shutil.rmtree(many["drg 0.1 0"].folder)
    panel.refresh.click()
    assert chosen(panel) is None
    assert many["drg 0.1 0"].key not in panel.says.value, "it is gone"
    panel.choose(panel._row(many["drg 0.1 1"].key))
    assert many["drg 0.1 0"].key not in [r.run.key for r in panel.family]


def test_what_was_not_run_is_shown_once_it_was_run_elsewhere(many):
    panel = open_one()
    panel.choose(panel._row(many["drg 0.6 0"].key))
    panel.sliders["seed"].value = 1
    assert chosen(panel) is None and "not run" in panel.says.value
    run = write(drg(0.6, 1))
    panel.refresh.click()
    assert chosen(panel) == run.key and "not run" not in panel.says.value


def test_a_run_that_breaks_after_the_folder_was_read_says_so_when_it_is_chosen(many):
    panel = open_one()
    (many["steered"].folder / "history.json").write_text("{")
    panel.list.value = many["steered"].key
    assert chosen(panel) == many["steered"].key
    assert "history.json is not the JSON sdkit writes" in panel.says.value


def test_two_states_of_a_method_of_ones_own_can_both_be_filtered_for(many, monkeypatch):
    for n, digest in enumerate(("aaaa1111", "bbbb2222")):
        said = many[f"vanilla {n}"].folder / "experiment.json"
        said.write_text(said.read_text().replace('"vanilla"', f'"Mine@{digest}"'))
        history = many[f"vanilla {n}"].folder / "history.json"
        history.write_text(history.read_text().replace('"experiment.json"', '"gone.json"'))
    panel = open_one()
    kinds = {r["method"] for r in panel.table if r["method"] and "@" in r["method"]}
    assert len(kinds) == 2, [r.wrong for r in panel.table]
    offered = [value for _, value in panel.filters["method"].options]
    assert kinds <= {*offered}
    named = {"Mine (aaaa)", "Mine (bbbb)"}
    assert named <= {name for name, _ in panel.filters["method"].options}
    listed = {words.split(" · ")[-3] for words, _ in panel.list.options if "Mine" in words}
    assert listed == named, "in the list"
    legend = panel.plane_figure().axes[0].get_legend()
    assert named <= {t.get_text() for t in legend.get_texts()}, "and beside the points"


# a name, and an end


def test_a_run_is_named_in_its_folder_and_its_lists_say_so(many):
    panel, run = open_one(), many["byot"]
    panel.choose(row(run))
    panel.keeping.note.value = "the first  try\n"
    assert Run(run.folder).note == row(run).note == "the first try"
    assert chosen(panel) == run.key and "“the first try”" in panel.says.value
    assert [label for label, key in panel.list.options if key == run.key][0].startswith("“the first try” · ")
    panel.choose(row(many["steered"]))
    assert panel.keeping.note.value == "", "another run has none"
    panel.choose(row(run))
    panel.keeping.note.value = "x" * 121
    assert "at most 120 characters" in panel.notice.value and row(run).note == "the first try"
    panel.keeping.note.value = ""
    assert row(run).note == "" and not (run.folder / "note.txt").exists()


def test_a_run_is_deleted_after_a_question_and_the_next_one_is_chosen(many):
    panel, run = open_one(), many["drg 0.2 1"]
    panel.choose(row(run))
    keys = [key for _, key in panel.list.options]
    panel.keeping.delete.click()
    assert run.key in panel.keeping.asks.value and panel.keeping.question.layout.display == ""
    panel.choose(row(many["byot"]))
    assert panel.keeping.question.layout.display == "none", "the question was about another run"
    panel.choose(row(run))
    panel.keeping.delete.click()
    panel.keeping.no.click()
    assert row(run).status == "done"
    panel.keeping.delete.click()
    panel.keeping.yes.click()
    assert {r.run.key for r in runs.records()} == {*keys} - {run.key}
    assert chosen(panel) == keys[keys.index(run.key) + 1] and panel.notice.value == ""


def test_a_run_that_is_being_trained_is_not_deleted(many, monkeypatch):
    panel, run = open_one(), many["half"]
    panel.choose(row(run))
    monkeypatch.setattr(runs.folder, "HELD", {str(run.folder.absolute())})
    panel.keeping.delete.click()
    panel.keeping.yes.click()
    assert "stop that training first" in panel.notice.value and row(run).status == "training"


def test_the_last_run_of_all_leaves_an_explorer_that_says_what_to_do(home):
    run = write(Experiment("vanilla", **SMALL))
    panel = open_one()
    panel.keeping.delete.click()
    panel.keeping.yes.click()
    assert chosen(panel) is None and panel.keeping.delete.disabled and run.key not in panel.says.value
    assert "no run is recorded" in panel.notice.value
