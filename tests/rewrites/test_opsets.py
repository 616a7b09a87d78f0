"""The same forms in old and new opsets and in half precision: valid models with the same outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dlaflow.rewrites.base import Rewrite
from dlaflow.rewrites.constant_mask import ConstantMask
from dlaflow.rewrites.constant_selection import ConstantSelection
from dlaflow.rewrites.cumulative_sum import CumulativeSum
from dlaflow.rewrites.data_movement import DataMovement
from dlaflow.rewrites.masks import LogicInFloats, SelectByMask
from dlaflow.rewrites.recurrence import Unrolling

SHAPE = (2, 3, 5, 4)
WEIGHTS = {
    "apart": np.array([3, 0, 1]),
    "beside": np.array([1, 2]),
    "mask": np.array([True, False, True]).reshape(1, 3, 1, 1),
    "twice": np.array([1, 2, 1, 1]),
    "full": np.array([1, 1, 5, 4]),
    "axis": np.array(2),
    "flat": np.array([10, 3, 4]),
    "w": np.ones((1, 6, 4), np.float32) / 4,
    "r": np.ones((1, 6, 2), np.float32) / 4,
}
FORMS = [
    (ConstantSelection(), "y = Gather<axis=2>(x, apart)"),
    (ConstantSelection(), "y = Gather<axis=2>(x, beside)"),
    (ConstantMask(), "s = Relu(x)\ny = Where(mask, x, s)"),
    (CumulativeSum(), "y = CumSum(x, axis)"),
    (DataMovement(), "y = Tile(x, twice)"),
    (DataMovement(), "p = GlobalMaxPool(x)\ny = Expand(p, full)"),
    (LogicInFloats(), "s = Relu(x)\nl = Less(x, s)\nn = Not(l)\nm = Cast<to=1>(n)\ny = Mul(m, x)"),
    (SelectByMask(), "s = Sigmoid(x)\nl = Less(x, s)\nt = Relu(x)\ny = Where(l, t, s)"),
    (Unrolling(16), "f = Reshape(x, flat)\ny = GRU<hidden_size=2>(f, w, r)"),
]


@pytest.mark.parametrize("opset", [9, 11, 13, 15, 18, 20])
@pytest.mark.parametrize(("rewrite", "text"), FORMS, ids=lambda each: type(each).__name__)
def test_every_opset(rewritten: Callable, rewrite: Rewrite, text: str, opset: int) -> None:
    if opset < 11 and "CumSum" in text:
        return  # it came with opset 11
    outcome = rewritten(rewrite, text, SHAPE, WEIGHTS, opset=opset)
    assert outcome.changed
    assert outcome.error < 1e-5


@pytest.mark.parametrize(("rewrite", "text"), FORMS[:6], ids=lambda each: type(each).__name__)
def test_half_precision(rewritten: Callable, rewrite: Rewrite, text: str) -> None:
    halved = "h = Cast<to=10>(x)\n" + text.replace("(x", "(h").replace(", x,", ", h,").replace("y = ", "z = ")
    outcome = rewritten(rewrite, halved + "\ny = Cast<to=1>(z)", SHAPE, WEIGHTS)
    assert outcome.changed
    assert outcome.error < 2e-3
