"""CumSum along every axis, forwards and backwards, with and without its own element: the outputs stay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.rewrites.base import Bounds
from dlaflow.rewrites.cumulative_sum import CumulativeSum
from dlaflow.rewrites.load import load_draft
from dlaflow.targets.target import resolve_target

few = settings(deadline=None, max_examples=20)


@given(
    axis=st.integers(-4, 3), exclusive=st.booleans(), reverse=st.booleans(), c=st.integers(1, 5), h=st.integers(1, 5),
    tensorrt=st.sampled_from(["10.3.0", "8.2.1"]),
)  # fmt: skip
@few
def test_running_sums(
    rewritten: Callable, axis: int, exclusive: bool, reverse: bool, c: int, h: int, tensorrt: str
) -> None:
    text = f"y = CumSum<exclusive={int(exclusive)}, reverse={int(reverse)}>(x, a)"
    outcome = rewritten(CumulativeSum(), text, (2, c, h, 3), {"a": np.array(axis, np.int64)}, tensorrt=tensorrt)
    assert outcome.error < 1e-6
    assert outcome.changed != bool(outcome.refused)
    assert outcome.changed == (axis % 4 == 1 or (axis % 4 > 1 and tensorrt == "10.3.0"))
    assert not outcome.changed or set(outcome.ops) <= {"Conv", "Transpose"}
    assert not outcome.changed or tensorrt != "10.3.0" or not outcome.against()


def test_an_axis_that_is_not_there_is_left_alone(build: Callable) -> None:
    draft = load_draft(build("y = CumSum(x, a)", (1, 2, 3, 4), {"a": np.array(5, np.int64)}), None)[0]
    assert CumulativeSum().find(draft, Bounds(resolve_target("agx-orin-64gb"))) == ([], {})
