"""Searches of hyperparameters: which values are asked for, in which order, and what is chosen on which images."""

from __future__ import annotations

import csv
import io
import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from drawn import illegible, unreadable

from sdkit import cli, figures, runs, studies
from sdkit.experiment import Experiment
from sdkit.experiment.sweep import AWAY
from sdkit.studies.grid import placed, points, put, typed
from sdkit.studies.tune import Lost

SMALL = {"network": {"width": 4}, "data": "digits", "dataset": {"train_size": 96}, "recipe": "smoke"}
QUICK = {"network": {"width": 4}, "data": "digits", "dataset": {"train_size": 64}, "recipe": {"epochs": 1, "batch_size": 32}}
TYPED = ["--network", "width=4", "--data", "digits", "--dataset", "train_size=96", "--recipe", "smoke", "--epochs", "1"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    return tmp_path


def test_values_between_two_ends_are_evenly_spaced_or_by_factors_and_both_ends_are_among_them():
    ((logs, linear, whole),) = [[[p["a"] for p in points({"a": s})] for s in (
        {"log": [0.01, 1, 7]}, {"linear": [0, 1, 5]}, {"whole": [1, 9, 3]})]]  # fmt: skip
    assert logs[0] == 0.01 and logs[-1] == 1 and logs[3] == 0.1
    assert [b / a for a, b in zip(logs, logs[1:], strict=False)] == pytest.approx([10 ** (1 / 3)] * 6, rel=1e-3)
    assert linear == [0, 0.25, 0.5, 0.75, 1] and whole[0] == 1 and whole[-1] == 9 and all(isinstance(v, int) for v in whole)


@pytest.mark.parametrize(
    "ends, n, values", [((8, 2), 4, [2, 4, 6, 8]), ((-2, 2), 5, [-2, -1, 0, 1, 2]), ((1.5, 3.5), 2, [2, 3])]
)
def test_whole_numbers_are_spaced_alike_downwards_and_below_0(ends, n, values):
    assert sorted(p["a"] for p in points({"a": {"whole": [*ends, n]}})) == values
    drawn = {p["a"] for p in points({"a": {"random": {"whole": [*ends]}, "n": 200}})}
    assert drawn == {*range(values[0], values[-1] + 1)}


def test_what_is_said_of_a_knob_holds_for_every_method_that_is_searched():
    base = Experiment("drg", knobs={"temperature": 2}, **SMALL)
    said = {m: put(base, {"method": m}).knobs for m in ("drg", "dsr", "drg+dsr")}
    assert said["drg"]["temperature"] == said["dsr"]["temperature"] == said["drg+dsr"]["drg.temperature"] == 2
    assert put(base, {"method": "dsr", "temperature": 3}).knobs["temperature"] == 3
    assert put(Experiment("drg+dsr", knobs={"drg.alpha": 0.7}, **SMALL), {"method": "drg"}).knobs["alpha"] == 0.7
    with pytest.raises(ValueError, match="temperature=2.* holds for every setting, and vanilla has no such knob: leave temp"):
        put(base, {"method": "vanilla"})


def test_a_grid_is_every_combination_and_draws_are_drawn_together_the_same_at_every_call():
    grid = points({"a": [1, 2], "b": {"linear": [0, 1, 3]}})
    assert len(grid) == 6 == len({tuple(p.values()) for p in grid})
    drawn = {"a": {"random": {"log": [0.01, 1]}, "n": 40}, "b": {"random": ["x", "y"], "n": 40}, "c": [0, 1]}
    found = points(drawn)
    assert len(found) == 80 and found == points(drawn) and [*found[0]] == ["a", "b", "c"]
    a = [math.log10(p["a"]) for p in found if not p["c"]]
    assert -2 <= min(a) < -1.7 and -0.3 < max(a) <= 0 and {p["b"] for p in found} == {"x", "y"}
    assert points({"a": {"random": {"log": [0.01, 1]}, "n": 40, "seed": 1}}) != points({"a": drawn["a"]})


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"log": [0, 1, 3]}, "neither reach nor pass 0"),
        ({"log": [0.1, 1]}, r"\[low, high, n\]"),
        ({"log": [0.1, 1, 1]}, "two values and more"),
        ({"cubic": [0, 1, 3]}, "takes a list"),
        ({"random": {"log": [0.1, 1]}, "n": 0}, "a whole number of times"),
        ({"random": {"log": [0.1, 1]}, "k": 3}, "no part of random draws"),
        ([], "has no value"),
    ],
)
def test_what_is_no_list_of_values_is_told_what_is(said, sentence):
    with pytest.raises((ValueError, KeyError), match=sentence):
        points({"a": said})


def test_values_are_typed_in_few_signs():
    assert typed("1,2,4") == [1, 2, 4] and typed("resnet20,vgg") == ["resnet20", "vgg"] and typed("0.5") == [0.5]
    assert typed("0.01:1:log:7") == {"log": [0.01, 1, 7]}
    assert typed("0.01:1:log:8:random:3") == {"random": {"log": [0.01, 1]}, "n": 8, "seed": 3}
    assert typed("torchvision:resnet18") == ["torchvision:resnet18"]
    with pytest.raises(ValueError, match="low:high:log"):
        typed("0.01:1:7")


def test_a_field_is_found_by_its_name_and_any_part_of_an_experiment_has_some():
    base = Experiment("drg+dsr", **SMALL)
    named = {
        "beta": "knobs",
        "lr": "recipe",
        "width": "network",
        "train_size": "dataset",
        "model": "",
        "recipe.gamma": "recipe",
    }
    assert {name: placed(base, name)[0] for name in named} == named
    made = put(base, {"beta": 0.5, "lr": 0.02, "width": 8, "train_size": 64})
    said = (made.knobs["dsr.beta"], made.recipe.lr, made.network["width"], made.dataset["train_size"], made.recipe.epochs)
    assert said == (0.5, 0.02, 8, 64, 2)
    assert put(base, {"method": "dsr", "beta": 0.5}).knobs["beta"] == 0.5
    full = {"drg.alpha": 0.2, "knobs.drg.alpha": 0.2, "alpha": 0.2, "knobs.alpha": 0.2}
    assert {placed(base, name) for name in full} == {("knobs", "drg.alpha")}
    for first, second in pairwise(full):
        with pytest.raises(ValueError, match=f"two names of one among {first}, {second}"):
            put(base, {first: 0.1, second: 0.2})
    with pytest.raises(KeyError, match="temperature is a knob of several of drg.dsr: say drg.temperature or dsr.temperature"):
        put(base, {"temperature": 2})
    with pytest.raises(KeyError, match="did you mean 'beta'"):
        placed(base, "betta")
    with pytest.raises(ValueError, match="said beside it"):
        placed(base, "seed")


def test_a_plan_holds_grids_and_draws_every_setting_at_one_seed_before_the_next(home):
    entry = SMALL | {
        "method": "drg", "seeds": [0, 1], "recipe": {"name": "smoke", "lr": [0.05, 0.1]},
        "knobs": {"alpha": {"log": [0.01, 1, 3]}, "temperature": [1, 4], "stages": [1]},
    }  # fmt: skip
    (home / "plan.json").write_text(json.dumps({"runs": [entry]}))
    made = studies.read_plan(home / "plan.json").experiments
    assert [e.seed for e in made] == [0] * 12 + [1] * 12 and {e.knobs["stages"] for e in made} == {(1,)}, (
        "a list that is a value"
    )
    said = {(e.knobs["alpha"], e.knobs["temperature"], e.recipe.lr, e.recipe.epochs) for e in made}
    assert said == {(a, t, lr, 2) for a in (0.01, 0.1, 1) for t in (1, 4) for lr in (0.05, 0.1)}
    (home / "plan.json").write_text(json.dumps({"runs": [entry | {"knobs": {"alpha": {"log": [0, 1, 3]}}}]}))
    with pytest.raises(ValueError, match="run 1 of the plan plan.json is no experiment: .*neither reach nor pass 0"):
        studies.read_plan(home / "plan.json")


def test_the_best_on_validation_images_is_chosen_and_what_is_tested_chose_nothing(monkeypatch):
    base, over = Experiment("drg", **QUICK), {"lr": [1e-6, 0.05]}
    found = studies.search(base, over, seeds=range(2), validation=20, jobs=1, progress=False)
    assert found.chosen.at == {"lr": 0.05} and found.chosen.mean == max(s.mean for s in found.settings)
    trained = {run.key: run for run in runs.all_runs()}
    assert sorted(run.config["dataset"]["validation"] for run in trained.values()) == [0, 0, 20, 20, 20, 20]
    last = [Experiment("drg", **QUICK | {"recipe": QUICK["recipe"] | {"lr": 0.05}}, seed=s).stored for s in (0, 1)]
    assert found.tested == [run.history()[-1].test["final"] for run in last], "on all training images"
    monkeypatch.setattr(Experiment, "run", lambda *_, **__: pytest.fail("what is stored is not trained again"))
    assert studies.search(base, over, seeds=range(2), validation=20, jobs=1, progress=False) == found
    said = str(found).splitlines()
    assert said[0].split() == ["lr", "validation,", "20", "images", "test,", "of", "the", "same"] and said[2].endswith(
        "<- chosen"
    )
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert (
        len(rows) == 6
        and [float(r["test_accuracy"]) for r in rows if r["trained_on"] == "64 of all training images"] == found.tested
    )
    assert "trained on 64 of all training images: " in said[-1] and rows[0]["trained_on"].startswith("64 of all but")


def test_without_the_result_of_a_run_nothing_is_chosen():
    """A cluster leaves nothing of a training that raised an error, which is no accuracy of 0."""

    def away(waiting):
        lost = [e for e in waiting if e.recipe.lr == 1e-3]
        yield from ((e.run(progress=False).experiment, None) for e in waiting if e not in lost)
        yield from ((e, RuntimeError("out of memory")) for e in lost)

    token = AWAY.set(away)
    try:
        with pytest.warns(UserWarning, match="out of memory"), pytest.raises(RuntimeError, match="1 of 2 runs have no result"):
            studies.search(Experiment("drg", **QUICK), {"lr": [0.05, 1e-3]}, seeds=[0], validation=20, progress=False)
    finally:
        AWAY.reset(token)


def test_a_table_of_a_search_says_what_diverged_and_so_counts_as_nothing():
    kept, lost = [0.5, 0.0], [0.5, Lost()]
    settings = [studies.Setting({"lr": 0.05}, kept, kept), studies.Setting({"lr": 9.0}, lost, lost)]
    found = studies.Search(Experiment("drg", **SMALL), ("lr",), settings, settings[1], lost, (0, 1), 20)
    _, well, badly, chosen, tested = str(found).splitlines()
    assert "diverged" not in well and badly.endswith("%, 1 diverged, counted as 0  <- chosen")
    assert chosen.endswith("2 seeds, 1 diverged, counted as 0)") and tested.endswith("2 seeds, 1 diverged, counted as 0)")


def test_the_runs_of_a_search_go_seed_by_seed():
    listed = studies.searched(Experiment("drg", **SMALL), {"alpha": [0.1, 0.2]}, range(2), 40)
    assert [(e.seed, e.knobs["alpha"]) for e in listed] == [(0, 0.1), (0, 0.2), (1, 0.1), (1, 0.2)]
    with pytest.raises(ValueError, match="two settings and more, a seed and an image to choose by, got 1 settings"):
        studies.searched(Experiment("drg", **SMALL), {"alpha": [0.1]}, range(2), 40)
    with pytest.raises(ValueError, match="two names of one among alpha, drg.alpha"):
        studies.searched(Experiment("drg+dsr", **SMALL), {"alpha": [0.1, 0.2], "drg.alpha": [0.3, 0.4]}, range(2), 40)


def test_a_search_is_said_on_the_command_line_by_the_fields_own_names(capsys, home):
    arguments = ["sweep", "--method", "drg", "--alpha", "0.1:1:log:2", "--lr", "0.01,0.05", *TYPED, "--seeds", "1",
                 "--validation", "40"]  # fmt: skip
    cli.main([*arguments, "--dry-run"])
    assert "4 settings, 1 seeds: 4 runs, 4 of them to be trained" in (said := capsys.readouterr().out) and "minutes" in said
    cli.main(arguments)
    said = capsys.readouterr().out
    assert "chosen on the validation images" in said and "which chose nothing" in said
    (table,) = (home / "figures" / "sweeps").glob("*.csv")
    assert {p.suffix for p in table.parent.iterdir()} == {".csv", ".png", ".pdf"} and len(table.read_text().splitlines()) == 6
    cli.main([*arguments, "--dry-run"])
    assert "4 runs, 0 of them to be trained" in capsys.readouterr().out


def test_sweeps_that_ask_for_something_else_leave_each_other_s_table_and_figures(home, monkeypatch):
    def search(base, over, seeds, validation):
        half = [0.5 for _ in seeds]
        settings = [studies.Setting({"alpha": value}, half, half) for value in over["alpha"]]
        return studies.Search(base, ("alpha",), settings, settings[0], half, tuple(seeds), validation)

    monkeypatch.setattr(studies, "search", search)
    asked = [("0.1,0.2", "1", "40"), ("0.1,0.3", "1", "40"), ("0.1,0.2", "2", "40"), ("0.1,0.2", "1", "20")]
    for values, seeds, validation in [*asked, asked[0]]:
        said = ["--alpha", values, "--seeds", seeds, "--validation", validation]
        cli.main(["sweep", "--method", "drg", *TYPED, *said])
    assert len([*(home / "figures" / "sweeps").glob("drg-alpha-*.csv")]) == len(asked)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "say what is swept"),
        (["--alpha"], "--alpha is swept over no values"),
        (["--method", "drg", "--alhpa", "1,2"], "did you mean 'alpha'"),
        (["--method", "drg", "--alpha", "0:1:log:3"], "neither reach nor pass 0"),
        (["--method", "drg", "--alpha", "0.1:1:7"], "low:high:log"),
        (["--method", "drg", "--alpha", "0.1,-7"], "alpha"),
        (["--method", "drg", "--alpha", "0.1,0.2", "--seed", "3"], "said beside it"),
    ],
)
def test_a_wrong_search_is_one_sentence(arguments, sentence):
    with pytest.raises(SystemExit, match=sentence):
        cli.main(["sweep", *arguments])


FOUND = {
    "curve": (("alpha",), {(v,): [0.8 + 0.01 * i, 0.82 - 0.01 * i] for i, v in enumerate([0.01, 0.05, 0.2, 1.0])}),
    "map": (("alpha", "temperature"), {(a, t): [0.7 + 0.1 * a + 0.01 * t] for a in (0.01, 0.1, 1.0) for t in (1, 2, 4)}),
    "draws": (("alpha", "lr", "model"), {(0.1 * i + 0.01, 0.001 * 3**i, "vgg" if i % 2 else "resnet20"): [0.5 + 0.1 * i]
                                         for i in range(5)}),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_the_figure_of_a_search_fits_its_fields_and_can_be_read_on_screen_and_in_print(name):
    names, values = FOUND[name]
    chosen = max(values, key=lambda point: sum(values[point]))

    def make():
        return figures.search_figure(names, values, "drg", chosen)

    assert not unreadable(make()) and not illegible(make, "column") and not illegible(make, "page")


def test_a_map_shows_every_setting_at_its_place_and_frames_the_chosen_one():
    names, values = FOUND["map"]
    figure = figures.search_figure(names, values, "drg", (0.1, 4))
    ax = figure.axes[0]
    assert ax.images[0].get_array()[2, 1] == pytest.approx(100 * values[0.1, 4][0])
    (frame,) = ax.patches
    assert (frame.get_x(), frame.get_y()) == (0.5, 1.5)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.01", "0.1", "1"] and ax.get_ylabel() == "temperature"


def test_the_docs_say_the_sweep_as_it_is_typed():
    said = (Path(__file__).parents[2] / "docs" / "using.md").read_text(encoding="utf-8")
    line = next(line for line in said.splitlines() if line.startswith("sdkit sweep --method") and "dry" not in line)
    assert cli.spelled_out(line.split()[2:])[2:4] == ["--over", "alpha=0.01:1:log:7"]
    away = "--alpha 0.1,0.2 --cluster local:2 --weights".split()
    assert cli.spelled_out(away) == ["--over", "alpha=0.1,0.2", "--cluster", "local:2", "--weights"], "options of where"
