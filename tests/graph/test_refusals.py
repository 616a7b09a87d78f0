"""What each release's parser refuses, hands to a plugin or misreads: facts from its sources and from goldens."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dlaflow.graph.layer import Network, Reading, Refusal
from dlaflow.graph.load import load_model
from dlaflow.graph.lower import lower
from dlaflow.graph.lower.reading import FIRST, SINCE
from dlaflow.graph.lower.table import IMPORTERS

IMAGE = "float[1,8,8,8] x"


def network(
    tmp_path: Path,
    nodes: str,
    release: str,
    *,
    inputs: str = IMAGE,
    outputs: str = "y",
    opset: int = 17,
    weights: dict[str, np.ndarray] | None = None,
) -> Network:
    """A model written as ONNX text, as TensorRT `release` reads it; outputs without a type are float."""
    typed = ", ".join(part if " " in part.strip() else f"float {part.strip()}" for part in outputs.split(","))
    domains = f'"" : {opset}, "com.microsoft" : 1, "my.domain" : 1'
    text = f"<ir_version: 9, opset_import: [{domains}]>\nagraph ({inputs}) => ({typed}) {{\n{nodes}\n}}"
    model = onnx.parser.parse_model(text)
    for name, values in (weights or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return lower(load_model(path), tensorrt=release)


def readings(refusals: tuple[Refusal, ...]) -> list[tuple[str, str]]:
    return [(refusal.op, refusal.reading.value) for refusal in refusals]


@pytest.mark.parametrize(
    ("nodes", "last_refused", "first_read", "opset"),
    [
        ("y = HardSwish(x)", "8.2.1", "8.4.1", 14),
        ("y = Trilu(m)", "8.4.1", "8.5.2", 17),
        ("y = GridSample(x, g)", "8.4.1", "8.5.2", 17),
        ("i = IsInf(x) \n y = Cast<to=1>(i)", "8.5.2", "8.6.2", 17),
        ("y = LayerNormalization(x, c)", "8.5.2", "8.6.2", 17),
        ("y = GroupNormalization<num_groups=2>(x, c, c)", "8.5.2", "8.6.2", 21),
        ("y = Gelu(x)", "8.6.2", "10.3.0", 20),
        ("y = com.microsoft.Gelu(x)", "8.6.2", "10.3.0", 17),
        ("y = Mish(x)", "8.6.2", "10.3.0", 18),
        ("y = Swish(x)", "10.3.0", "11.4.1", 24),
    ],
)
def test_an_operator_is_read_from_its_first_importer_on(
    tmp_path: Path, nodes: str, last_refused: str, first_read: str, opset: int
) -> None:
    inputs = f"{IMAGE}, float[8,8] m, float[1,4,4,2] g"
    weights = {"c": np.ones(8, np.float32)}
    before = network(tmp_path, nodes, last_refused, inputs=inputs, opset=opset, weights=weights).refusals
    assert [refusal.reading for refusal in before] == [Reading.REFUSED]
    assert before[0].since
    assert before[0].since in before[0].reason
    assert before[0].then
    assert network(tmp_path, nodes, first_read, inputs=inputs, opset=opset, weights=weights).refusals == ()


def test_each_operator_that_is_lowered_has_a_first_release() -> None:
    assert set(IMPORTERS) <= FIRST | set(SINCE)


def test_a_plugin_is_told_apart_from_a_refusal(tmp_path: Path) -> None:
    shipped = network(tmp_path, "y = ResizeNearest_TRT<scale=2.0>(x)", "8.5.2").refusals
    assert readings(shipped) == [("ResizeNearest_TRT", "plugin")]
    assert "TensorRT ships" in shipped[0].reason
    foreign = network(tmp_path, "y = my.domain.Marvel(x)", "8.5.2").refusals
    assert readings(foreign) == [("Marvel", "plugin")]
    assert "staticPlugins" in foreign[0].then
    assert readings(network(tmp_path, "y = MaxUnpool<kernel_shape=[2,2]>(x, i)", "10.3.0",
                        inputs=f"{IMAGE}, int64[1,8,8,8] i").refusals) == [("MaxUnpool", "refused")]  # fmt: skip
    assert readings(network(tmp_path, "y = com.microsoft.BiasGelu(x, x)", "10.3.0").refusals) == [
        ("BiasGelu", "refused")
    ]


SCALES = {"s": np.array([1, 1, 2, 2], np.float32), "n": np.array([1, 8, 16, 16]), "two": np.array([2, 2], np.float32)}
PADS = {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "crop": np.array([0, 0, -1, -1, 0, 0, 0, 0])}
KERNEL = {"w": np.ones((8, 8, 3, 3), np.float32), "bias": np.ones(8, np.float32)}
AXES = {"two_axes": np.array([2, 3]), "four": np.array([1, 1, 1, 1])}
ZERO = {"q": np.array(0.1, np.float32), "z": np.array(0, np.int8), "three": np.array(3, np.int8)}
ZERO |= {"sums": np.zeros(8, np.int32), "ten": np.full(8, 0.1, np.float32), "points": np.zeros(8, np.int8)}
ZERO |= {"mask": np.zeros((8, 8), np.float32), "map": np.ones((8, 8, 8), np.float32)}
WEIGHTS = {**SCALES, **PADS, **KERNEL, **AXES, **ZERO}

CASES = [
    # node, opset, releases that refuse it, releases that read it
    ("y, i = MaxPool<kernel_shape=[2,2]>(x)", 17, "8.2.1 8.4.1 8.6.2 10.3.0 11.4.1", ""),
    ("y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x)", 17, "8.4.1 8.6.2 10.3.0 11.4.1", ""),
    ("y = MaxPool<kernel_shape=[2,2], dilations=[1,1]>(x)", 17, "", "8.4.1 8.6.2 10.3.0 11.4.1"),
    ("y = AveragePool<kernel_shape=[3,3], pads=[0,0,2,2]>(x)", 17, "8.4.1", "8.5.2 8.6.2 10.3.0"),
    ("y = AveragePool<kernel_shape=[3,3], pads=[0,0,1,1]>(x)", 17, "", "8.4.1 8.5.2 10.3.0"),
    ("y = AveragePool<kernel_shape=[1,1], strides=[3,3], ceil_mode=1>(x)", 17, "8.4.1 8.6.2 10.3.0 11.4.1", ""),
    ("y = AveragePool<kernel_shape=[2,2], pads=[2,2,0,0]>(x)", 17, "8.6.2 10.3.0 11.4.1", ""),
    ("y = AveragePool<kernel_shape=[2,2], pads=[2,2,0,0], count_include_pad=1>(x)", 17, "", "8.6.2 10.3.0 11.4.1"),
    ("y = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)", 17, "", "8.4.1 8.6.2 10.3.0 11.4.1"),
    ('y = Resize<mode="cubic">(x, , s)', 17, "8.2.1 8.4.1", "8.5.2 8.6.2 10.3.0 11.4.1"),
    ('y = Resize<coordinate_transformation_mode="tf_crop_and_resize">(x, , s)', 17, "8.4.1 10.3.0 11.4.1", ""),
    ('y = Resize<coordinate_transformation_mode="half_pixel_symmetric">(x, , s)', 19, "8.6.2 10.3.0 11.4.1", ""),
    ("y = Resize<axes=[2,3]>(x, , two)", 18, "8.4.1 8.5.2 8.6.2", "10.3.0 11.4.1"),
    ('y = Resize<mode="linear", antialias=1>(x, , s)', 18, "10.3.0 11.4.1", ""),
    ("y = Pad(x, crop)", 17, "8.4.1 8.6.2 10.3.0", "11.4.1"),
    ('y = Pad<mode="wrap">(x, p)', 19, "8.4.1 8.6.2", "10.3.0 11.4.1"),
    ("y = Pad(x, four, , two_axes)", 18, "8.5.2 8.6.2", "10.3.0 11.4.1"),
    ("b = Identity(bias) \n y = Conv(x, w, b)", 17, "8.2.1 8.4.1", ""),
    ("b = Identity(bias) \n y = Conv<kernel_shape=[3,3]>(x, w, b)", 17, "8.4.1", "8.5.2 8.6.2 10.3.0 11.4.1"),
    ("v = Identity(w) \n y = Conv(x, v)", 17, "8.4.1 8.5.2 8.6.2 10.3.0", "10.4.0 11.4.1"),
    ("y = Conv<group=2>(x, w)", 17, "8.4.1 8.5.2 8.6.2 10.3.0 11.4.1", ""),
    ("b = Identity(bias) \n y = InstanceNormalization(x, bias, b)", 17, "8.5.2 8.6.2", "10.3.0 11.4.1"),
    ("k = QuantizeLinear(x, q) \n y = DequantizeLinear(k, q)", 17, "8.5.2 8.6.2", "10.3.0 11.4.1"),
    ("k = QuantizeLinear(x, q, three) \n y = DequantizeLinear(k, q, three)", 17, "8.5.2 8.6.2 10.3.0 11.4.1", ""),
    ("k = QuantizeLinear(x, q, z) \n y = DequantizeLinear(k, q, z)", 17, "", "8.4.1 8.6.2 10.3.0 11.4.1"),
    # logs of 10.16 and TensorRT-RTX say of INT32: must be FP8, FP4, INT4, INT8 or UINT8
    ("d = DequantizeLinear(sums, q) \n y = Conv(x, w, d)", 17, "10.16.1 11.4.1", ""),
    ("e = Cast<to=7>(x) \n y = Pow(x, e)", 17, "8.4.1 8.6.2 10.3.0", "11.4.1"),
    ("e = Cast<to=7>(x) \n a = ArgMax(e) \n y = Cast<to=1>(a)", 17, "8.4.1 8.5.2", "8.6.2 10.3.0"),
    ("e = Cast<to=9>(x) \n f = Where(e, e, e) \n y = Cast<to=1>(f)", 17, "8.4.1", "8.5.2 10.3.0"),
    ("e = Cast<to=6>(x) \n f = Sqrt(e) \n y = Cast<to=1>(f)", 17, "8.4.1 8.6.2 10.3.0 11.4.1", ""),
    ("e = Cast<to=2>(x) \n y = Cast<to=1>(e)", 17, "8.4.1 8.6.2 10.3.0 11.4.1", "8.5.2"),
    ('y = Einsum<equation="bIhw->bIwh">(x)', 17, "8.4.1 8.6.2 10.3.0 11.4.1", ""),
    ("a = Identity(two_axes) \n y = ReduceSum(x, a)", 17, "8.4.1 8.6.2 10.3.0", "11.4.1"),
    ("y = ReduceSum(x, two_axes)", 17, "", "8.4.1 8.6.2 10.3.0 11.4.1"),
    ("y = Gemm(x, w)", 17, "8.4.1 8.6.2 10.3.0 11.4.1", ""),
    ("y = BatchNormalization<spatial=0>(x, map, map, map, map)", 8, "8.4.1 8.5.2 10.3.0 11.4.1", ""),
    ("y = Add(x, x)", 6, "11.4.1", "8.5.2 10.3.0"),
    ("y = Add<axis=1, broadcast=1>(x, bias)", 6, "8.5.2 10.3.0 11.4.1", ""),
    ("y = Upsample<height_scale=2.0, width_scale=2.0>(x)", 8, "8.5.2 10.3.0 11.4.1", ""),
    ("k = QuantizeLinear(x, ten, points) \n y = DequantizeLinear(k, ten, points)", 13, "", "8.5.2 10.3.0 11.4.1"),
    ("k = QuantizeLinear(x, ten, points) \n y = DequantizeLinear(k, ten, points)", 12, "8.5.2 10.3.0 11.4.1", ""),
    ("h = Cast<to=10>(x) \n c = Celu(h) \n y = Cast<to=1>(c)", 17, "11.4.1", ""),
    ("y = RandomUniformLike<dtype=11>(x)", 22, "10.3.0 11.4.1", ""),
    ("y = Attention(x, x, x)", 23, "", "11.4.1"),
    ("y = Attention<softcap=2.0>(x, x, x)", 23, "11.4.1", ""),
    ("y, , , scores = Attention(x, x, x)", 23, "11.4.1", ""),
    ("y = Attention<is_causal=1>(x, x, x, mask)", 23, "11.4.1", ""),
    ("y, m, v = BatchNormalization<training_mode=1>(x, bias, bias, bias, bias)", 15, "8.5.2 10.3.0 11.4.1", ""),
]


@pytest.mark.parametrize(("nodes", "opset", "refused", "read"), CASES, ids=[case[0] for case in CASES])
def test_a_construct_is_refused_where_the_importer_refuses_it(
    tmp_path: Path, nodes: str, opset: int, refused: str, read: str
) -> None:
    for release in refused.split():
        found = network(tmp_path, nodes, release, opset=opset, weights=WEIGHTS).refusals
        assert {Reading.REFUSED, Reading.CONTRADICTION} & {refusal.reading for refusal in found}, release
        assert all(refusal.reason for refusal in found)
        assert "spatial" not in nodes or "one value a channel" in found[0].then
    for release in read.split():
        assert network(tmp_path, nodes, release, opset=opset, weights=WEIGHTS).refusals == (), release


@pytest.mark.parametrize(
    ("zero", "refused", "read"),
    [
        (np.uint16(0), "10.3.0 11.4.1", ""),
        (np.uint8(128), "8.6.2 10.3.0 10.10", "10.11 11.4.1"),
        (np.int8(3), "11.4.1", ""),
    ],
    ids=["16 bits", "unsigned", "shifted"],
)
def test_the_zero_points_of_pairs(tmp_path: Path, zero: np.generic, refused: str, read: str) -> None:
    """UINT8 with a zero point is read from 10.11 on, once the flag for the DLA is set: DLA014 says that it must be."""
    nodes, weights = (
        "k = QuantizeLinear(x, q, n) \n y = DequantizeLinear(k, q, n)",
        {"q": ZERO["q"], "n": np.array(zero)},
    )
    for release in refused.split():
        assert network(tmp_path, nodes, release, opset=21, weights=weights).refusals, release
    for release in read.split():
        assert network(tmp_path, nodes, release, opset=21, weights=weights).refusals == (), release


@pytest.mark.parametrize(
    ("nodes", "opset", "misread", "read"),
    [
        ("y = ReduceMean(x, two_axes)", 18, "8.4.1 8.5.2 8.6.2", "10.3.0 11.4.1"),
        ("y = ReduceMean<axes=[2,3]>(x)", 17, "", "8.4.1 8.6.2 10.3.0"),
        ("y = ReduceMean(x, all)", 18, "", "8.6.2 10.3.0"),
        ("a, b, y = Split<axis=1, num_outputs=3>(x)", 18, "8.4.1 8.6.2", "10.3.0 11.4.1"),
        ("a, y = Split<axis=1, num_outputs=2>(x)", 18, "", "8.4.1 8.6.2 10.3.0"),
        ("k = Shape<start=2>(x) \n y = Cast<to=1>(k)", 15, "8.4.1 8.6.2", "10.3.0 11.4.1"),
        ("y = Resize<axes=[2,3]>(x, , , sizes)", 18, "8.4.1 8.6.2", "10.3.0 11.4.1"),
        ("k = Constant<value_ints=[1,8,8,8]>() \n y = Expand(x, k)", 17, "8.4.1 8.5.2 8.6.2", "10.3.0 11.4.1"),
    ],
)
def test_a_later_opset_is_misread(tmp_path: Path, nodes: str, opset: int, misread: str, read: str) -> None:
    weights = {"two_axes": np.array([2, 3]), "all": np.array([0, 1, 2, 3]), "sizes": np.array([16, 16])}
    for release in misread.split():
        found = network(tmp_path, nodes, release, opset=opset, weights=weights).refusals
        assert [refusal.reading for refusal in found] == [Reading.MISREAD], release
    for release in read.split():
        assert network(tmp_path, nodes, release, opset=opset, weights=weights).refusals == (), release


@pytest.mark.parametrize(
    ("kind", "refused", "read"),
    [("uint8", "8.2.1 8.4.1", "8.5.2 8.6.2 10.3.0 11.4.1"), ("int16", "8.4.1 10.3.0 11.4.1", ""),
     ("double", "", "8.4.1 10.3.0 11.4.1"), ("bfloat16", "8.6.2", "10.3.0 11.4.1"),
     ("float8e4m3fn", "8.6.2", "10.3.0 11.4.1"), ("float8e4m3fnuz", "8.6.2 10.3.0 11.4.1", ""),
     ("float8e5m2", "8.6.2 10.3.0 11.4.1", ""), ("float8e8m0", "10.3.0 11.4.1", ""),
     ("int4", "8.6.2", "10.3.0 11.4.1"), ("uint4", "8.6.2 10.3.0 11.4.1", ""),
     ("int2", "10.3.0 11.4.1", ""), ("uint2", "10.3.0 11.4.1", ""), ("float4e2m1", "10.3.0", "11.4.1")],
)  # fmt: skip
def test_an_input_has_a_type_that_the_parser_knows(tmp_path: Path, kind: str, refused: str, read: str) -> None:
    nodes = "y = Cast<to=1>(x)"
    for release in refused.split():
        assert readings(network(tmp_path, nodes, release, inputs=f"{kind}[1,8] x").refusals) == [("input", "refused")]
    for release in read.split():
        assert network(tmp_path, nodes, release, inputs=f"{kind}[1,8] x").refusals == ()


def test_an_initializer_of_another_type_ends_the_build_even_unused(tmp_path: Path) -> None:
    found = network(tmp_path, "y = Relu(x)", "10.3.0", weights={"w": np.zeros(3, np.int16)}).refusals
    assert readings(found) == [("initializer", "refused")]


@pytest.mark.parametrize(
    "nodes",
    [
        "c = Cast<to=19>(x) \n y = Cast<to=1>(c)",
        "c = Cast<to=77>(x) \n y = Cast<to=1>(c)",
        "w = Constant<value = int16[1] {1}>() \n c = Cast<to=1>(w) \n y = Add(x, c)",
        "q = QuantizeLinear<output_dtype=19>(x, s) \n y = DequantizeLinear(q, s)",
        "q = QuantizeLinear<output_dtype=10>(x, s) \n y = DequantizeLinear(q, s)",
        "q = QuantizeLinear(x, s) \n d = DequantizeLinear<output_dtype=3>(q, s) \n y = Cast<to=1>(d)",
    ],
)
def test_a_type_that_the_newest_parser_lacks_is_refused_wherever_it_comes_up(tmp_path: Path, nodes: str) -> None:
    found = network(tmp_path, nodes, "11.4.1", opset=25, weights={"s": np.array(0.1, np.float32)}).refusals
    assert [refusal.reading for refusal in found] == [Reading.REFUSED]


@pytest.mark.parametrize(
    "node",
    ["Transpose<perm=[0,3,1,2]>(x)", "Flatten(x)", "Add(x, x)", "MaxPool<kernel_shape=[2,2]>(x)", "Greater(x, x)"],
)
@pytest.mark.parametrize("release", ["8.5.2", "10.3.0", "11.4.1"])
def test_bytes_of_an_image_reach_nothing_but_a_cast(tmp_path: Path, node: str, release: str) -> None:
    """NHWC pixels, as TensorFlow's exporter writes them: Transpose comes before the Cast, or behind it."""
    found = network(tmp_path, f"t = {node} \n y = Cast<to=1>(t)", release, inputs="uint8[1,8,8,3] x").refusals
    assert found[0].op == node.partition("(")[0].partition("<")[0]
    assert "Cast it to a floating type before" in found[0].then
    nodes = "c = Cast<to=1>(x) \n y = Transpose<perm=[0,3,1,2]>(c)"
    assert network(tmp_path, nodes, release, inputs="uint8[1,8,8,3] x").refusals == ()


@pytest.mark.parametrize("kind", ["seq(float[5])", "optional(float[5])", "map(int64, float[5])"])
def test_an_input_that_is_no_tensor(tmp_path: Path, kind: str) -> None:
    found = network(tmp_path, "y = Relu(x)", "10.3.0", inputs=f"{IMAGE}, {kind} more").refusals
    assert readings(found) == [("input", "refused")]
    assert found[0].reason == f"it is a {'sequence' if kind[0] == 's' else kind.partition('(')[0]}, no tensor"


def test_scales_that_are_fed(tmp_path: Path) -> None:
    inputs = f"{IMAGE}, float[4] scales"
    assert readings(network(tmp_path, "y = Resize(x, , scales)", "11.4.1", inputs=inputs).refusals) == [
        ("Resize", "refused")
    ]


@pytest.mark.parametrize("release", ["8.5.2", "10.3.0", "11.4.1"])
def test_the_batch_of_a_recurrent_node_comes_second_whatever_it_says(tmp_path: Path, release: str) -> None:
    weights = {"w": np.ones((1, 4, 2), np.float32), "r": np.ones((1, 4, 4), np.float32)}
    nodes = "y, h = RNN<hidden_size=4, layout=1>(x, w, r)"
    found = network(tmp_path, nodes, release, inputs="float[3,5,2] x", outputs="y, h", weights=weights)
    assert [refusal.reading for refusal in found.refusals] == [Reading.MISREAD]
    assert [tensor.shape for tensor in found.outputs] == [(3, 1, 5, 4), (1, 5, 4)]


@pytest.mark.parametrize(("length", "refused"), [(4095, False), (4096, True), (50_000, True)])
@pytest.mark.parametrize("place", ["input", "layer", "between"])
def test_names_have_the_length_that_nvinfer_takes(tmp_path: Path, place: str, length: int, refused: bool) -> None:
    name = "\u00e9" * (length // 2) + "a" * (length % 2)
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 17]> g ({IMAGE}) => (float y) {{ [n] a = Relu(x) [m] y = Relu(a) }}'
    )
    first, second = model.graph.node
    if place == "input":
        model.graph.input[0].name = first.input[0] = name
    elif place == "layer":
        first.name = name
    else:
        first.output[0] = second.input[0] = name
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    found = lower(load_model(path), tensorrt="11.4.1").refusals
    assert bool(found) is refused
    assert all(f"{length} bytes" in refusal.reason for refusal in found)


@pytest.mark.parametrize("release", ["8.5.2", "10.3.0", "11.4.1"])
@pytest.mark.parametrize("opset", [17, 22])
def test_a_pool_keeps_a_last_window_that_holds_padding_alone(tmp_path: Path, opset: int, release: str) -> None:
    """ONNX Runtime, and ONNX from opset 22 on, make 3 x 3 of it, TensorRT 4 x 4."""
    nodes = "p = MaxPool<kernel_shape=[2,2], strides=[2,2], pads=[1,1,1,1], ceil_mode=1>(x) \n y = Relu(p)"
    found = network(tmp_path, nodes, release, inputs="float[1,8,5,5] x", opset=opset)
    assert [refusal.reading for refusal in found.refusals] == [Reading.MISREAD]
    assert [layer.outputs[0].shape for layer in found.layers] == [(1, 8, 4, 4), (1, 8, 4, 4)]


def test_nodes_inside_branches_are_looked_at(tmp_path: Path) -> None:
    nodes = """y = If (c) <then_branch = one () => (float[1,8,8,8] a) { a = Relu(x) },
        else_branch = two () => (float[1,8,8,8] b) { b, i = MaxPool<kernel_shape=[1,1]>(x) }>"""
    found = network(tmp_path, nodes, "8.5.2", inputs=f"{IMAGE}, bool c").refusals
    assert readings(found) == [("MaxPool", "refused")]


def test_int32_slices_without_steps_are_refused_by_the_newest(tmp_path: Path) -> None:
    cut = {name: np.array([value], np.int32) for name, value in (("a", 0), ("b", 4), ("c", 1), ("d", 1))}
    short = {name: cut[name] for name in "abc"}
    assert readings(network(tmp_path, "y = Slice(x, a, b, c)", "11.4.1", weights=short).refusals) == [
        ("Slice", "refused")
    ]
    assert network(tmp_path, "y = Slice(x, a, b, c)", "10.3.0", weights=short).refusals == ()
    assert network(tmp_path, "y = Slice(x, a, b, c, d)", "11.4.1", weights=cut).refusals == ()


def test_the_rest_is_lowered_behind_a_refusal(tmp_path: Path) -> None:
    nodes = "p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) \n y = Relu(p) \n j = Cast<to=1>(i)"
    found = network(tmp_path, nodes, "8.5.2", outputs="y, j")
    assert [layer.kind for layer in found.layers] == ["POOLING", "ACTIVATION", "IDENTITY"]
    assert [tensor.shape for tensor in found.outputs] == [(1, 8, 4, 4), (1, 8, 4, 4)]


def test_functions_of_the_model_are_read_from_9_on(tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["" : 17, "own" : 1]>
        agraph (float[1,8] x) => (float[1,8] y) { [n] y = own.Twice(x) }
        <domain: "own", opset_import: ["" : 17]> Twice (a) => (b) { b = Add(a, a) }"""
    path = tmp_path / "functions.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    assert readings(lower(load_model(path), tensorrt="8.6.2").refusals) == [("Twice", "refused")]
    assert lower(load_model(path), tensorrt="10.3.0").refusals == ()


MISFITS = [
    # node, whether its shapes contradict each other
    ("y = Gemm(m, square)", True),
    ("y = Gemm<transB=1>(m, square)", True),
    ("y = Gemm(m, oblong, four)", True),
    ("y = Gemm(m, oblong, five)", False),
    ("y = MatMul(m, square)", True),
    ("y = MatMul(x, oblong)", False),
    ("y = Add(x, four)", True),
    ("y = Add(x, column)", False),
    ("y = Sum(x, column, four)", True),
    ("c = Greater(x, four) \n y = Cast<to=1>(c)", True),
    ("y = Concat<axis=1>(x, m)", True),
    ("y = Concat<axis=1>(x, t)", True),
    ("y = Concat<axis=2>(x, t)", False),
    ("y = Concat<axis=9>(x, x)", True),
    ("y = Softmax<axis=7>(x)", True),
    ("y = Reshape(x, to7)", True),
    ("y = Reshape(x, to_rest)", True),
    ("y = Reshape(x, to64)", False),
    ("y = Squeeze(x, two_axes)", True),
    ("y = BatchNormalization(x, four, four, four, four)", True),
    ("y = BatchNormalization(x, one, one, one, one)", False),
    ("y = Conv(x, w9)", True),
    ("y = Conv<pads=[1,1,1,1]>(x, w9)", False),
    ("y = Conv<group=8>(x, depth4)", True),
    ("y = ConvTranspose(x, w4)", True),
    ("y = MaxPool<kernel_shape=[9,9]>(x)", False),
    ("y = MaxPool<kernel_shape=[10,10]>(x)", True),
    ("y = MaxPool<kernel_shape=[10,10], strides=[2,2]>(x)", False),
    ("y = MaxPool<kernel_shape=[11,11], strides=[2,2]>(x)", True),
    ("y = MaxPool<kernel_shape=[11,11], strides=[2,2], ceil_mode=1>(x)", False),
    ("y = MaxPool<kernel_shape=[2,2], strides=[0,0]>(x)", True),
    ('y = MaxPool<kernel_shape=[9,9], auto_pad="SAME_UPPER">(x)', False),
    ("y = DepthToSpace<blocksize=3>(x)", True),
    ("y = SpaceToDepth<blocksize=3>(x)", True),
    ("y = SpaceToDepth<blocksize=2>(x)", False),
    ("y = Transpose<perm=[0,1,1,2]>(x)", True),
    ("y = Slice(x, zero, seven, zero, zero)", True),
    ("y = PRelu(x, four)", True),
    ("y = PRelu(x, column)", False),
]
MISFIT_WEIGHTS = {
    **{name: np.ones(shape, np.float32) for name, shape in (("square", (7, 7)), ("oblong", (8, 5)), ("four", (4,)))},
    **{
        name: np.ones(shape, np.float32)
        for name, shape in (("one", (8,)), ("five", (5,)), ("column", (8, 1, 1)), ("w9", (8, 8, 9, 9)))
    },
    **{name: np.ones(shape, np.float32) for name, shape in (("depth4", (4, 1, 1, 1)), ("w4", (4, 8, 1, 1)))},
    **{name: np.array(values) for name, values in (("to7", (1, 7)), ("to_rest", (-1, 7)), ("to64", (-1, 64)))},
    **{name: np.array(values) for name, values in (("zero", (0,)), ("seven", (7,)), ("two_axes", (2, 3)))},
}
MISFIT_INPUTS = f"{IMAGE}, float[5,8] m, float[1,8,4,8] t"


@pytest.mark.parametrize(("nodes", "contradicts"), MISFITS)
def test_a_node_that_contradicts_itself_is_told_for_each_release(tmp_path: Path, nodes: str, contradicts: bool) -> None:
    for release in ("8.4.1", "8.5.2", "10.3.0", "11.4.1"):
        found = network(tmp_path, nodes, release, inputs=MISFIT_INPUTS, weights=MISFIT_WEIGHTS).refusals
        endings = [refusal.reading for refusal in found]
        slopes = nodes == "y = PRelu(x, four)"  # ONNX's own rule for slopes, which exporters get wrong
        expected = [Reading.REFUSED if slopes else Reading.CONTRADICTION] if contradicts else []
        assert endings == expected, release
        assert all(refusal.then for refusal in found)


def test_a_contradiction_is_told_once_and_not_of_what_follows(tmp_path: Path) -> None:
    nodes = "a = Add(x, four) \n b = Relu(a) \n y = Add(b, column)"
    found = network(tmp_path, nodes, "10.3.0", weights=MISFIT_WEIGHTS).refusals
    assert [refusal.node for refusal in found] == ["node_of_a"]
    assert found[0].reason == "1x8x8x8 and 4 do not broadcast"


NEWEST = [
    (nodes, opset, "11.4.1" in refused.split())
    for nodes, opset, refused, read in CASES
    if "11.4.1" in (refused + " " + read).split()
]


def _newest_parser_agrees(path: Path, *, refused: bool) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX's ONNX parser")
    sys.path.insert(0, str(Path(__file__).parent))
    from graph_rtx import parse

    if refused:
        with pytest.raises(ValueError, match=r".+"):
            parse(path.read_bytes())
    else:
        parse(path.read_bytes())


@pytest.mark.parametrize(("nodes", "opset", "refused"), NEWEST, ids=[case[0] for case in NEWEST])
def test_the_newest_parser_agrees(tmp_path: Path, nodes: str, opset: int, refused: bool) -> None:
    network(tmp_path, nodes, "11.4.1", opset=opset, weights=WEIGHTS)
    _newest_parser_agrees(tmp_path / "model.onnx", refused=refused)


@pytest.mark.parametrize(("nodes", "contradicts"), MISFITS)
def test_the_newest_parser_sees_the_same_contradictions(tmp_path: Path, nodes: str, contradicts: bool) -> None:
    network(tmp_path, nodes, "11.4.1", inputs=MISFIT_INPUTS, weights=MISFIT_WEIGHTS)
    _newest_parser_agrees(tmp_path / "model.onnx", refused=contradicts)
