"""GELU, Mish and Softplus within the bounds that their files state, on random shapes and ranges."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.rewrites.base import Rewrite
from dlaflow.rewrites.prove import Executable
from dlaflow.rewrites.smooth_activations import GeluBySigmoid, MishBySigmoid, SoftplusBySigmoid

few = settings(deadline=None, max_examples=8)
GELU = "d = Div(x, root)\ne = Erf(d)\np = Add(e, one)\nm = Mul(x, p)\ny = Mul(m, half)"
CONSTANTS = {
    "root": np.array(2**0.5, np.float32),
    "one": np.array(1, np.float32),
    "half": np.array(0.5, np.float32),
}


def _gelu(x: np.ndarray) -> np.ndarray:
    from math import erf

    return x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2


FORMS: dict[str, tuple[Rewrite, str, float, Callable[[np.ndarray], np.ndarray]]] = {
    "gelu": (GeluBySigmoid(), GELU, GeluBySigmoid.largest_error, _gelu),
    "mish": (
        MishBySigmoid(),
        "s = Softplus(x)\nt = Tanh(s)\ny = Mul(x, t)",
        MishBySigmoid.largest_error,
        lambda x: x * np.tanh(np.logaddexp(0, x)),
    ),
    "softplus": (SoftplusBySigmoid(), "y = Softplus(x)", SoftplusBySigmoid.largest_error, lambda x: np.logaddexp(0, x)),
}


@pytest.mark.parametrize("name", FORMS)
@given(n=st.integers(1, 2), c=st.integers(1, 5), side=st.integers(1, 6), reach=st.sampled_from([0.5, 4.0, 30.0]))
@few
def test_the_bound_holds(rewritten: Callable, name: str, n: int, c: int, side: int, reach: float) -> None:
    rewrite, text, bound, wanted = FORMS[name]
    outcome = rewritten(rewrite, text, (n, c, side, 7), CONSTANTS)
    assert outcome.changed
    assert not {"Erf", "Softplus", "Tanh", "Mish"} & set(outcome.ops)
    x = np.random.default_rng(side).uniform(-reach, reach, (n, c, side, 7)).astype(np.float32)
    found = Executable(outcome.draft.proto()).run({"x": x})["y"]
    assert np.abs(found - wanted(x.astype(np.float64))).max() <= bound + 1e-5 * reach


@pytest.mark.parametrize("name", FORMS)
def test_the_bound_is_that_of_the_whole_line(rewritten: Callable, name: str) -> None:
    rewrite, text, bound, wanted = FORMS[name]
    draft = rewritten(rewrite, text, (1, 1, 100, 400), CONSTANTS).draft
    x = np.linspace(-20, 20, 40000, dtype=np.float32).reshape(1, 1, 100, 400)
    error = float(np.abs(Executable(draft.proto()).run({"x": x})["y"] - wanted(x.astype(np.float64))).max())
    assert 0.8 * bound < error <= bound


def test_mish_as_one_operator(rewritten: Callable) -> None:
    outcome = rewritten(MishBySigmoid(), "y = Mish(x)", (1, 3, 4, 4), opset=18)
    assert "Mish" not in outcome.ops
    assert outcome.error < 5e-3


def test_softplus_leaves_mish_alone(rewritten: Callable) -> None:
    assert not rewritten(SoftplusBySigmoid(), FORMS["mish"][1], (1, 3, 4, 4)).changed


@pytest.mark.parametrize("rewrite", [MishBySigmoid(), SoftplusBySigmoid()])
def test_rows_are_refused(rewritten: Callable, rewrite: Rewrite) -> None:
    text = "y = Mish(x)" if rewrite.id == "mish" else "y = Softplus(x)"
    outcome = rewritten(rewrite, text, (2, 8), opset=18)
    assert not outcome.changed
    assert "(N, C, H, W)" in next(iter(outcome.refused.values()))
