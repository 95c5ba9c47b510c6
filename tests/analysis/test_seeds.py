"""The bootstrap over seeds, against scipy's and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sdkit.analysis import bootstrap


@pytest.mark.parametrize(("n", "level"), [(5, 0.95), (20, 0.8)])
def test_the_interval_is_scipys_but_for_the_draws(n, level):
    values = np.random.default_rng(n).normal(0.7, 0.02, n)
    theirs = stats.bootstrap((values,), np.mean, confidence_level=level, n_resamples=10_000, method="percentile", rng=0)
    ours = bootstrap(values.tolist(), level)
    width = ours.high - ours.low
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.05 * width)


def test_of_two_seeds_a_quarter_of_the_draws_is_either_twice():
    """So the 95 % interval reaches from one to the other, and the middle 40 % are their mean."""
    assert bootstrap([0.0, 1.0])[1:] == (0.0, 1.0)
    assert bootstrap([0.0, 1.0], level=0.4) == (0.5, 0.5, 0.5)


def test_the_same_seed_gives_the_same_interval():
    values = [1, 2, 4, 8, 16.5]
    assert bootstrap(values, draws=50) == bootstrap(values, draws=50) != bootstrap(values, draws=50, seed=1)


def test_of_three_seeds_the_interval_reaches_from_the_least_to_the_largest():
    """So it holds the true mean but where all three lie on one side of it: in three of four cases, as the docstring says."""
    assert bootstrap([1.0, 2.0, 4.0])[1:] == (1.0, 4.0)


@pytest.mark.parametrize(("values", "level"), [([1.0], 0.95), ([1.0, float("nan")], 0.95), ([1.0, 2.0], 1.0)])
def test_what_gives_no_interval_is_refused(values, level):
    with pytest.raises(ValueError, match="two or more finite values and a level|each a finite number"):
        bootstrap(values, level)
