"""Where and Scatter by constants, on random masks: the outputs stay, or it refuses with a reason."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.rewrites.base import Bounds
from dlaflow.rewrites.constant_mask import ConstantMask
from dlaflow.rewrites.load import load_draft
from dlaflow.targets.target import resolve_target

few = settings(deadline=None, max_examples=20)
SHAPE = (2, 3, 5, 4)
OPERATORS = {"Conv", "Transpose", "BatchNormalization", "Add"}


def along(axis: int, values: list) -> np.ndarray:
    return np.array(values).reshape([-1 if each == axis else 1 for each in range(4)])


@given(axis=st.integers(1, 3), data=st.data(), other=st.sampled_from(["r", "k", "s", "c"]), swap=st.booleans())
@few
def test_where(rewritten: Callable, axis: int, data: st.DataObject, other: str, swap: bool) -> None:
    mask = along(axis, data.draw(st.lists(st.booleans(), min_size=SHAPE[axis], max_size=SHAPE[axis])))
    weights = {"m": mask, "k": along(axis, list(range(SHAPE[axis]))).astype(np.float32), "s": np.array(2, np.float32)}
    weights["c"] = np.full(SHAPE, -3, np.float32)
    operands = f"{other}, x" if swap else f"x, {other}"
    outcome = rewritten(ConstantMask(), f"r = Relu(x)\ny = Where(m, {operands})", SHAPE, weights)
    assert outcome.error == 0
    assert "Where" not in outcome.ops or not outcome.changed
    assert not outcome.changed or not outcome.against()


@given(axis=st.integers(1, 3), data=st.data(), zeros=st.booleans())
@few
def test_scattered_slices(rewritten: Callable, axis: int, data: st.DataObject, zeros: bool) -> None:
    side = SHAPE[axis]
    places = data.draw(st.lists(st.integers(0, side - 1), min_size=1, max_size=side, unique=True))
    part = [len(places) if each == axis else size for each, size in enumerate(SHAPE)]
    indices = np.ones(part, np.int64) * along(axis, [place - data.draw(st.sampled_from([0, side])) for place in places])
    cuts = {"b": np.array([0]), "e": np.array([len(places)]), "a": np.array([axis])}
    weights = {"i": indices, "z": np.zeros(SHAPE, np.float32), **cuts}
    text = f"u = Slice(x, b, e, a)\nr = Relu(x)\ny = ScatterElements<axis={axis}>({'z' if zeros else 'r'}, i, u)"
    outcome = rewritten(ConstantMask(), text, SHAPE, weights)
    assert outcome.changed
    assert outcome.error == 0
    assert "ScatterElements" not in outcome.ops
    assert not outcome.against()


@given(places=st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
@few
def test_scattered_channels(rewritten: Callable, places: list[int]) -> None:
    indices = np.array([[[n, place] for place in places] for n in range(2)], np.int64)
    cuts = {"b": np.array([0]), "e": np.array([len(places)]), "a": np.array([1])}
    text = "u = Slice(x, b, e, a)\nr = Relu(x)\ny = ScatterND(r, i, u)"
    outcome = rewritten(ConstantMask(), text, SHAPE, {"i": indices, **cuts})
    assert outcome.changed
    assert outcome.error == 0
    assert "ScatterND" not in outcome.ops


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("y = Where(m, x, infinite)", "FP16"),
        ("y = Where(m, x, far)", "FP16"),
        ("y = Where(checkers, x, s)", "more than one axis"),
        ("y = Where(rows, x, channels)", "more than one axis"),
        ("p = GlobalMaxPool(x)\ny = Where(rows, x, p)", "broadcast"),
        ('y = ScatterElements<axis=2, reduction="add">(x, i, x)', "adds or compares"),
        ("y = ScatterElements<axis=2>(x, i, x)", "twice"),
    ],
)
def test_refusals(build: Callable, text: str, reason: str) -> None:
    weights = {
        "m": along(1, [True, False, True]),
        "rows": along(2, [True, False, True, True, False]),
        "checkers": np.indices(SHAPE).sum(0) % 2 == 0,
        "channels": along(1, [1, 2, 3]).astype(np.float32),
        "infinite": np.array(-np.inf, np.float32),
        "far": np.array(-1e9, np.float32),
        "s": np.array(1, np.float32),
        "i": np.zeros(SHAPE, np.int64),
    }
    draft = load_draft(build(text, SHAPE, weights), None)[0]
    edits, refused = ConstantMask().find(draft, Bounds(resolve_target("agx-orin-64gb")))
    assert not edits
    assert reason in next(iter(refused.values()))
