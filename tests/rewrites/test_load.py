"""What goes when `fix` reads a model: casts that change nothing, copies of weights, weights that nodes compute."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.rewrites.load import evaluate, load_draft
from dlaflow.rewrites.outputs import watch
from dlaflow.rewrites.prove import Executable, compare

TYPES = {1: "float32", 10: "float16", 11: "float64", 6: "int32", 7: "int64", 3: "int8", 9: "bool"}
EXACT = {(1, 11), (10, 1), (10, 11), (6, 7), (6, 11), (3, 1), (3, 10), (3, 6), (3, 7), (3, 11)}
"""Pairs (narrow, wide) where each number of the first is one of the second."""


@given(middle=st.sampled_from([1, 10, 11, 6, 7, 3]), start=st.sampled_from([1, 10, 11, 6, 7, 3]))
@settings(deadline=None, max_examples=40)
def test_a_cast_and_its_way_back_go_where_no_number_changes(build: Callable, middle: int, start: int) -> None:
    lines = (
        f"s = Mul(x, hundred)\na = Cast<to={start}>(s)\nn = Neg(a)\nb = Cast<to={middle}>(n)\nc = Cast<to={start}>(b)"
    )
    lines += "\nd = Abs(c)\ny = Cast<to=1>(d)"
    path = build(lines, (1, 3, 8, 8), {"hundred": np.array(1000, np.float32)})
    draft, _ = load_draft(path, None)
    casts = [node.attribute[0].i for node in draft.nodes if node.op_type == "Cast"]
    kept = [start, 1] if start != 1 else []
    exact = start == middle or (start, middle) in EXACT
    assert casts == (kept if exact else [*kept[:1], middle, start, *kept[1:]])
    if exact:
        evidence = compare(Executable(path), Executable(draft.proto()), {"x": (1, 3, 8, 8)})
        assert max(each.absolute for each in evidence) == 0


def test_weights_that_nodes_make_are_weights(build: Callable) -> None:
    lines = """
        shared = Identity(w)
        half = Mul(w, two)
        moved = Transpose<perm=[1,0,2,3]>(half)
        filled = ConstantOfShape(shape)
        wide = Cast<to=1>(h)
        c = Conv(x, shared, b)
        d = Conv(c, moved, filled)
        e = Conv(d, wide)
        y = Relu(e)
    """
    weights = {
        "w": np.ones((4, 4, 3, 3), np.float32), "two": np.array(2, np.float32), "shape": np.array([4], np.int64),
        "h": np.ones((4, 4, 1, 1), np.float16), "b": np.zeros(4, np.float32),
    }  # fmt: skip
    path = build(lines, (1, 4, 8, 8), weights)
    draft, _ = load_draft(path, None)
    assert [node.op_type for node in draft.nodes] == ["Conv", "Conv", "Conv", "Relu"]
    onnx.checker.check_model(draft.proto(), full_check=True)
    evidence = compare(Executable(path), Executable(draft.proto()), {"x": (1, 4, 8, 8)})
    assert max(each.relative for each in evidence) < 1e-6


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_cast_between_an_input_and_an_output_stays(build: Callable, name: str) -> None:
    lines = "y = Cast<to=1>(x)" if name == "y" else "r = Cast<to=1>(x)\ny = Relu(r)"
    draft, _ = load_draft(build(lines), None)
    assert [node.op_type for node in draft.nodes] == (["Cast"] if name == "y" else ["Relu"])


def test_a_copy_that_only_a_branch_reads(build: Callable) -> None:
    """It goes, and the branch takes the tensor by the name that it was copied from."""
    branches = "<then_branch = g1 () => (float[1,3,4,4] t) { t = Relu(b) }, else_branch = g2 () => (float[1,3,4,4] e)"
    branches += " { e = Neg(b) }>"
    text = f"a = Sigmoid(x)\nb = Identity(a)\ns = ReduceMax<keepdims = 0>(x)\nc = Greater(s, k)\ny = If {branches} (c)"
    path = build(text, (1, 3, 4, 4), {"k": np.array(0.0, np.float32)})
    draft, _ = load_draft(path, None)
    onnx.checker.check_model(draft.proto(), full_check=True)
    assert "Identity" not in [node.op_type for node in draft.nodes]
    evidence = compare(Executable(path), Executable(draft.proto()), {"x": (1, 3, 4, 4)})
    assert max(each.absolute for each in evidence) == 0


def test_a_copy_that_is_an_output_beside_one_that_is_read(build: Callable) -> None:
    """Both copies go; the second gives the tensor another name, which the readers of the first must take."""
    text = "a = Relu(x)\nb = Identity(a)\nc = Sigmoid(b)\ny = Identity(a)\nz = Neg(c)"
    path = build(text, (1, 3, 4, 4), outputs=("y", "z"))
    draft, _ = load_draft(path, None)
    onnx.checker.check_model(draft.proto(), full_check=True)
    assert [node.op_type for node in draft.nodes] == ["Relu", "Sigmoid", "Neg"]
    evidence = compare(Executable(path), Executable(draft.proto()), {"x": (1, 3, 4, 4)})
    assert max(each.absolute for each in evidence) == 0


HUGE = {
    "Range": "y = Range(zero, million, step)",
    "Expand": "w = Expand(one, square)\ny = Add(w, step)",
    "Tile": "w = Tile(one, square)\ny = Add(w, step)",
    "MatMul": "l = Expand(one, tall)\nr = Transpose(l)\ny = MatMul(l, r)",
}


@pytest.mark.parametrize("what", HUGE)
def test_what_a_few_bytes_make_huge_is_not_computed(tmp_path: Path, what: str) -> None:
    """A file of 200 bytes once took 24 GB: nothing here may take as much as the values would."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> net (float[1, 3, 8, 8] x) => (float[] y) { y = Identity(x) }'
    )
    values = {"zero": 0, "million": 1 << 30, "step": 1}
    named = {name: np.array(value, np.float32) for name, value in values.items()}
    named |= {"one": np.ones((1, 1), np.float32), "square": np.array([40_000, 40_000]), "tall": np.array([40_000, 1])}
    nodes = onnx.parser.parse_graph("g () => () {" + HUGE[what] + "}").node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in named.items())
    onnx.save(model, tmp_path / "m.onnx")
    tracemalloc.start()
    try:
        draft, _ = load_draft(tmp_path / "m.onnx", None)
        watch(draft)
        assert tracemalloc.get_traced_memory()[1] < 1 << 28
    finally:
        tracemalloc.stop()
    assert {node.op_type for node in draft.nodes} & {what}


@pytest.mark.parametrize(
    ("places", "values"),
    [
        ([[0], [-1]], [[[5, 6], [7, 8]], [[1, 2], [3, 4]]]),
        ([[[0, 1], [2, 0]], [[1, 1], [1, 0]]], [[[5, 6], [7, 8]], [[1, 2], [3, 4]]]),
        ([[0, 1, 1], [0, 1, 1]], [5, 6]),
    ],
    ids=["slices", "rows", "one place twice"],
)
def test_a_scatter_is_what_the_reference_makes_of_it(places: list, values: list) -> None:
    from onnx.reference import ReferenceEvaluator

    node = onnx.helper.make_node("ScatterND", ["x", "i", "v"], ["y"])
    ports = [onnx.helper.make_empty_tensor_value_info(name) for name in ("x", "i", "v", "y")]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ports[:3], ports[3:]))
    feeds = {"x": np.arange(12).reshape(3, 2, 2), "i": np.array(places), "v": np.array(values)}
    (expected,) = ReferenceEvaluator(model).run(None, feeds)
    np.testing.assert_array_equal(evaluate(node, feeds, 17)[0], expected)
    assert evaluate(node, feeds | {"i": np.full_like(feeds["i"], 9)}, 17) is None, "places that are not there"
