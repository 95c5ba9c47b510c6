"""The recorder: what a plan lists is run once, within its time, checked, and kept as a record that says where it comes from."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from filelock import FileLock

from sdkit import cli, runs, studies
from sdkit.analysis import ranked_output_variance
from sdkit.core import home
from sdkit.experiment import Experiment
from sdkit.experiment.sweep import AWAY
from sdkit.runs import Damaged
from sdkit.studies import execute, result
from sdkit.train import RECIPES

SMALL = {"model": "four-stage", "network": {"width": 4}, "data": "digits", "dataset": {"train_size": 64}}
TINY = {"runs": [SMALL | {"methods": ["vanilla", "drg"], "seeds": [0, 1], "recipe": "smoke"}]}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    return tmp_path


def plan_file(plan, name="tiny"):
    path = home() / "plans" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(plan if isinstance(plan, str) else json.dumps(plan))
    return path


def recorded(plan=TINY, **options):
    said = []
    report = studies.execute_plan(plan_file(plan), say=said.append, **options)
    return report, said


# plans


def test_a_plan_spells_out_its_lists_every_method_at_one_seed_before_the_next():
    plan = studies.read_plan(plan_file(TINY))
    assert [(e.method, e.seed) for e in plan.experiments] == [("vanilla", 0), ("drg", 0), ("vanilla", 1), ("drg", 1)]
    assert plan.name == "tiny" and plan.experiments[1] == Experiment(method="drg", recipe="smoke", **SMALL)
    assert studies.read_plan("tiny").experiments == plan.experiments


def test_epochs_are_lengths_of_the_recipe_short_ones_first_at_every_seed():
    entry = SMALL | {"methods": ["vanilla", "drg"], "seeds": [0, 1], "recipe": "quick", "epochs": [3, 6]}
    made = studies.read_plan(plan_file({"runs": [entry]})).experiments
    assert [(e.seed, e.recipe.epochs, e.method) for e in made] == [
        (seed, epochs, method) for seed in (0, 1) for epochs in (3, 6) for method in ("vanilla", "drg")
    ]
    assert all(replace(e.recipe, epochs=RECIPES["quick"].epochs) == RECIPES["quick"] for e in made)
    (own,) = studies.read_plan(plan_file({"runs": [SMALL | {"recipe": {"lr": 0.3}, "epochs": [5]}]})).experiments
    assert (own.recipe.lr, own.recipe.epochs) == (0.3, 5)


def test_the_plan_of_lengths_asks_of_every_method_what_it_asks_of_plain_training():
    config = {}
    for e in studies.read_plan("length").experiments:
        config.setdefault((e.method, e.network.get("blocks")), []).append((e.seed, e.recipe))
    assert len({method for method, _ in config}) == 9
    assert all(runs == config["vanilla", blocks] for (_, blocks), runs in config.items())


def test_a_plan_says_recipes_and_teachers_in_numbers():
    entry = SMALL | {"recipe": {"epochs": 3, "batch_size": 32}}
    (e,) = studies.read_plan(plan_file({"runs": [entry | {"method": "kd", "teacher": entry | {"seed": 4}}]})).experiments
    assert e.recipe.epochs == 3 and e.teacher.seed == 4 and e.teacher.recipe == e.recipe


def test_the_folder_of_data_sets_is_no_part_of_what_is_run(tmp_path):
    moved = studies.read_plan(plan_file(TINY), data=tmp_path / "elsewhere").experiments
    assert [e.key for e in moved] == [e.key for e in studies.read_plan(plan_file(TINY)).experiments]
    assert moved[0].dataset["root"] == tmp_path / "elsewhere"


@pytest.mark.parametrize("path", studies.plans(), ids=lambda p: p.stem)
def test_the_plans_that_come_with_sdkit_can_be_read(path):
    plan = studies.read_plan(path)
    assert plan.name == path.stem and plan.about and len(plan.experiments) >= 8


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ("{", r"the plan .*tiny.json is not JSON \(.*\): mend it there"),
        ({"name": "x"}, 'says no runs: it needs "runs"'),
        ({"runs": [{}], "metric": []}, r"no part of a plan \(tiny.json\) is called 'metric'"),
        (
            {"runs": [{"method": "dgr"}]},
            "run 1 of the plan tiny.json is no experiment: no method is called 'dgr': did you mean",
        ),
        ({"runs": [SMALL, {"metod": "drg"}]}, "run 2 .* no argument of an experiment is called 'metod': did you mean 'method'"),
        ({"runs": [{"method": "drg", "methods": ["drg"]}]}, "it says method and a list of them: say one"),
        ({"runs": [{"recipe": "quik", "epochs": [3]}]}, "no recipe is called 'quik': did you mean 'quick'"),
        ({"runs": [{"epochs": [0]}]}, "run 1 of the plan tiny.json is no experiment: a recipe needs epochs >= 1"),
        ({"runs": [{"recipe": {"epoch": 3}}]}, "run 1 of the plan tiny.json is no experiment: .*'epoch'"),
        ({"runs": [SMALL], "curves": ["rank"]}, "no curve of a record is called 'rank': did you mean 'ranked'"),
    ],
)
def test_a_wrong_plan_is_one_sentence(plan, sentence):
    plan_file(plan)
    with pytest.raises(SystemExit, match=sentence) as stop:
        cli.main(["record", "tiny"])
    assert "\n" not in str(stop.value.code)


def test_an_unknown_plan_names_the_known_ones():
    plan_file(TINY)
    with pytest.raises(SystemExit, match=r"no plan is called 'tyni': did you mean 'tiny'\? known are .*tiny"):
        cli.main(["record", "tyni"])


# recording


def test_a_plan_is_run_once_and_its_records_give_back_what_the_runs_hold():
    report, _ = recorded()
    plan = studies.read_plan("tiny")
    assert report.recorded == [e.key for e in plan.experiments] and not report.missing and not report.damaged
    records = {r.key: r for r in studies.load_results("tiny")}
    for e in plan.experiments:
        kept, run = records[e.key], e.stored
        assert kept.config == run.config and kept["method"] == e.method and kept["seed"] == e.seed
        for a, b in zip(kept.history, run.history(), strict=True):
            assert a.accuracy == pytest.approx(b.accuracy, rel=1e-6) and a.terms == pytest.approx(b.terms, rel=1e-6)
            assert (a.epoch, a.changes) == (b.epoch, b.changes) and a.lr == pytest.approx(b.lr)
        row = next(r for r in runs.records() if r.run.key == e.key)
        assert kept.settings == {k: v for k, v in row.settings.items() if k != "steered"}
        assert {k: kept.measured[k] for k in row.measured if k in kept.measured} == pytest.approx(
            {k: v for k, v in row.measured.items() if k in kept.measured}, rel=1e-6
        )
        assert kept.environment["source"] == studies.source_digest() and kept.device.startswith("CPU")
    again, said = recorded()
    assert again.recorded == [] and said[0] == "tiny: 4 of 4 recorded"


def test_a_record_names_the_code_that_began_the_run_and_not_that_of_the_day_it_is_recorded(monkeypatch):
    e = Experiment(recipe="smoke", **SMALL)
    e.run(progress=False)
    monkeypatch.setattr(result, "source_digest", lambda: "of later")
    assert studies.result_of(e, "tiny").environment["source"] == studies.source_digest()


def test_the_curves_of_a_record_are_those_of_the_runs_outputs():
    recorded({"runs": [SMALL | {"recipe": "smoke"}]})
    (kept,) = studies.load_results()
    epochs, outputs = runs.find(kept.key).outputs()
    want = [float(ranked_output_variance(z)) for z in outputs]
    assert kept.curves["ranked"]["epoch"] == [1, 2]
    assert kept.curves["ranked"]["variance"]["probabilities"] == pytest.approx(want, rel=1e-5)
    bins = kept.curves["calibration"]
    right = sum(n * a for n, a in zip(bins["count"], bins["accuracy"], strict=True) if n)
    assert bins["images"] == 797 and right / 797 == pytest.approx(kept["accuracy.final"], abs=1e-3)
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(kept.curves["right"]["bits"]), np.uint8), count=797)
    answers = runs.find(kept.key).logits().argmax(1) == Experiment(recipe="smoke", **SMALL).load_data().test.y
    assert kept.curves["right"]["images"] == 797 and bits.tolist() == answers.int().tolist()


def test_a_record_is_small_and_holds_no_weights(tmp_path):
    recorded({"runs": [SMALL | {"recipe": {"epochs": 12, "batch_size": 32}}]})
    (path,) = (home() / "data" / "records" / "tiny").glob("*.json")
    assert path.stat().st_size < 20_000


def test_knobs_that_were_turned_come_back_with_their_epoch():
    entry = SMALL | {"method": "drg", "recipe": {"epochs": 3, "batch_size": 32}, "schedule": {"1": {"alpha": 0.9}}}
    recorded({"runs": [entry]})
    (kept,) = studies.load_results()
    assert [len(e.changes) for e in kept.history] == [0, 1, 0] and kept.history[1].changes[0]["after"] == 0.9
    assert re.fullmatch(r"drg · four-stage · digits · seed 0 · recorded, on CPU, \d+ threads?, recipe own, 1 seed", str(kept))


LONG = {"runs": [SMALL | {"recipe": {"epochs": 6, "batch_size": 16}}]}


def test_a_run_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    recorded(LONG)
    straight = studies.load_results()[0]
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    (e,) = studies.read_plan(plan_file(LONG)).experiments
    walk = e.stored.follow(e.config, e.training, checkpoint_every=0)
    for event in walk:
        if getattr(event, "accuracy", None) and event.epoch == 2:
            break
    walk.close()
    assert e.stored.status == "training"
    _, said = recorded(LONG)
    assert any(line.startswith("  goes on:") for line in said)
    (kept,) = studies.load_results()
    drop = ("seconds",)
    assert {k: v for k, v in kept.epochs.items() if k not in drop} == {
        k: v for k, v in straight.epochs.items() if k not in drop
    }


def test_what_cannot_end_in_time_is_not_begun(monkeypatch):
    monkeypatch.setattr(execute, "_probe", lambda e: 1.0 if e.method == "vanilla" else 1e-3)  # seconds an epoch
    plan = {"runs": [SMALL | {"methods": ["vanilla", "drg"], "recipe": {"epochs": 6, "batch_size": 32}}]}
    monkeypatch.setattr(execute.time, "monotonic", progress := Progress())
    progress.ahead = [0, 55]  # 60 s of budget, of which 55 have gone when the first run is looked at: vanilla needs 6
    report, said = recorded(plan, minutes=1)
    vanilla, drg = studies.read_plan("tiny").experiments
    assert report.recorded == [drg.key] and report.missing == [vanilla.key]
    assert any(re.match(r"  waits: Experiment\(method='vanilla'.* needs 6 s, [45] s are left", line) for line in said)
    assert vanilla.stored.status == "new"


def test_a_run_longer_than_any_call_is_left_at_its_checkpoint_and_ends_in_later_calls(monkeypatch):
    monkeypatch.setattr(execute, "_probe", lambda e: 30.0)  # six epochs of 30 s never fit into a minute
    monkeypatch.setattr(execute.time, "monotonic", progress := Progress())
    progress.each = 10.0
    calls = 0
    while calls < 12:
        calls += 1
        report, said = recorded(LONG, minutes=1, checkpoint_every=0)
        if not report.missing:
            break
        assert any("left at its checkpoint" in line for line in said)
    assert 2 <= calls < 12 and studies.load_results()[0].status == "done"
    assert [e.epoch for e in studies.load_results()[0].history] == list(range(6))


class Progress:
    """A clock that jumps: by `ahead` at its first readings, by `each` at every one."""

    def __init__(self) -> None:
        self.ahead: list[float] = []
        self.each, self.gone, self.real = 0.0, 0.0, time.perf_counter

    def __call__(self) -> float:
        self.gone += self.each + (self.ahead.pop(0) if self.ahead else 0.0)
        return self.real() + self.gone


def test_no_minutes_only_say_what_is_missing():
    report, said = recorded(minutes=0)
    assert len(report.missing) == 4 and len(said) == 5 and not runs.all_runs()


def test_a_teacher_is_trained_first_and_not_recorded():
    base = SMALL | {"recipe": "smoke"}
    report, _ = recorded({"runs": [base | {"method": "kd", "teacher": base | {"seed": 3}}]})
    assert [r["method"] for r in studies.load_results()] == ["kd"] and len(runs.all_runs()) == 2 and len(report.recorded) == 1


def test_a_run_that_diverges_is_recorded_as_one():
    report, _ = recorded({"runs": [SMALL | {"recipe": {"epochs": 3, "batch_size": 8, "lr": 1e9, "schedule": "constant"}}]})
    (kept,) = studies.load_results()
    assert kept.status == "diverged" and report.recorded == [kept.key] and not report.missing and not kept.curves


# several processes on one plan


def test_a_run_that_another_process_trains_is_left_to_it_and_the_next_taken():
    first, *others = studies.read_plan(plan_file(TINY)).experiments
    first.stored.folder.mkdir(parents=True)
    with FileLock(first.stored.folder / "lock"):
        report, said = recorded()
    assert report.recorded == [e.key for e in others] and report.missing == [first.key] and not report.damaged
    assert said[-1].endswith("1 missing, 1 of them being trained by another process: the same command goes on")
    report, _ = recorded()
    assert report.recorded == [first.key] and not report.missing


def test_what_another_process_recorded_meanwhile_is_not_recorded_again():
    plan = studies.read_plan(plan_file(TINY))
    last, done = plan.experiments[-1], []

    def say(line):
        if line.startswith("  begins") and not done:  # another one takes the last run while this one trains the first
            last.run(progress=False)
            done.append(studies.write_result(studies.result_of(last, plan.name)))

    report = studies.execute_plan("tiny", say=say)
    assert report.recorded == [e.key for e in plan.experiments[:-1]] and not report.missing


def test_a_run_that_another_process_recorded_as_this_one_found_it_ended_is_recorded_once(monkeypatch):
    plan, train = studies.read_plan(plan_file(TINY)), execute._train

    def other_is_quicker(e, *rest):
        ended = train(e, *rest)
        studies.write_result(studies.result_of(e, plan.name))
        return ended

    monkeypatch.setattr(execute, "_train", other_is_quicker)
    report, said = recorded()
    assert not report.recorded and not report.missing and len(studies.load_results()) == 4
    assert sum("recorded by another process" in line for line in said) == 4


def test_a_run_whose_record_another_process_writes_at_this_moment_is_left_to_it(monkeypatch):
    first, *others = studies.read_plan(plan_file(TINY)).experiments
    first.run(progress=False)
    with FileLock(first.stored.folder / "lock"):
        report, _ = recorded()
    assert report.recorded == [e.key for e in others] and report.missing == [first.key]


@pytest.mark.slow
def test_three_processes_share_a_plan_and_one_that_is_killed_loses_no_run():
    """Every run is made and recorded once; the lock of the killed one is free, and its run is taken up by another."""
    plan_file({"runs": [SMALL | {"methods": ["vanilla", "drg"], "seeds": [0, 1, 2], "recipe": {"epochs": 40}}]})
    code = "from sdkit.cli import main; main(['record', 'tiny'])"
    start = [sys.executable, "-c", code]
    each = [subprocess.Popen(start, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    killed, begun = each[0], ""
    while "begins" not in begun:
        begun = killed.stdout.readline()
    killed.kill()
    rest = [child.communicate(timeout=300)[0] for child in each[1:]]
    taken = [re.findall(r"^  recorded: (.*\)), ", text, re.M) for text in rest]
    assert sum(map(len, taken)) == 6 == len({*taken[0], *taken[1]}) == len(studies.load_results()), rest
    began = re.findall(r"^  (?:begins|goes on): (.*)$", "".join(rest), re.M)
    assert len(began) == 6 == len({*began}) and begun.partition(": ")[2].strip() in began, "once by the two that lived"


@pytest.mark.slow
def test_two_calls_share_a_plan():
    plan_file({"runs": [SMALL | {"methods": ["vanilla", "drg"], "seeds": [*range(4)], "recipe": {"epochs": 30}}]})
    code = "from sdkit.cli import main; main(['record', 'tiny'])"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [child.communicate(timeout=300)[0] for child in both]
    counts = [len(re.findall("^  recorded: ", text, re.M)) for text in said]
    assert sum(counts) == 8 == len(studies.load_results()) and min(counts) >= 2, said


# what is wrong


def damaged_history(run):
    path = run.folder / "history.json"
    plain = json.loads(path.read_text())
    plain["epochs"].pop()
    path.write_text(json.dumps({part: plain[part] for part in ("status", "epochs")}))  # as an earlier sdkit wrote it


def not_a_number(run):
    path = run.folder / "history.json"
    plain = json.loads(path.read_text())
    plain["epochs"][0]["loss"] = None
    path.write_text(json.dumps({part: plain[part] for part in ("status", "epochs")}))


def changed_history(run):
    path = run.folder / "history.json"
    path.write_text(path.read_text().replace('"epoch": 1', '"epoch": 0'))


def cut_weights(run):
    path = run.folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def lost_outputs(run):
    (run.folder / "outputs" / "0000.npy").unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damaged_history, "it has 1 of its 2 epochs"),
        (not_a_number, "epoch 1 has a value that is no number"),
        (changed_history, "its content is not what its hash says"),
        (cut_weights, "is damaged"),
        (lost_outputs, "outputs/ has not one file for each of the 2 epochs"),
    ],
)
def test_a_damaged_run_is_named_and_the_rest_goes_on(harm, words):
    first, second, *_ = studies.read_plan(plan_file(TINY)).experiments
    first.run(progress=False)
    harm(first.stored)
    report, said = recorded()
    assert list(report.damaged) == [first.key] and words in report.damaged[first.key]
    assert "delete the folder" in report.damaged[first.key] and second.key in report.recorded
    assert all(r.key != first.key for r in studies.load_results())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p["epochs"]["accuracy.final"].__setitem__(0, 0.99), "its content is not what its hash says"),
        (lambda p: p.pop("environment"), "is no record"),
        (lambda p: p.__setitem__("format", 99), "is a record of the form 99, this sdkit reads 1"),
    ],
)
def test_a_record_that_was_changed_is_refused(change, words):
    recorded({"runs": [SMALL | {"recipe": "smoke"}]})
    (path,) = (home() / "data" / "records" / "tiny").glob("*.json")
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))
    with pytest.raises(Damaged, match=words):
        studies.read_result(path)
    with pytest.warns(UserWarning, match=words):
        assert studies.load_results() == [], "the rest is read"
    report, said = recorded({"runs": [SMALL | {"recipe": "smoke", "seeds": [0, 1]}]})
    assert len(report.recorded) == 1 and words in report.damaged[path.stem] and any(words in line for line in said)
    with pytest.raises(SystemExit) as stop:
        cli.main(["record", "tiny", "--minutes", "0"])
    assert stop.value.code == 1, "what is only asked for is said to be damaged, too"


def test_a_run_that_raised_on_a_cluster_is_told_by_the_exit_status(capsys):
    plan_file({"runs": [SMALL | {"recipe": "smoke", "seeds": [0, 1]}]})
    one = Experiment(**SMALL, recipe="smoke")
    one.run(progress=False)
    token = AWAY.set(lambda waiting, until: [(e, None if e == one else ZeroDivisionError("no term at all")) for e in waiting])
    try:
        with pytest.raises(SystemExit) as stop:
            cli.main(["record", "tiny"])
    finally:
        AWAY.reset(token)
    said = capsys.readouterr().out
    assert stop.value.code == 1 and "1 recorded in" in said and "seed=1): no term at all" in said


# on a bare machine


def test_the_recorder_needs_no_command_line_package_no_notebook_and_no_plots():
    path = plan_file({"runs": [SMALL | {"recipe": "smoke"}]})
    code = (
        "import sys\n"
        "for name in ('tyro', 'tqdm', 'matplotlib', 'ipywidgets', 'openTSNE', 'pytorch_grad_cam'):\n"
        "    sys.modules[name] = None\n"
        "from sdkit import studies\n"
        f"studies.execute_plan({str(path)!r}, 5, say=print)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert "1 recorded in" in out.stdout and len(studies.load_results()) == 1


# what is recorded


def test_the_stock_says_what_is_recorded_and_missing_and_what_cannot_be_read(capsys):
    recorded()
    plan_file(TINY | {"runs": TINY["runs"] + [SMALL | {"method": "lsr", "recipe": "smoke"}]})
    plan_file("{", "broken")
    plan_file({"runs": [SMALL], "metric": []}, "odd")
    first, *_ = sorted((home() / "data" / "records" / "tiny").glob("*.json"))
    first.write_text(first.read_text().replace('"done"', '"diverged"'))
    stock = {s.name: s for s in studies.plan_status()}
    plan = studies.read_plan("tiny")
    here = [e.key for e in plan.experiments[:4] if e.key != first.stem]
    assert [r.key for r in stock["tiny"].records] == here  # in the plan's order
    assert {e.key for e in stock["tiny"].missing} == {first.stem, plan.experiments[4].key}
    assert "its content is not what its hash says" in stock["tiny"].wrong[0]
    assert "is not JSON" in stock["broken"].wrong[0] and "no part of a plan" in stock["odd"].wrong[0]
    assert str(stock["tiny"]).startswith("tiny: 3 recorded, 2 missing") and "`sdkit record tiny`" in str(stock["tiny"])


def test_records_whose_plan_is_gone_are_still_shown():
    recorded({"runs": [SMALL | {"recipe": "smoke"}]})
    (home() / "plans" / "tiny.json").unlink()
    (gone,) = [s for s in studies.plan_status() if s.name == "tiny"]
    assert len(gone.records) == 1 and not gone.missing and gone.about == "Its plan is not here."
    assert str(studies.plan_status("tiny")[0]) == str(gone)


def test_the_stock_of_one_plan_is_one_even_where_there_is_nothing():
    assert [s.name for s in studies.plan_status("length")] == ["length"] and studies.plan_status("length")[0].missing
    (nothing,) = studies.plan_status("nothing")
    assert str(nothing) == "nothing: 0 recorded, 0 missing. Its plan is not here."


def test_what_another_plan_recorded_counts_where_it_kept_as_much(tmp_path):
    e = Experiment(**SMALL, recipe="smoke")
    e.run(progress=False)
    studies.write_result(studies.result_of(e, "other", ["right"]), tmp_path / "data" / "records")
    plan = {"runs": [SMALL | {"recipe": "smoke"}]}
    left = []
    for name, curves in (("less", ["right"]), ("more", ["right", "calibration"])):
        (tmp_path / f"{name}.json").write_text(json.dumps(plan | {"curves": curves}))
        left.append(len(studies.execute_plan(tmp_path / f"{name}.json", minutes=0, say=lambda words: None).missing))
    assert left == [0, 1]


# teachers, and runs that left their weights on a cluster

TAUGHT = SMALL | {"recipe": "smoke", "method": "kd", "teacher": SMALL | {"recipe": "smoke", "seed": 3}}
LOST = {"epochs": 3, "batch_size": 8, "lr": 1e9, "schedule": "constant"}


def test_how_long_a_plan_takes_is_told_without_training_a_teacher():
    (e,) = studies.read_plan(plan_file({"runs": [TAUGHT]})).experiments
    assert studies.cost_left([e]).seconds > 0 and not runs.all_runs()


def test_the_memory_of_a_plan_is_what_the_process_held_at_its_steps():
    """A wide network's steps hold more than a narrow one's, and what is said covers what is held. In a process of its own."""
    script = """
import psutil
from sdkit import Experiment, studies
for width, batch in ((4, 32), (64, 256)):
    recipe = {"epochs": 1, "batch_size": batch, "lr": 0.1, "schedule": "constant"}
    cost = studies.cost_left([Experiment(data="digits", dataset={"train_size": 256}, network={"width": width}, recipe=recipe)])
    assert f"{cost.memory / 1e9:.1f} GB" in str(cost)
    print(cost.memory, psutil.Process().memory_info().rss)
"""
    said = subprocess.check_output([sys.executable, "-c", script], text=True)
    (narrow, held), (wide, _) = (map(int, words.split()) for words in said.splitlines())
    assert held - 10e6 < narrow < wide - 20e6  # what is held is counted by some pages more or less


def test_runs_that_take_equally_long_are_tried_once(monkeypatch):
    tried = []
    monkeypatch.setattr(execute, "_probe", lambda e: tried.append(e) or 2.0)
    entry = TAUGHT | {"seeds": [0, 1], "knobs": {"alpha": {"linear": [0.2, 0.8, 3]}, "temperature": [2.0, 4.0]}}
    listed = studies.read_plan(plan_file({"runs": [entry]})).experiments
    each = [replace(e, teacher=replace(e.teacher, seed=e.seed)) for e in listed]
    assert studies.cost_left(each).seconds == (12 + 2) * 2.0 * RECIPES["smoke"].epochs and len(tried) == 2, (
        "a student, a teacher"
    )


def test_a_run_that_has_not_ended_is_no_damaged_one():
    with pytest.raises(ValueError, match=r"is new: Experiment\(.*\)\.run\(\) trains it"):
        studies.result_of(Experiment(**SMALL, recipe="smoke"), "mine")


def test_a_student_whose_teacher_diverged_is_said_to_be_missing_and_leaves_no_folder():
    report, said = recorded({"runs": [TAUGHT | {"teacher": SMALL | {"recipe": LOST}}]})
    (e,) = studies.read_plan("tiny").experiments
    assert report.missing == [e.key] and not report.damaged and not e.stored.folder.exists()
    assert any(line.startswith("  not trained: ") and f"its teacher, run {e.teacher.key}, diverged" in line for line in said)


def test_the_teacher_of_a_run_that_has_ended_is_not_trained_for_its_record():
    (e,) = studies.read_plan(plan_file({"runs": [TAUGHT]})).experiments
    e.run(progress=False)
    e.teacher.stored.delete()
    report, _ = recorded({"runs": [TAUGHT]})
    assert report.recorded == [e.key] and e.teacher.stored.status == "new"


def test_a_plan_that_keeps_what_is_made_of_weights_asks_a_cluster_for_them():
    asked = []

    def away(waiting, until, **how):
        asked.append(how)
        yield from ((e, None) for e in [*waiting] if e.run(progress=False))

    token = execute.AWAY.set(away)
    try:
        for curves in (["right"], ["right", "factors"], ["exits"]):  # nobody knows the factors of digits
            plan = {"name": "-".join(curves), "curves": curves, "runs": [SMALL | {"recipe": "smoke"}]}
            assert len(recorded(plan)[0].recorded) == 1
    finally:
        execute.AWAY.reset(token)
    assert asked == [{}, {}, {"weights": True}]


def test_a_run_without_its_weights_is_named_where_a_plan_needs_them_and_the_rest_goes_on():
    first, second = studies.read_plan(plan_file({"runs": [SMALL | {"seeds": [0, 1], "recipe": "smoke"}]})).experiments
    first.run(progress=False)
    files = runs.packed(first.stored, weights=False)
    first.stored.delete()
    runs.store(first.stored, files)
    report, _ = recorded({"runs": [SMALL | {"seeds": [0, 1], "recipe": "smoke"}], "curves": ["exits"]})
    assert [*report.damaged] == [first.key] and report.recorded == [second.key]
    assert "came back from a cluster without its weights" in report.damaged[first.key]
