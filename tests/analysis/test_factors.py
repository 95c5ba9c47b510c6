"""The factors of the built-in shapes: what is drawn where one stands alone, and what of them a network tells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdkit import analysis, studies
from sdkit.analysis import factors, seen_by_two
from sdkit.data import FACTORS, alone, factors_of
from sdkit.experiment import Experiment
from sdkit.studies.result import judged_by, result_of, right_images
from sdkit.train import Recipe


def test_a_factor_alone_stands_beside_a_stranger():
    """Known shapes in three textures that no class of the twelve has, known textures on two strange shapes."""
    drawn = {f: alone(f, 24) for f in FACTORS}
    assert {f: (len(i.y), int(i.y.max()) + 1) for f, i in drawn.items()} == {
        "whole": (24, 12),
        "shape": (24, 4),
        "texture": (24, 3),
    }
    again = alone("shape", 24)
    assert torch.equal(again.x, drawn["shape"].x) and not torch.equal(alone("shape", 24, seed=1).x, again.x)
    with pytest.raises(ValueError, match="take 12 or 20"):
        alone("shape", classes=36)
    with pytest.raises(KeyError, match="colour"):
        alone("colour")


def test_the_outline_says_the_shape_whatever_the_texture():
    """A shape alone covers as many pixels as in its classes, to a tenth."""
    area = {f: alone(f, 480).mask.flatten(1).sum(1).double() for f in ("shape", "whole")}
    for k in range(4):
        whole = area["whole"][torch.arange(480) % 12 // 3 == k].mean()
        assert area["shape"][torch.arange(480) % 4 == k].mean() == pytest.approx(float(whole), rel=0.1)


def test_a_factors_value_is_as_likely_as_all_its_classes():
    """Eq. by hand: p(shape) is the sum of p(class) over the shape's classes."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(50, 12)) * 2
    for factor, values in factors_of(12).items():
        y = rng.integers(0, max(values) + 1, 50)
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        slow = [
            max(range(max(values) + 1), key=lambda v: sum(p[i, k] for k in range(12) if values[k] == v)) == y[i]
            for i in range(50)
        ]
        found = factors(torch.tensor(z), torch.tensor(y), values)
        assert found.right.tolist() == slow and found.accuracy == pytest.approx(np.mean(slow)), factor
        assert found.chance == pytest.approx(1 / (max(values) + 1))
    with pytest.raises(ValueError, match="NaN"):
        factors(torch.full((1, 12), torch.nan), torch.zeros(1, dtype=torch.long), values)


def test_what_two_networks_see_sums_to_all():
    a, b = (torch.rand(200, generator=torch.Generator().manual_seed(s)) < 0.6 for s in (1, 2))
    seen = seen_by_two(a, b)
    assert sum(seen) == pytest.approx(1) and seen.both + seen.first == pytest.approx(float(a.double().mean()))


def test_a_record_keeps_which_images_of_a_factor_alone_are_right(tmp_path, monkeypatch):
    """Two methods judged by a factor: the gain is that of its images."""
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    tiny = {"recipe": Recipe(epochs=1, batch_size=32), "dataset": {"train_size": 32}, "network": {"width": 4}}
    runs = [Experiment(m, **tiny) for m in ("vanilla", "lsr")]
    trained = [e.run(progress=False) for e in runs]
    results = [result_of(e, "plan", ["right", "factors"]) for e in runs]
    logits, y, values = trained[0].factors()["texture"]
    kept = results[0].curves["factors"]["texture"]
    assert kept == right_images(factors(logits, y, values).right)
    judged = judged_by(results[0], kept)
    assert judged["accuracy.final"] == pytest.approx(analysis.factors(logits, y, values).accuracy)
    found = studies.by_factor(results)
    assert [*found] == [*FACTORS] and [row.name for row in found["shape"].rows] == ["vanilla", "lsr"]
    ours, plain = (factors(*t.factors()["shape"]).accuracy for t in reversed(trained))
    assert found["shape"].rows[1].gain == pytest.approx(ours - plain)
    assert Experiment(data="digits", **tiny).run(progress=False).factors() == {}
