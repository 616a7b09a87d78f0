"""Rows, columns and channels picked by constants, on random indices: the outputs stay, or it refuses with a reason."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.rewrites.base import Bounds
from dlaflow.rewrites.constant_selection import ConstantSelection
from dlaflow.rewrites.load import load_draft
from dlaflow.targets.target import resolve_target

few = settings(deadline=None, max_examples=20)
SHAPE = (2, 3, 5, 4)
OPERATORS = {"Conv", "Transpose", "Slice"}


def longs(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@given(axis=st.sampled_from([2, 3, -1, -2]), data=st.data())
@few
def test_gather(rewritten: Callable, axis: int, data: st.DataObject) -> None:
    side = SHAPE[axis]
    indices = data.draw(st.lists(st.integers(-side, side - 1), min_size=1, max_size=8))
    outcome = rewritten(ConstantSelection(), f"y = Gather<axis={axis}>(x, i)", SHAPE, {"i": longs(*indices)})
    assert outcome.error == 0
    places = [index % side for index in indices]
    steps = set(np.diff(places))
    assert outcome.changed == (places != list(range(side)) and not (len(steps) == 1 and min(steps) > 1))
    assert set(outcome.ops) <= (OPERATORS if outcome.changed else {"Gather"})
    assert not outcome.changed or not outcome.against()
    assert ("Slice" in outcome.ops) == (outcome.changed and places == list(range(places[0], places[0] + len(places))))


@given(axis=st.sampled_from([2, 3, -1]), data=st.data())
@few
def test_gather_of_elements(rewritten: Callable, axis: int, data: st.DataObject) -> None:
    side = SHAPE[axis]
    places = np.array(data.draw(st.lists(st.integers(-side, side - 1), min_size=1, max_size=8)), np.int64)
    sides = [1 if each == axis % 4 else size for each, size in enumerate(SHAPE)]
    indices = np.ones(sides, np.int64) * places.reshape([-1 if each == axis % 4 else 1 for each in range(4)])
    outcome = rewritten(ConstantSelection(), f"y = GatherElements<axis={axis}>(x, i)", SHAPE, {"i": indices})
    assert outcome.error == 0
    assert not outcome.changed or set(outcome.ops) <= OPERATORS


@given(rows=st.lists(st.integers(-5, 4), min_size=1, max_size=6))
@few
def test_gather_of_slices(rewritten: Callable, rows: list[int]) -> None:
    """GatherND with whole columns behind N and C."""
    n, c, h, _ = SHAPE
    indices = np.array([[[[a, b, row % h] for row in rows] for b in range(c)] for a in range(n)], np.int64)
    outcome = rewritten(ConstantSelection(), "y = GatherND(x, i)", SHAPE, {"i": indices})
    assert outcome.error == 0
    assert not outcome.changed or set(outcome.ops) <= OPERATORS


@given(
    start=st.integers(-6, 5), end=st.integers(-7, 9), step=st.sampled_from([-3, -2, -1, 1, 2, 3]),
    axis=st.sampled_from([1, 2, 3]),
)  # fmt: skip
@few
def test_slices_with_steps(rewritten: Callable, start: int, end: int, step: int, axis: int) -> None:
    weights = {"s": longs(start), "e": longs(end), "a": longs(axis), "t": longs(step)}
    if not len(range(*slice(start, end, step).indices(SHAPE[axis]))):
        return
    outcome = rewritten(ConstantSelection(), "y = Slice(x, s, e, a, t)", SHAPE, weights)
    assert outcome.error == 0
    assert not outcome.changed or (axis > 1 and set(outcome.ops) <= OPERATORS and step < 0)
    assert not outcome.changed or not outcome.against()


@given(times=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3)))
@few
def test_tile(rewritten: Callable, times: tuple[int, int, int]) -> None:
    outcome = rewritten(ConstantSelection(), "y = Tile(x, t)", SHAPE, {"t": longs(1, *times)})
    assert outcome.error == 0
    assert outcome.changed == (times[1:] != (1, 1))
    assert not outcome.changed or set(outcome.ops) <= OPERATORS


@pytest.mark.parametrize(
    ("text", "indices", "tensorrt", "reason"),
    [
        ("y = Gather<axis=0>(x, i)", longs(0), "10.3.0", "images of the batch"),
        ("y = Gather<axis=2>(x, i)", longs(0, 2).reshape(1, 2), "10.3.0", "5 dimensions"),
        ("y = Gather<axis=2>(x, i)", np.array(1), "10.3.0", "3 dimensions"),
        ("y = Gather<axis=2>(x, i)", longs(3, 0), "8.2.1", "TensorRT 8.5"),
        ("y = GatherElements<axis=2>(x, i)", np.arange(120).reshape(SHAPE) % 5, "10.3.0", "from row to row"),
    ],
)
def test_refusals(build: Callable, text: str, indices: np.ndarray, tensorrt: str, reason: str) -> None:
    draft = load_draft(build(text, SHAPE, {"i": indices.astype(np.int64)}), None)[0]
    board = "agx-orin-64gb" if tensorrt == "10.3.0" else "agx-xavier-64gb"
    edits, refused = ConstantSelection().find(draft, Bounds(resolve_target(board, tensorrt=tensorrt)))
    assert not edits
    assert reason in next(iter(refused.values()))


def test_an_index_out_of_range_and_one_from_run_time_are_left_alone(build: Callable) -> None:
    for text, indices in (("y = Gather<axis=2>(x, i)", longs(7)), ("j = Shape(x)\ny = Gather<axis=2>(x, i)", longs(7))):
        draft = load_draft(build(text, SHAPE, {"i": indices}), None)[0]
        assert not ConstantSelection().find(draft, Bounds(resolve_target("agx-orin-64gb")))[0]
