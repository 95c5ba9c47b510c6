"""The command line: each verb does its work, each mistake is one sentence and no traceback."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
from filelock import FileLock

import sdkit
from sdkit import cli, pages, runs
from sdkit.cli.where import Where
from sdkit.data import cifar
from sdkit.experiment import live_folder
from sdkit.train import Diverged, Epoch

SMALL = ["--model", "four-stage", "--network", "width=4", "--data", "digits", "--dataset", "train_size=64", "--recipe", "smoke"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    return tmp_path


def test_train_records_and_finds_again_and_show_prints_it(capsys):
    cli.main(["train", "--method", "drg+dsr", "--knob", "alpha=0.5", *SMALL])
    out = capsys.readouterr().out
    assert "trained: run" in out and "'drg.alpha': 0.5" in out
    assert re.search(
        r"test accuracy: \d+\.\d\d% after the last epoch, on the whole test set; \d+\.\d\d% at the best epoch \(\d\), "
        "on the watched images that chose it",
        out,
    )
    cli.main(["train", "--method", "drg+dsr", "--knob", "alpha=0.5", *SMALL])
    assert "found: run" in capsys.readouterr().out
    (run,) = runs.all_runs()
    cli.main(["show", run.key[:4]])
    shown = capsys.readouterr().out
    assert "epoch   lr" in shown and "shallow 2" in shown and "rg " in shown


def test_show_says_of_a_run_that_diverged_that_its_loss_is_no_number(capsys):
    wild = sdkit.Recipe(epochs=1, batch_size=32, lr=1e30, schedule="constant")
    e = sdkit.Experiment(data="digits", dataset={"train_size": 64}, network={"width": 4}, recipe=wild)
    with pytest.raises(Diverged):
        e.run(progress=False)
    cli.main(["show", e.key])
    assert re.search(r"%    task nan\n", shown := capsys.readouterr().out) and "at the best epoch (1)" in shown


def test_show_says_the_line_that_repeats_the_run(capsys):
    """Read as Python, it is the same experiment; numbers are whole where they are."""
    cli.main(["train", "--method", "dsr", "--knob", "beta=0.25", "--seed", "3", *SMALL])
    (run,) = runs.all_runs()
    capsys.readouterr()
    cli.main(["show", run.key])
    shown = capsys.readouterr().out
    line = re.search(r"repeat it by  (Experiment\(.*\))\.run\(\)", shown)[1]
    assert eval(line, {"Experiment": sdkit.Experiment, "Recipe": sdkit.Recipe}).key == run.key
    assert "seed 3.0" not in shown and re.search(r"threads +\d+\n", shown)


def test_show_says_the_knobs_that_were_turned_by_hand_in_the_line_that_repeats_them(capsys):
    e = sdkit.Experiment("dsr", data="digits", dataset={"train_size": 64}, network={"width": 4}, recipe="smoke")
    training, live = e.training(), live_folder(e)
    for event in live.follow(e.config, lambda: training):
        if isinstance(event, Epoch) and event.epoch == 0:
            training.method.beta = 3.0
    cli.main(["show", live.key])
    line = re.search(r"repeat it by  (Experiment\(.*\))\.run\(\)", capsys.readouterr().out)[1]
    assert eval(line, {"Experiment": sdkit.Experiment}).schedule == {1: {"beta": 3.0}}


def test_runs_are_told_by_what_differs_and_deleted_after_a_question(capsys, monkeypatch):
    for beta in ("0.25", "0.5"):
        cli.main(["train", "--method", "dsr", "--knob", f"beta={beta}", *SMALL])
    capsys.readouterr()
    cli.main(["list", "runs"])
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if "dsr" in line]
    assert sorted(re.search(r"beta (\S+) ", line)[1] for line in lines) == ["0.25", "0.5"]
    assert not any("temperature" in line for line in lines), "what is alike is not said"
    keys = [run.key for run in runs.all_runs()]
    cli.main(["note", keys[1][:6], "the", "one", "to", "keep"])
    capsys.readouterr()
    cli.main(["list", "runs"])
    assert re.findall(r"  (\w+)  .*“the one to keep”", capsys.readouterr().out) == [keys[1]]
    monkeypatch.setattr("sys.stdin", io.StringIO())
    cli.main(["rm", keys[0]])
    assert "nothing is deleted" in capsys.readouterr().out, "nobody is there to ask"
    monkeypatch.setattr("builtins.input", lambda question: "")
    cli.main(["rm", keys[0]])
    assert "nothing is deleted" in capsys.readouterr().out and len(runs.all_runs()) == 2
    with FileLock(runs.find(keys[0]).folder / "lock"), pytest.raises(SystemExit, match="is being trained: stop that training"):
        cli.main(["rm", keys[0], "--yes"])
    cli.main(["rm", keys[0], "--yes"])
    assert [run.key for run in runs.all_runs()] == keys[1:]


def test_a_list_is_filtered_by_an_argument_or_a_word(capsys):
    cli.main(["list", "methods", "--having", "teacher"])
    named = re.findall(r"^  (\S+) ", capsys.readouterr().out, re.M)
    assert "kd" in named and "dsr" not in named and "drg" not in named
    cli.main(["list", "networks", "--having", "wide"])
    assert capsys.readouterr().out.count("wide") >= 2


def test_train_with_a_teacher_trains_it_first(capsys):
    cli.main(["train", "--method", "kd", "--teacher", "four-stage", "--knob", "alpha=0.5", *SMALL])
    assert {r.config["method"] for r in runs.all_runs()} == {"kd", "vanilla"}


def test_a_data_set_is_fetched_into_the_folder_that_is_said(tmp_path, monkeypatch):
    def fetch(archive, folder):
        raise ConnectionError(f"fetched into {folder}")

    monkeypatch.setattr(cifar, "fetch", fetch)
    with pytest.raises(SystemExit, match=f"fetched into {tmp_path / 'there'}"):
        cli.main(["train", "--data", "cifar10", "--download", "--dataset", f"root={tmp_path / 'there'}"])


def test_list_names_everything_with_a_line_each(capsys):
    from sdkit.analysis import ANALYSES
    from sdkit.data import DATASETS
    from sdkit.methods import METHODS
    from sdkit.models import MODELS
    from sdkit.train import RECIPES

    cli.main(["list"])
    lines = capsys.readouterr().out.splitlines()
    for name in [*METHODS, *MODELS, *DATASETS, *RECIPES, *ANALYSES]:
        assert any(re.match(rf"  {re.escape(name)} +\S.{{10,}}", line) for line in lines), f"{name} has no line"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--method", "dgr"], "sdkit: no method is called 'dgr': did you mean"),
        (["train", "--method", "drg", "--knob", "alpha"], "sdkit: a setting is name=value, got 'alpha'"),
        (["train", "--data", "cifar100"], "sdkit: .*cifar100"),
        (["show", "zzz"], "sdkit: no run begins with 'zzz'"),
        (["figures", "04_drg"], "sdkit: no notebook is called '04_drg': did you mean '04_drg_dsr'"),
        (["figures", "--model", "resnet21"], "sdkit: no network is called 'resnet21'"),
        (["trian"], "sdkit: no verb is called 'trian': did you mean 'train'"),
        (["train", "byot"], "sdkit: 'byot' belongs to no option: --method byot, perhaps"),
        (["train", "--knob", "alpha=0.3", "lam=0.1"], "sdkit: 'lam=0.1' belongs to no option: .* --knob a=1 --knob b=2"),
        (["train", "--method", "kd", "--dry-run"], "sdkit: kd learns .* or --teacher resnet34"),
        (["train", "--from", "broken.py"], r"sdkit: broken.py cannot be run, line 2: SyntaxError: .*\. Mend it there"),
        (["train", "--from", "missing.py"], r"sdkit: missing.py cannot be run, line 1: ModuleNotFoundError: No module named"),
        (["list", "methods", "--having", "temprature"], "sdkit: nothing under methods has 'temprature' in it"),
        (["record", "cpu", "--minutes", "-1"], "sdkit: --minutes takes a number from 0, .* got -1"),
        (["record", "cpu", "--minutes", "nan"], "sdkit: --minutes takes a number from 0, .* got nan"),
        (["figures", "--train-size", "0", "04_drg_dsr"], "sdkit: --train-size takes a whole number from 1"),
        (["app", "--port", "-1"], "sdkit: --port takes a whole number from 1 to 65535, got -1"),
        (["sweep", "--methods", "dsr"], "sdkit: nothing is swept, --methods dsr is one value: .* an option spelled otherwise"),
        (
            ["sweep", "--beta", "1,2", "--seeds", "0"],
            "sdkit: --seeds and --validation take whole numbers from 1, got 0 and 500",
        ),
        (["grade", "nobody"], "sdkit: nobody is no folder: give the one that holds"),
        (["grade", ".", "--seconds", "0"], "sdkit: an exercise needs some seconds and megabytes, got 0 and 2000"),
        (
            ["grade", ".", "--out", "/dev/null/x"],
            "sdkit: /dev/null/x: Not a directory. Say a place that can be read and written",
        ),
        (["train", "--knob", "alpha=1", "--knob", "alpha=2"], "sdkit: alpha is said 2 times: say it once"),
        (["collect", "nobody", "--into", "all"], "sdkit: nothing is collected: give each student's SDKIT_HOME"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("import sdkit\ndef (:\n")
    (tmp_path / "missing.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.delenv("SDKIT_TRACEBACK", raising=False)
    with pytest.raises(SystemExit, match=sentence) as stop:
        cli.main(arguments)
    assert "\n" not in str(stop.value.code)


def test_spaces_other_words_for_a_group_and_a_name_in_one_are_understood(capsys):
    cli.main(["train", "--method", "byot + drg", "--knob", "drg.alpha = 0.3", "--dry-run"])
    assert "method='byot+drg'" in (said := capsys.readouterr().out) and "'drg.alpha': 0.3" in said
    for what, line in (("models", "resnet18 "), ("datasets", "cifar10 "), ("dsr", "dsr ")):
        cli.main(["list", what])
        assert f"\n  {line}" in capsys.readouterr().out
    cli.main(["train", "--schedule", "step", "--milestones", "1", "2", "--dry-run"])
    assert "milestones=(0.025, 0.05)" in capsys.readouterr().out
    cli.main(["--version"])
    assert capsys.readouterr().out == f"sdkit {sdkit.__version__}\n"
    with pytest.raises(SystemExit) as stop:
        cli.main(["help"])
    assert not stop.value.code and "grade" in capsys.readouterr().out


def test_settings_are_python_values_or_text():
    assert cli.values(["a=0.5", "b=[1, 2]", "c=linear", "d=True"]) == {"a": 0.5, "b": [1, 2], "c": "linear", "d": True}


def test_a_page_that_shows_records_is_drawn_again_when_there_are_new_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    notebooks = Path(__file__).parents[2] / "notebooks"
    names = [p.stem for p in sorted(notebooks.glob("[0-9]*.ipynb"))]
    before = {n: pages.fingerprint(notebooks / f"{n}.ipynb", {}) for n in names}
    place = tmp_path / "data" / "records" / "cpu" / "0123456789ab.json"
    place.parent.mkdir(parents=True)
    place.write_text("{}")
    after = {n: pages.fingerprint(notebooks / f"{n}.ipynb", {}) for n in before}
    assert [n for n in before if after[n] == before[n]] == ["09_your_own"], "which reads none"


def test_figures_that_failed_to_be_drawn_again_are_not_said_to_be_unchanged(tmp_path, monkeypatch, capsys):
    for name in ("DATA", "MODEL", "RECIPE", "SEED", "TRAIN_SIZE", "FIGURES"):
        monkeypatch.setenv(f"SDKIT_{name}", "")  # so that what the command sets goes with the test
        monkeypatch.delenv(f"SDKIT_{name}")
    notebook, fails = tmp_path / "notebooks" / "01_mine.ipynb", []

    def execute(source, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("{}")
        if fails:
            raise RuntimeError(f"a cell of {source.name} failed")
        target.with_suffix(".html").write_text("")

    notebook.parent.mkdir()
    notebook.write_text('{"cells": []}')
    monkeypatch.setattr(pages, "execute", execute)
    cli.main(["figures"])
    cli.main(["figures"])
    assert "nothing changed" in capsys.readouterr().out
    fails.append(True)
    for again in (["--again"], []):
        with pytest.raises(SystemExit, match="a cell of 01_mine.ipynb failed"):
            cli.main(["figures", *again])


def test_a_scheduler_without_a_dashboard_trains_as_any_other(monkeypatch, capsys):
    class Client:
        @property
        def dashboard_link(self):
            return {}["dashboard"]  # as Dask's does

    monkeypatch.setattr("sdkit.studies.on", lambda *_, **__: contextlib.nullcontext(Client()))
    with Where("tcp://host:8786").entered():
        print("and trains")
    assert capsys.readouterr().out == "trained on tcp://host:8786\nand trains\n"


def test_what_is_said_of_a_cluster_wants_one(capsys):
    with pytest.raises(SystemExit, match="are of a cluster: say which, --cluster"):
        cli.main(["table", "byot/4", "--scale", "smoke", "--gpu"])
    assert not runs.all_runs()
