"""The mistakes of a first hour with sdkit: each is answered by a sentence that says what was expected, and the mend."""

from __future__ import annotations

import errno
import sys

import pytest
import torch
import torch.nn.functional as F

from sdkit import cli, runs
from sdkit.experiment import Experiment, by_knob, run_all, sweep
from sdkit.methods import Method
from sdkit.train import Recipe, fit

BASE = Experiment(model="four-stage", data="digits", recipe="smoke", network={"width": 4}, dataset={"train_size": 64})
X, Y = (torch.arange(4 * 3 * 8 * 8) % 256).to(torch.uint8).view(4, 3, 8, 8), torch.arange(4) % 2


class Bare(Method):
    """A student's method whose terms are a loss without a name."""

    def terms(self, model, out, batch, progress):
        return F.cross_entropy(out.logits, batch.y)


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        (
            lambda: Experiment(method=lambda model: None),
            "a method is a name, 'byot' for example, or a class that inherits from Method",
        ),
        (lambda: Experiment(method="kd", teacher="resnet18"), r"a teacher is an Experiment, .* for example, got 'resnet18'"),
        (lambda: Experiment(method="vanilla", knobs={"alpha": 1}), "no knob of vanilla is called 'alpha': known are none"),
        (
            lambda: Experiment(data=((X, Y), (X, Y)), dataset={"train_sise": torch.ones(2)}),
            "no option of the data set .* is called 'train_sise': did you mean 'train_size'",
        ),
        (lambda: sweep(BASE, 3), r"the seeds of a sweep are a list, range\(3\) for example, got 3"),
        (lambda: run_all(BASE), r"run_all takes a list of experiments, .*: a single one has \.run\(\)"),
    ],
)
def test_an_experiment_that_cannot_be_says_why_before_anything_is_trained(mistake, sentence):
    with pytest.raises((TypeError, KeyError), match=sentence):
        mistake()


def test_terms_without_names_are_told_from_named_ones():
    network, _, data = BASE.build()
    recipe = Recipe(epochs=1, batch_size=32, lr=0.1, schedule="constant")
    with pytest.raises(TypeError, match=r"Bare\.terms gives a dict, \{'task': loss\} for example, got a Tensor"):
        next(fit(network, Bare(), data, recipe))


def test_runs_without_the_knob_that_is_asked_for_name_those_that_they_have(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    run = Experiment(
        "byot", "four-stage", "digits", "smoke", network={"width": 4}, dataset={"train_size": 64, "validation": 64}
    )
    with pytest.raises(KeyError, match="no knob of this run is called 'alhpa': did you mean 'alpha'"):
        by_knob([run.run(progress=False)], "alhpa")


def test_a_full_disk_is_a_sentence_and_what_was_whole_is_kept(tmp_path, monkeypatch, capsys):
    """The weights do not fit, which are written last."""
    from sdkit.runs import recorder, replacing

    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))

    def full(path, tensors):
        with replacing(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recorder, "write_tensors", full)
    small = ["--data", "digits", "--network", "width=4", "--dataset", "train_size=64", "--recipe", "smoke"]
    with pytest.raises(SystemExit, match=r"^sdkit: no room for weights\.safetensors in .*Make room .*SDKIT_HOME") as stop:
        cli.main(["train", *small])
    assert "\n" not in stop.value.code
    (run,) = runs.all_runs()
    assert run.history() and not [*run.folder.glob(".*")], "the epoch that was written stays, half a file does not"


def test_a_home_that_is_no_folder_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "file"))
    with pytest.raises(SystemExit, match=r"sdkit: .*file.* could not be written \(Not a directory\): .*SDKIT_HOME"):
        cli.main(["train", "--data", "digits", "--recipe", "smoke"])


def test_the_list_says_which_paper_a_number_is(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    cli.main(["list"])
    assert "paper 003                  Zhang, Song, Gao, Chen, Bao and Ma: Be Your Own Teacher" in capsys.readouterr().out


def test_an_app_without_its_extra_names_the_package_as_pip_knows_it(monkeypatch):
    for name in ("voila", "voila.app"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        SystemExit, match=r"sdkit: the app needs Voilà: `pip install 'sdkit-workbook\[app\]'`, or `python3 start\.py"
    ):
        cli.main(["app", "--no-browser"])
