"""Shapes and values: the batch is put in, shape arithmetic folds, what is not known stays None."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper, parser

from dlaflow.graph.load import load_model
from dlaflow.graph.shapes import Shapes, infer


def _infer(folder: Path, nodes: str, batch: int | None = 1, **more: object) -> Shapes:
    inputs, outputs = more.get("inputs", "float[N,3,8,8] x"), more.get("outputs", "float[M] y")
    text = f'<ir_version: 8, opset_import: ["" : {more.get("opset", 17)}]> g ({inputs}) => ({outputs}) {{ {nodes} }}'
    model = parser.parse_model(text)
    weights = more.get("weights", {})
    assert isinstance(weights, dict)
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return infer(load_model(path), batch)


def test_the_batch_is_put_in(tmp_path: Path) -> None:
    shapes = _infer(tmp_path, "y = Relu(x)", batch=5)
    assert shapes.type_of("x").shape == shapes.type_of("y").shape == (5, 3, 8, 8)
    assert shapes.was_open
    assert not shapes.dynamic_inputs


def test_a_fixed_batch_stays(tmp_path: Path) -> None:
    shapes = _infer(tmp_path, "y = Relu(x)", batch=5, inputs="float[2,3,8,8] x")
    assert shapes.type_of("y").shape == (2, 3, 8, 8)
    assert not shapes.was_open


def test_other_open_dimensions_stay_open_and_are_named(tmp_path: Path) -> None:
    shapes = _infer(tmp_path, "z = Relu(x) y = Relu(w)", inputs="float[N,3,H,W] x, float[N,2] w", batch=4)
    assert shapes.type_of("z").shape == (4, 3, None, None)
    assert shapes.dynamic_inputs == ("x",)


def test_shape_arithmetic_folds(tmp_path: Path) -> None:
    nodes = """s = Shape(x) b = Gather(s, zero) u = Unsqueeze(b, axes) c = Concat<axis=0>(u, rest)
        r = Reshape(x, c) h = Gather(s, two) d = Div(h, two) e = Cast<to=7>(d) f = Unsqueeze(e, axes)
        g1 = Concat<axis=0>(f, f) p = ConstantOfShape(g1) y = Mul(p, p)"""
    weights = {"zero": np.int64(0), "two": np.int64(2), "axes": np.array([0]), "rest": np.array([-1])}
    shapes = _infer(tmp_path, nodes, batch=6, weights=weights)
    assert shapes.type_of("r").shape == (6, 192)
    assert shapes.type_of("y").shape == (4, 4)
    np.testing.assert_array_equal(shapes.values["c"], [6, -1])


def test_a_size_that_depends_on_data_stays_open(tmp_path: Path) -> None:
    assert _infer(tmp_path, "y = NonZero(x)", outputs="int64[A,B] y").type_of("y").shape == (4, None)


def test_what_the_exporter_wrote_down_helps_behind_an_unknown_operator(tmp_path: Path) -> None:
    nodes = "a = Wonder(x) y = Relu(a)"
    assert _infer(tmp_path, nodes, outputs="float[N,7] y", batch=3).type_of("y").shape == (3, 7)


@pytest.mark.parametrize("operator", ["GroupNormalization<num_groups=1>(x, s, s)", "MeanVarianceNormalization(x)"])
def test_operators_with_the_shape_of_their_input(tmp_path: Path, operator: str) -> None:
    shapes = _infer(tmp_path, f"a = {operator} y = Relu(a)", opset=18, weights={"s": np.ones(1, np.float32)}, batch=2)
    assert shapes.type_of("y").shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("y = Range(zero, five, two)", [0, 2, 4]),
        ("y = Slice(v, m1, low, ax, m1)", [3, 2, 1]),
        ("y = Where(t, v, w)", [1, 0, 3]),
        ("y = Div(n, w2)", [-2, 2, 3]),
        ("y = Mod(n, w2)", [1, 0, 1]),
        ("y = Expand(one, sh)", [[1, 1], [1, 1]]),
        ("y = Tile(v, sh1)", [1, 2, 3, 1, 2, 3]),
        ("y = ReduceProd<keepdims=0>(v)", 6),
        ("q, y = Split<axis=0>(v, parts)", [2, 3]),
        ("y = Max(v, w2)", [2, 2, 3]),
        ("y = Clip(n, m1)", [-1, 4, 7]),
        ("y = Clip(n, , five)", [-5, 4, 5]),
        ("y = Clip(n, m1, five)", [-1, 4, 5]),
        ("y = Transpose(grid)", [[1, 3], [2, 4]]),
    ],
)
def test_folding_agrees_with_onnx(tmp_path: Path, nodes: str, expected: object) -> None:
    weights = {
        "zero": np.int64(0), "five": np.int64(5), "two": np.int64(2), "v": np.array([1, 2, 3]),

        "w": np.zeros(3, np.int64), "m1": np.array([-1]), "low": np.array([-(2**63)]), "ax": np.array([0]),
        "t": np.array([True, False, True]),
        "n": np.array([-5, 4, 7]), "w2": np.array([2, 2, 2]), "one": np.array([1]), "sh": np.array([2, 2]),
        "sh1": np.array([2]), "parts": np.array([1, 2]), "grid": np.array([[1, 2], [3, 4]]),
    }  # fmt: skip
    shapes = _infer(tmp_path, nodes, weights=weights, outputs="int64[A] y")
    np.testing.assert_array_equal(shapes.values["y"], expected)


def test_large_values_are_not_folded(tmp_path: Path) -> None:
    shapes = _infer(tmp_path, "y = Expand(one, big)", weights={"one": np.array([1]), "big": np.array([1000, 1000])})
    assert "y" not in shapes.values
    assert shapes.type_of("y").shape == (1000, 1000)


@pytest.mark.parametrize("version", [3, 0])
def test_weights_that_an_old_file_does_not_list_as_inputs_have_shapes(tmp_path: Path, version: int) -> None:
    text = '<ir_version: 8, opset_import: ["" : 8]> g (float[1,3,8,8] x) => (float[M] y) { y = Conv(x, w) }'
    model = parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w"))
    model.ir_version = version
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    held = load_model(path)
    assert infer(held, 1).type_of("y").shape == (1, 4, 6, 6)
    assert [each.name for each in held.whole().graph.input] == ["x"], "ONNX's checker takes it"
