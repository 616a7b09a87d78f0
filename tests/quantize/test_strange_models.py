"""Valid models of a shape that image classifiers do not have: they are taken, or refused in a line that says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from dlaflow.errors import InputError
from dlaflow.graph.load import load_model
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import CalibrationConfig, scales_by_name
from dlaflow.quantize.coverage import cover
from dlaflow.quantize.fp16 import fp16_model, write_fp16
from dlaflow.quantize.images import ImageArray, Preparation
from dlaflow.quantize.model import index
from dlaflow.quantize.qdq import write_qdq
from dlaflow.quantize.sensitivity import Sample, rank
from dlaflow.quantize.session import Session

HEADER = '<ir_version: {ir}, opset_import: ["" : {opset}]>\n'


def network(path: Path, text: str, opset: int = 17, ir: int = 8) -> Path:
    onnx.save(onnx.parser.parse_model(HEADER.format(ir=ir, opset=opset) + text), str(path))
    return path


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 4, 4)).astype(np.float32)


def test_a_tensor_without_dimensions_gets_a_scale(tmp_path: Path) -> None:
    text = "net (float[N,3,4,4] x) => (float[N,3,4,4] y) { mean = ReduceMean<keepdims=0>(x)  y = Mul(x, mean) }"
    path, images = network(tmp_path / "m.onnx", text), pictures(1)
    found = calibrate(path, lambda: [images], CalibrationConfig("minmax"))
    assert found.scales["mean"] == pytest.approx(abs(float(images.mean())) / 127, rel=1e-5)
    write_qdq(path, found, tmp_path / "q.onnx")
    assert Session(tmp_path / "q.onnx").run(images).shape == images.shape


def test_names_are_those_of_the_graph(tmp_path: Path) -> None:
    """Local functions are inlined and nodes are sorted before anybody looks: one model has one set of names."""
    text = """
    net (float[N,3,4,4] x) => (float[N,3,4,4] y) { y = own.twice (a)  a = own.twice (x) }
    <domain: "own", opset_import: ["" : 17]> twice (v) => (w) { r = Relu (v)  w = Add (r, v) }
    """
    path = tmp_path / "m.onnx"
    header = '<ir_version: 8, opset_import: ["" : 17, "own" : 1]>\n'
    path.write_bytes(onnx.parser.parse_model(header + text).SerializeToString())
    images = pictures(4)
    found = calibrate(path, lambda: [images], CalibrationConfig("minmax"))
    graph = load_model(path).proto.graph
    assert list(found.scales) == ["x", *(name for node in graph.node for name in node.output)]
    assert len(found.scales) == 5
    covered = cover(path, found, "8.5.2")
    assert (covered.scales, covered.missing) == (found.scales, ())
    write_qdq(path, found, tmp_path / "q.onnx")
    assert float(np.abs(Session(tmp_path / "q.onnx").run(images) - Session(path).run(images)).max()) < 0.2


@pytest.mark.parametrize("count", [1, 5, 64])
def test_a_tensor_that_does_not_grow_with_the_batch(count: int, tmp_path: Path) -> None:
    """Anchors are computed from the input's size: float, not constant, and the same for any number of images."""
    text = """
    net (float[N,3,4,4] x) => (float[N,3,4,4] y) <int64[1] at = {3}, int64[4] form = {1, 1, 4, 1}, float scale = {0.5}>
    { s = Shape(x)  w = Gather(s, at)  f = Cast<to=1>(w)  g = Mul(f, scale)  a = Expand(g, form)  y = Add(x, a) }
    """
    path, images = network(tmp_path / "m.onnx", text), pictures(count)
    found = calibrate(path, lambda: [images, images], CalibrationConfig("minmax"))
    largest = {tensor.name: tensor.largest for tensor in found.tensors}
    assert largest["a"] == 2.0
    assert largest["y"] == pytest.approx(float(np.abs(images + 2).max()))


def test_shapes_that_depend_on_the_values(tmp_path: Path) -> None:
    """Between two slices of the same size the kept tensor changes its length."""
    text = """
    net (float[N,3,4,4] x) => (float[K] y) <float zero = {0}, int64[1] flat = {-1}>
    { p = Greater(x, zero)  line = Reshape(p, flat)  all = Reshape(x, flat)  k = Compress(all, line)  y = Relu(k) }
    """
    path, images = network(tmp_path / "m.onnx", text), pictures(12)
    found = calibrate(path, lambda: np.split(images, 3), CalibrationConfig("minmax"))
    assert {tensor.name: tensor.largest for tensor in found.tensors}["y"] == float(images.max())


@pytest.mark.parametrize(
    "text",
    [
        "net (float[N,3] x) => (float[N,3] y) { q, s, z = DynamicQuantizeLinear(x)  y = DequantizeLinear(q, s, z) }",
        """net (float[N,3] x) => (int32[N,2] y) <uint8[3,2] w = {1, 2, 3, 4, 5, 6}>
        { q, s, z = DynamicQuantizeLinear(x)  y = MatMulInteger(q, w, z) }""",
    ],
)
def test_dynamically_quantised_models_are_told(text: str, tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", text)
    with pytest.raises(InputError, match=r"quantised already.*DynamicQuantizeLinear"):
        calibrate(path, lambda: [np.ones((2, 3), np.float32)])
    with pytest.raises(InputError, match=r"quantised already.*DynamicQuantizeLinear"):
        write_fp16(path, tmp_path / "h.onnx")


def test_a_graph_inside_a_node_is_no_constant() -> None:
    """The branches read `x`, which is not among the inputs of If."""
    text = (
        HEADER.format(ir=8, opset=17)
        + """
    net (float[N,3] x) => (float[N,3] y) <bool c = {1}> { y = If(c) <
        then_branch = t () => (float[N,3] a) { a = Relu(x) }, else_branch = e () => (float[N,3] b) { b = Neg(x) }> }
    """
    )
    assert index(onnx.parser.parse_model(text)).is_activation("y")


def test_an_output_without_a_row_an_image_has_no_top1(tmp_path: Path) -> None:
    """Recognisers of text put time before the batch."""
    text = """
    net (float[N,3,4,4] x) => (float[4,N,2] y) <float[12,2] w = {1, -1, 2, -2, 3, -3, 1, -1, 2, -2, 3, -3,
        1, -1, 2, -2, 3, -3, 1, -1, 2, -2, 3, -3}, int64[3] form = {4, -1, 12}>
    { t = Transpose<perm=[3,0,1,2]>(x)  r = Reshape(t, form)  y = MatMul(r, w) }
    """
    path, images = network(tmp_path / "m.onnx", text), pictures(6)
    found = calibrate(path, lambda: [images])
    sample = Sample(ImageArray(images, np.arange(6), Preparation()), None, 3)
    assert 0.9 < rank(path, found, sample, 50).layers[0].agreement < 1
    with pytest.raises(InputError, match=r"as classes: expected \[3, classes\].*received \[4, 3, 2\]"):
        rank(path, found, replace(sample, labels=np.zeros(6, np.int64)), 0.5)


def test_operators_without_float16_stay_in_float32() -> None:
    """Range takes no float16: a Cast before and behind it where it meets the rest, none at its own constants."""
    text = (
        HEADER.format(ir=8, opset=17)
        + """
    net (float[N,3] x) => (float[N,3] y, float[K] bare) <float start = {0}, float step = {1}>
    { top = ReduceMax<keepdims=0>(x)  r = Range(start, top, step)  bare = Neg(r)
      last = ReduceMax<keepdims=0>(r)  y = Mul(x, last) }
    """
    )
    plain = onnx.parser.parse_model(text)
    expected = Session(plain).run_all(np.float32([[1, 2, 4]]))
    half = fp16_model(plain)
    onnx.checker.check_model(half, full_check=True)
    assert {tensor.name: tensor.data_type for tensor in half.graph.initializer} == {
        "start": TensorProto.FLOAT,
        "step": TensorProto.FLOAT,
    }
    assert [node.op_type for node in half.graph.node].count("Cast") == 5
    for got, wanted in zip(Session(half).run_all(np.float32([[1, 2, 4]])), expected, strict=True):
        assert np.array_equal(got, wanted)


def test_an_output_that_is_never_float16() -> None:
    text = (
        HEADER.format(ir=8, opset=17)
        + """
    net (float[N,4] x) => (float[N,4] y) { i = Cast<to=6>(x)
        y = TfIdfVectorizer<max_gram_length=1, max_skip_count=0, min_gram_length=1, mode="TF", ngram_counts=[0],
            ngram_indexes=[0,1,2,3], pool_int64s=[2,3,5,4]>(i) }
    """
    )
    half = fp16_model(onnx.parser.parse_model(text))
    names = [node.name for node in half.graph.node if node.op_type == "Cast" and node.name]
    assert len(names) == len(set(names))
    assert Session(half).run(np.float32([[2, 2, 5, 0]])).tolist() == [[2.0, 0.0, 1.0, 0.0]]


def test_sequences_have_no_fp16_form() -> None:
    text = (
        HEADER.format(ir=8, opset=17)
        + """
    net (float[4] x) => (float[2] y) <int64 at = {0}, int64 two = {2}>
    { s = SplitToSequence(x, two)  y = SequenceAt(s, at) }
    """
    )
    with pytest.raises(InputError, match=r"SplitToSequence.*sequence of tensors"):
        fp16_model(onnx.parser.parse_model(text))


def test_old_files_list_their_weights_as_inputs(tmp_path: Path) -> None:
    """Before file version 4 every constant is an input too: new constants and dropped weights must not break that."""
    text = """
    net (float[N,3,4,4] x, float[2,3,1,1] w) => (float[N,2,4,4] y) <float[2,3,1,1] w = {1, 2, 3, 4, 5, 6}>
    { c = Conv(x, w)  y = Sigmoid(c) }
    """
    path, images = network(tmp_path / "m.onnx", text, opset=9, ir=3), pictures(5)
    plain = Session(path).run(images)
    found = calibrate(path, lambda: [images], CalibrationConfig("auto"))
    write_qdq(path, found, tmp_path / "q.onnx")
    write_fp16(path, tmp_path / "h.onnx")
    for name, bound in (("q.onnx", 0.05), ("h.onnx", 0.01)):
        runner = Session(tmp_path / name)
        assert runner.input_name == "x"
        assert float(np.abs(runner.run(images) - plain).max()) < bound
    assert [value.name for value in onnx.load(tmp_path / "q.onnx").graph.input] == ["x"]
    ranked = rank(path, found, Sample(ImageArray(images, np.arange(5), Preparation()), None), 100.0)
    assert ranked.keep == ()


def test_a_constant_that_is_too_large_is_named() -> None:
    text = (
        HEADER.format(ir=8, opset=17)
        + "net (float[2] x) => (float[2] y) { c = Constant<value: tensor = float {1e6}>()  y = Mul(x, c) }"
    )
    with pytest.raises(InputError, match="'c' does not fit"):
        fp16_model(onnx.parser.parse_model(text))


def test_scales_of_a_network_without_weights_still_make_pairs(tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", "net (float[N,3] x) => (float[N,3] y) { y = Relu(x) }")
    write_qdq(path, scales_by_name({"x": 0.5, "y": 0.5}), tmp_path / "q.onnx")
    assert Session(tmp_path / "q.onnx").run(np.float32([[0.6, -1, 3]])).tolist() == [[0.5, 0.0, 3.0]]


def test_a_list_that_onnxruntime_must_not_even_load(tmp_path: Path) -> None:
    """Its own shape inference keeps each value, which took all memory there was."""
    text = """net (float[1,3,4,4] x) => (float[1] y) {
        a = Constant<value = float {0.0}>()  b = Constant<value = float {1.0e12}>()  c = Constant<value = float {1.0}>()
        r = Range(a, b, c)  i = Cast<to = 7>(r)  y = Expand(x, i) }"""
    with pytest.raises(InputError, match=r"999,999,995,904, which node 'r' makes.*DLAFLOW_MAX_RUN_BYTES"):
        Session(network(tmp_path / "m.onnx", text))


def test_a_batch_that_fits_no_memory(tmp_path: Path) -> None:
    text = "net (float[1000000000,3,4,4] x) => (float[1000000000,3,4,4] y) { y = Relu(x) }"
    with pytest.raises(InputError, match="fixed batch of 1,000,000,000 images needs too much memory"):
        Session(network(tmp_path / "m.onnx", text)).run(pictures(1))


def test_slices_behind_a_pool_that_rounds_up_run() -> None:
    """ONNX infers three columns, the kernel computes two; onnxruntime's own optimizer makes a Split of 1 and 2."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 15]> g (float[1,4,6,6] x) => (float[1,N,H,W] y)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] last = {99}, int64[1] axis = {3}> {
          p = MaxPool<kernel_shape=[3,1], pads=[1,0,1,0], strides=[3,3], ceil_mode=1>(x)
          a = Slice(p, one, last, axis)
          b = Slice(p, zero, one, axis)
          y = Concat<axis=3>(a, b)
        }""")
    x = np.arange(144, dtype=np.float32).reshape(1, 4, 6, 6)
    y = Session(model).run(x)
    assert np.array_equal(y, x[:, :, [1, 4, 5]][..., [3, 0]])


def test_an_output_that_is_listed_twice_is_one(tmp_path: Path) -> None:
    text = "net (float[N,3,4,4] x) => (float[N,2,4,4] y) <float[2,3,1,1] w = {1, 2, 3, 4, 5, 6}> { y = Conv(x, w) }"
    path, images = network(tmp_path / "m.onnx", text), pictures(3)
    model = onnx.load(path)
    model.graph.output.append(model.graph.output[0])
    onnx.save(model, path)
    assert Session(path).output_names == ["y"]
    found = calibrate(path, lambda: [images], CalibrationConfig("minmax"))
    (layer,) = rank(path, found, Sample(ImageArray(images, np.arange(3), Preparation()), None), 100.0).layers
    assert layer.agreement > 0.9
