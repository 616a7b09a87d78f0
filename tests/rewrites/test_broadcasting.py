"""Operands that a release does not broadcast: gates are repeated, constants become a Scale; the outputs stay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.rewrites.broadcasting import Broadcasting
from dlaflow.rewrites.channel_scale import ChannelScale

BOUND = 2e-5
few = settings(deadline=None, max_examples=12)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@given(
    n=st.integers(1, 2), c=st.integers(1, 4), h=st.integers(1, 40), w=st.integers(1, 40),
    op=st.sampled_from(["Mul", "Add", "Max"]), swap=st.booleans(),
)  # fmt: skip
@few
def test_a_gate_of_channels(rewritten: Callable, n: int, c: int, h: int, w: int, op: str, swap: bool) -> None:
    inputs = "g, x" if swap else "x, g"
    text = f"m = ReduceMean<axes=[2,3]>(x)\ng = Sigmoid(m)\ny = {op}({inputs})"
    for tensorrt, spread in (("10.3.0", ""), ("8.4.1", "Resize"), ("7.1.3", "ConvTranspose")):
        outcome = rewritten(Broadcasting(), text, (n, c, h, w), tensorrt=tensorrt)
        assert outcome.error < BOUND
        assert outcome.changed == (spread != "" and (h, w) != (1, 1) and not outcome.refused)
        if outcome.changed:
            assert spread in outcome.ops
        elif outcome.refused:
            assert max(h, w) > 22  # a prime beyond the largest factor


@given(c=st.integers(2, 5), h=st.integers(1, 9), w=st.integers(1, 9))
@few
def test_a_gate_of_places(rewritten: Callable, c: int, h: int, w: int) -> None:
    text = "m = ReduceMean<axes=[1]>(x)\ng = Sigmoid(m)\ny = Mul(x, g)"
    for tensorrt in ("10.3.0", "8.4.1"):
        outcome = rewritten(Broadcasting(), text, (2, c, h, w), tensorrt=tensorrt)
        assert outcome.error < BOUND
        # One place is one number for each image, which 10.3 broadcasts.
        assert outcome.changed == (tensorrt == "8.4.1" or (h, w) != (1, 1))


def test_an_operand_with_another_batch_is_left_alone(rewritten: Callable) -> None:
    text = "m = ReduceMean<axes=[0,2,3]>(x)\ny = Mul(x, m)"
    assert not rewritten(Broadcasting(), text, (2, 3, 4, 4), tensorrt="8.4.1").changed


@given(
    n=st.integers(1, 2), c=st.integers(1, 5), whole=st.booleans(),
    form=st.sampled_from(["y = Mul(x, s)", "y = Add(s, x)", "m = Mul(s, x)\ny = Add(m, t)"]),
)  # fmt: skip
@few
def test_constants_of_channels(rewritten: Callable, n: int, c: int, whole: bool, form: str) -> None:
    weights = {"s": random(1, c, 1, 1) if whole else random(c, 1, 1), "t": random(1)}
    before = rewritten(ChannelScale(), form, (n, c, 4, 3), weights, tensorrt="8.4.1")
    assert before.ops == ["BatchNormalization"]
    assert before.error < BOUND
    assert rewritten(ChannelScale(), form, (n, c, 4, 3), weights, tensorrt="10.3.0").changed == (n > 1)


@pytest.mark.parametrize("shape", [(1, 1, 4, 3), (1, 4, 4, 3), (4, 3)])
def test_constants_of_places_are_left_alone(rewritten: Callable, shape: tuple[int, ...]) -> None:
    outcome = rewritten(ChannelScale(), "y = Mul(x, s)", (1, 4, 4, 3), {"s": random(*shape)}, tensorrt="8.4.1")
    assert not outcome.changed
