"""Shapes and batch are put into a model's inputs in one place, and what does not fit is refused with both values."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import parser

from dlaflow.errors import UsageError
from dlaflow.fixed_shape import FixedShape, fixed_shapes
from dlaflow.graph.inputs import batch_of, behind_batch, dims_of, fed_inputs, fix_inputs, open_inputs
from dlaflow.graph.load import load_model
from dlaflow.graph.lower import lower
from dlaflow.graph.shapes import infer

ONE = "float[N,3,H,W] x"
TWO = "float[N,3,H,W] x, float[N,C,H,W] r"


def _model(inputs: str = ONE, nodes: str = "y = Relu(x)") -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => (float[A] y) {{ {nodes} }}')


def _fixed(inputs: str, *shapes: str, batch: int | None = None) -> dict[str, object]:
    graph = _model(inputs).graph
    given = fixed_shapes(shapes)
    fix_inputs(graph, batch_of(graph, batch, given), given)
    return {value.name: dims_of(value) for value in fed_inputs(graph)}


def test_a_shape_gives_the_batch_too() -> None:
    assert _fixed(ONE, "4x3x8x16") == {"x": (4, 3, 8, 16)}


def test_one_symbol_is_one_size_in_every_input() -> None:
    assert _fixed(TWO, "x:4x3x8x16") == {"x": (4, 3, 8, 16), "r": (4, None, 8, 16)}
    assert _fixed(TWO, "x:4x3x8x16", "r:4x1x8x16") == {"x": (4, 3, 8, 16), "r": (4, 1, 8, 16)}


def test_the_batch_of_a_shape_goes_to_inputs_with_another_symbol() -> None:
    assert _fixed("float[N,3,H,W] x, float[M,2] s", "x:4x3x8x8") == {"x": (4, 3, 8, 8), "s": (4, 2)}


def test_without_shapes_only_the_batch_is_put_in() -> None:
    assert _fixed(ONE) == {"x": (1, 3, None, None)}
    assert _fixed(ONE, batch=8) == {"x": (8, 3, None, None)}


def test_an_input_without_a_rank_takes_any_shape() -> None:
    model = _model("float[N,3] x")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    fix_inputs(model.graph, 1, fixed_shapes("2x3x4"))
    assert dims_of(model.graph.input[0]) == (2, 3, 4)


@pytest.mark.parametrize(
    ("inputs", "shapes", "batch", "words"),
    [
        (ONE, ["image:1x3x8x8"], None, r"unknown input 'image'. Known: x"),
        (ONE, ["x:1x3x8"], None, r"3 dimensions: expected 4, \?x3x\?x\?, received 1x3x8\. .*--shape x:1x3x640x640"),
        (ONE, ["x:1x1x8x8"], None, r"fixes dimension 1 of x: expected \?x3x\?x\?, received 1x1x8x8"),
        (ONE, ["x:1x3x8x8", "1x3x8x8"], None, "x has two shapes"),
        (ONE, ["1x3x8x8"], 2, r"--batch contradict.*expected --shape x:2x3x8x8, received 1x3x8x8\. Leave --batch out"),
        (TWO, ["1x3x8x8"], None, r"2 inputs, so a shape needs a name: expected NAME:1x3x8x8, NAME one of x, r"),
        (TWO, ["x:1x3x8x8", "r:2x3x8x8"], None, r"one name, 'N'.*expected 1, received 2 in r:2x3x8x8"),
        ("seq(float[2]) x", ["1x2"], None, "x is no tensor"),
    ],
)
def test_what_does_not_fit_is_told(inputs: str, shapes: list[str], batch: int | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        _fixed(inputs, *shapes, batch=batch)


def test_open_inputs_are_found_with_their_dimensions() -> None:
    assert open_inputs(_model("float[N,3,H,W] x, float[2,4] r").graph) == {"x": (None, 3, None, None)}


def test_a_shape_behind_the_batch_is_that_of_the_first_input() -> None:
    graph = _model(TWO).graph
    assert behind_batch(graph, (3, 8, 8), None) == FixedShape("x", (1, 3, 8, 8))
    assert behind_batch(graph, (3, 8, 8), 5).dims == (5, 3, 8, 8)
    assert behind_batch(_model("float[2,3,H,W] x").graph, (3, 8, 8), None).dims == (2, 3, 8, 8)


@pytest.fixture
def halved(tmp_path: Path) -> Path:
    """A resize to half of a size that is read from the input: shape arithmetic that only a size folds."""
    nodes = """s = Shape(x) h = Slice(s, two, four) t = Div(h, two) n = Slice(s, zero, two) all = Concat<axis=0>(n, t)
        none = Constant<value = float[0] {}>() y = Resize(x, none, none, all)
        two = Constant<value = int64[1] {2}>() four = Constant<value = int64[1] {4}>()
        zero = Constant<value = int64[1] {0}>()"""
    path = tmp_path / "halved.onnx"
    path.write_bytes(_model(ONE, nodes).SerializeToString())
    return path


def test_inference_goes_on_from_the_given_size(halved: Path) -> None:
    model = load_model(halved)
    shapes = infer(model, 1, fixed_shapes("1x3x64x32"))
    assert shapes.type_of("y").shape == (1, 3, 32, 16)
    assert shapes.was_open
    assert not shapes.dynamic_inputs
    assert infer(model, 1).dynamic_inputs == ("x",)


def test_the_parser_still_sees_what_the_file_leaves_open(tmp_path: Path) -> None:
    """TensorRT reads the file, not the shape: its network for an open size is another one than for a fixed export."""
    model, path = _model(ONE, "y = Flatten<axis=2>(x)"), tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    opened = lower(load_model(path), tensorrt="10.3.0", fixed=fixed_shapes("1x3x64x32"))
    fix_inputs(model.graph, 1, fixed_shapes("1x3x64x32"))
    path.write_bytes(model.SerializeToString())
    fixed = lower(load_model(path), tensorrt="10.3.0")
    assert opened.inputs[0].shape == fixed.inputs[0].shape == (1, 3, 64, 32)
    assert opened.outputs[0].shape == fixed.outputs[0].shape == (3, 64 * 32)
    assert opened.dynamic_inputs == fixed.dynamic_inputs == ()
    assert {layer.kind for layer in opened.layers} > {layer.kind for layer in fixed.layers}


def test_question_marks_are_no_names() -> None:
    """Paddle's exporter calls every open dimension `?`; they need not be equal, and the batch is none of the others."""
    graph = _model("float[N,3,8,16] x").graph
    for dim in graph.input[0].type.tensor_type.shape.dim:
        dim.dim_param = "?"
    assert fix_inputs(graph, 1) == {}
    assert dims_of(graph.input[0]) == (1, None, None, None)
    fix_inputs(graph, 1, fixed_shapes("1x3x48x192"))
    assert dims_of(graph.input[0]) == (1, 3, 48, 192)
