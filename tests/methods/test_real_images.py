"""Every method at its defaults on photographs: felt, finite, learning. $SDKIT_TEST_DATA is a folder with cifar-100-python."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch

from sdkit import Experiment, Recipe
from sdkit.analysis import term_shares
from sdkit.data.base import Images
from sdkit.methods import METHODS

SAID = {
    "data": "cifar100", "network": {"width": 8}, "recipe": Recipe(epochs=4, batch_size=64, lr=0.05, schedule="one cycle"),
}  # fmt: skip
SLOW = ("few-labels", "self-training", "triplet", "defensive")
"""What four epochs teach them of 100 classes is not measured: two have a tenth of the labels; the classifier of the third
reads an embedding that it does not shape (1.6 % of its training images); and the last stands at chance, as below."""

QUIET = ("vanilla", "nasty", "defensive")
"""The nasty teacher's printed weight is hardly felt in so short a training, as its card says. Soft labels at a temperature of
20 pull by less than a hundredth of hard ones, and are all that `defensive` learns from (cosine 0.2)."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with cifar-100-python, of whose test images 500 are looked at."""
    if not (found := os.environ.get("SDKIT_TEST_DATA")):
        pytest.skip("SDKIT_TEST_DATA names no folder with cifar-100-python")
    whole = Experiment.load_data

    def fewer(experiment: Experiment):
        data = whole(experiment)
        return replace(data, test=Images(*(v[:500] for v in data.test[:2])))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDKIT_HOME", str(tmp_path_factory.mktemp("real")))
        patch.setattr(Experiment, "load_data", fewer)
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_felt_and_stays_finite_on_photographs(name, root, capsys):
    said = SAID | {"dataset": {"train_size": 2000, "root": root}}
    network = said["network"] | ({"survival": 0.5} if name == "self-guidance" else {})
    teacher = Experiment(**said) if "teacher" in METHODS[name].handed_in() else None
    trained = Experiment(name, **said | {"network": network}, teacher=teacher).run(progress=False)
    terms = [v for e in trained.history for v in e.terms.values()]
    assert all(v == v and abs(v) < 1e4 for v in terms), "no term leaves the numbers"
    assert all(p.isfinite().all() for p in trained.model.parameters())
    with torch.random.fork_rng():
        found = term_shares(trained, 2)
    with capsys.disabled():
        print(f"\n{name:20} test {trained.accuracy:5.1%}  {found.said('late')}  {trained.seconds:.0f} s", end="")
    assert name in QUIET or not found.inert("late"), "plain training in disguise"
    assert name in SLOW or trained.history[-1].train_accuracy > 0.02, "twice chance on its training images"
