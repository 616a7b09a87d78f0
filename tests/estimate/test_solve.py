"""The solver finds what made the data, shrugs off an outlier, and keeps to the prior where data says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from dlaflow.estimate.dla import Array
from dlaflow.estimate.solve import Prior, solve

RATE, FIXED = 5.0, 0.2
WORK = np.array([0.1, 0.5, 1.0, 4.0, 10.0, 40.0, 100.0, 3.0])


def model(values: Array) -> Array:
    return np.asarray(WORK / values[0] + values[1])


PRIORS = (Prior("rate", 2.0, 1.0, "guess"), Prior("fixed", 0.5, 1.0, "guess"), Prior("silent", 7.0, 0.3, "unseen"))


def test_it_finds_the_parameters_that_made_the_data() -> None:
    measured = model(np.array([RATE, FIXED]))
    found = solve(model, measured, np.ones(WORK.size), PRIORS)
    assert found.values[:2] == pytest.approx([RATE, FIXED], rel=0.05)
    assert found.values[2] == pytest.approx(7.0)
    assert found.sds[2] == pytest.approx(0.3, rel=0.01)
    assert found.sds[0] < 0.2


def test_one_wild_point_does_not_bend_the_rest() -> None:
    measured = model(np.array([RATE, FIXED]))
    measured[4] *= 8
    found = solve(model, measured, np.ones(WORK.size), PRIORS)
    assert found.values[:2] == pytest.approx([RATE, FIXED], rel=0.2)


def test_without_weight_only_the_prior_speaks() -> None:
    found = solve(model, model(np.array([RATE, FIXED])), np.full(WORK.size, 1e-9), PRIORS)
    assert found.values == pytest.approx([2.0, 0.5, 7.0], rel=1e-3)
