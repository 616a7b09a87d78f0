"""What the rules read off a tensor: the batch that the DLA sees, and C, H, W."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.graph.layer import Tensor
from dlaflow.graph.load import load_model
from dlaflow.placement.check import check_model
from dlaflow.rules.base import Example
from dlaflow.rules.case import channel_and_space, effective_batch
from dlaflow.rules.general import Dimensions, EffectiveBatch
from dlaflow.targets.target import resolve_target
from tests.rules.test_examples import build, findings


@pytest.mark.parametrize(
    ("shape", "batch", "rest"),
    [
        ((8, 3, 32, 16), 8, (3, 32, 16)),
        # More than four dimensions: all before the last three are the batch.
        ((2, 5, 3, 32, 16), 10, (3, 32, 16)),
        ((2, 5, 7, 3, 32, 16), 70, (3, 32, 16)),
        # Fewer: the first one is.
        ((8, 3, 32), 8, (3, 32)),
        ((8, 3), 8, (3,)),
        ((8,), 8, ()),
        ((), None, ()),
        (None, None, ()),
        # An open size makes the product unknown where it belongs to it, and is left out of C, H, W.
        ((None, 5, 3, 32, 16), None, (3, 32, 16)),
        ((2, 5, None, 32, 16), 10, (32, 16)),
    ],
)
def test_the_batch_is_all_before_channels_and_space(shape, batch, rest):
    tensor = Tensor("x", shape, "float32")
    assert effective_batch(tensor) == batch
    assert channel_and_space(tensor) == rest


@pytest.mark.parametrize(
    ("x", "batch", "dims"),
    [
        ("2,2048,8,2,2", False, False),
        ("2,2049,8,2,2", True, False),
        ("2,3,683,8,2,2", True, False),
        # A dimension of the batch may be longer than C, H or W may be; it counts as batch alone.
        ("1,8193,8,2,2", True, False),
        ("1,1,8193,2,2", False, True),
    ],
)
def test_five_dimensions_are_held_against_the_bounds_of_batch_and_size(x: str, batch: bool, dims: bool, tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(build(Example("y = Relu(x)", x=x)).SerializeToString())
    placement = check_model(load_model(path), resolve_target("agx-orin-64gb", tensorrt="8.5.2"))
    assert bool(findings(placement, EffectiveBatch)) == batch
    assert bool(findings(placement, Dimensions)) == dims
