"""Global maxima become MaxPool windows: the outputs stay bit by bit, or it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.rewrites.reductions import MaxPooling


@given(
    n=st.integers(1, 2), h=st.integers(1, 40), w=st.integers(1, 40), keep=st.booleans(),
    form=st.sampled_from(["global", "2,3", "-1", "2"]),
)  # fmt: skip
@settings(deadline=None, max_examples=15)
def test_maxima_over_h_and_w(rewritten: Callable, n: int, h: int, w: int, keep: bool, form: str) -> None:
    text = f"y = ReduceMax<axes=[{form}], keepdims={int(keep)}>(x)" if form != "global" else "y = GlobalMaxPool(x)"
    outcome = rewritten(MaxPooling(), text, (n, 3, h, w))
    assert outcome.error == 0
    assert outcome.changed
    for node in outcome.draft.nodes:
        if node.op_type == "MaxPool":
            assert max(next(each.ints for each in node.attribute if each.name == "kernel_shape")) <= 8


def test_maxima_over_channels_are_refused(rewritten: Callable) -> None:
    outcome = rewritten(MaxPooling(), "y = ReduceMax<axes=[1]>(x)", (1, 3, 4, 4))
    assert not outcome.changed
    assert "H and W" in next(iter(outcome.refused.values()))


@pytest.mark.parametrize("window", [400, 2**31])
def test_a_window_of_any_size_becomes_no_endless_chain(window: int, tmp_path: Path) -> None:
    from dlaflow.cli import main

    text = f"""<ir_version: 8, opset_import: ["" : 17]> net (float[1,3,8,8] x) => (float[1,3,1,8] y)
        {{ y = MaxPool <kernel_shape = [{window}, 1]> (x) }}"""
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    assert main(["check", str(path), "--board", "agx-orin-64gb", "--jetpack", "6.2", "-q"]) in {0, 1, 2}


def test_an_attribute_of_another_type_is_none() -> None:
    from dlaflow.rewrites.draft import integer

    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    node.attribute.append(onnx.helper.make_attribute("axis", onnx.TensorProto(name="t", data_type=1)))
    assert integer(node, "axis", 7) == 7
