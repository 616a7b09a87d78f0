"""Lowering: what differs between releases, what attributes say, and that no graph ends in a crash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper, parser

from dlaflow.errors import InputError, UsageError
from dlaflow.graph.layer import (
    Activation,
    Convolution,
    ElementWise,
    MatrixMultiply,
    Network,
    Pooling,
    Reduce,
    Resize,
    Shuffle,
    Slice,
)
from dlaflow.graph.load import load_model
from dlaflow.graph.lower import lower

_WEIGHTS = {
    "w": np.zeros((8, 4, 3, 3), np.float32),
    "bias": np.zeros(8, np.float32),
    "c4": np.arange(4, dtype=np.float32).reshape(4, 1, 1),
    "ones": np.ones((1, 4, 1, 1), np.float32),
    "s4": np.ones(4, np.float32),
    "lin": np.zeros((256, 5), np.float32),
}


def _network(folder: Path, nodes: str, release: str = "8.5.2", batch: int | None = None, **more: object) -> Network:
    inputs, outputs = more.get("inputs", "float[N,4,8,8] x"), more.get("outputs", "float[M] y")
    text = f'<ir_version: 8, opset_import: ["" : {more.get("opset", 17)}]> g ({inputs}) => ({outputs}) {{ {nodes} }}'
    model = parser.parse_model(text)
    extra = more.get("weights", {})
    assert isinstance(extra, dict)
    for name, value in {**_WEIGHTS, **extra}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return lower(load_model(path), tensorrt=release, batch=batch)


def _names(network: Network) -> list[tuple[str, str]]:
    return [(layer.kind, layer.name) for layer in network.layers]


@pytest.mark.parametrize(
    ("release", "kinds"),
    [("8.4.0", ["IDENTITY"]), ("8.5.2", ["IDENTITY"]), ("8.6.1", ["CAST"]), ("10.3.0", ["CAST"]), ("11.4.1", ["CAST"])],
)
def test_cast(tmp_path: Path, release: str, kinds: list[str]) -> None:
    network = _network(tmp_path, "[n] y = Cast<to=10>(x)", release, outputs="float16[M] y")
    assert [layer.kind for layer in network.layers] == kinds


@pytest.mark.parametrize(
    ("release", "kind"), [("8.5.2", "PLUGIN_V2"), ("8.6.1", "PLUGIN_V2"), ("10.0.0", "NORMALIZATION")]
)
def test_instance_normalization(tmp_path: Path, release: str, kind: str) -> None:
    network = _network(tmp_path, "[n] y = InstanceNormalization(x, s4, s4)", release)
    assert [layer.kind for layer in network.layers if layer.name == "n"] == [kind]


@pytest.mark.parametrize(("release", "kind"), [("8.5.2", "UNKNOWN"), ("8.6.1", "NORMALIZATION")])
def test_group_normalization(tmp_path: Path, release: str, kind: str) -> None:
    nodes = "[n] y = GroupNormalization<num_groups=2>(x, s4, s4)"
    network = _network(tmp_path, nodes, release, batch=2, opset=21)
    layer = next(layer for layer in network.layers if layer.name == "n")
    assert (layer.kind, layer.outputs[0].shape) == (kind, (2, 4, 8, 8))
    assert network.unknown_ops == (("GroupNormalization",) if kind == "UNKNOWN" else ())


def test_helpers_have_no_name_before_9(tmp_path: Path) -> None:
    nodes = "[m] y = Mul(x, c4)"
    assert _names(_network(tmp_path, nodes, "8.6.1"))[1] == ("SHUFFLE", "(Unnamed Layer* 1) [Shuffle]")
    assert _names(_network(tmp_path, nodes, "10.3.0"))[1] == ("SHUFFLE", "ONNXTRT_Broadcast")


def test_squeeze_has_a_kind_of_its_own_in_newer_releases(tmp_path: Path) -> None:
    nodes, inputs = "[n] y = Squeeze<axes=[2]>(x)", "float[2,3,1] x"
    for release, kind in (("8.5.2", "SHUFFLE"), ("10.3.0", "SHUFFLE"), ("11.4.1", "SQUEEZE")):
        network = _network(tmp_path, nodes, release, inputs=inputs, opset=11)
        assert (kind, "n") in _names(network)


def test_split_counts_its_layers(tmp_path: Path) -> None:
    nodes = "[s] a, b = Split<axis=1>(x) [t] c, d, e, f = Split<axis=1>(x)"
    outputs = "float a, float b, float c, float d, float e, float f"
    network = _network(tmp_path, nodes, inputs="float[1,4,8,8] x", outputs=outputs, opset=11)
    # the graph's outputs have taken their names before, so a and b count too
    assert [layer.name for layer in network.layers] == ["s", "s_0", "t", "t_3", "t_4", "t_5"]
    attributes = network.layers[3].attributes
    assert attributes == Slice((0, 1, 0, 0), (1, 1, 8, 8), (1, 1, 1, 1))


def test_convolution_record(tmp_path: Path) -> None:
    network = _network(tmp_path, "[n] y = Conv<pads=[1,0,2,1], strides=[2,1], dilations=[1,2]>(x, w, bias)", batch=2)
    layer = network.layers[0]
    assert layer.attributes == Convolution((3, 3), (2, 1), (1, 0), (2, 1), (1, 2), 1, 4, 8)
    assert layer.weight_elements == 8 * 4 * 9 + 8
    assert layer.outputs[0].shape == (2, 8, 5, 5)
    assert layer.macs == 2 * 8 * 5 * 5 * 4 * 9


def test_same_padding_is_resolved(tmp_path: Path) -> None:
    record = _network(tmp_path, '[n] y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w)').layers[0].attributes
    assert isinstance(record, Convolution)
    assert (record.pads_begin, record.pads_end) == ((0, 0), (1, 1))


def test_deconvolution_macs_and_output_padding(tmp_path: Path) -> None:
    weights = {"d": np.zeros((4, 6, 3, 3), np.float32)}
    nodes = "[n] y = ConvTranspose<strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]>(x, d)"
    layer = _network(tmp_path, nodes, weights=weights).layers[0]
    assert isinstance(layer.attributes, Convolution)
    assert (layer.attributes.pads_end, layer.attributes.output_padding) == ((0, 0), ())
    assert layer.macs == 4 * 8 * 8 * 6 * 9
    nodes = "[n] y = ConvTranspose<strides=[2,2], output_padding=[1,1]>(x, d)"
    layers = _network(tmp_path, nodes, weights=weights).layers
    assert [layer.kind for layer in layers if not layer.folded] == ["DECONVOLUTION", "SLICE"]
    assert layers[0].outputs[0].shape == (1, 6, 17, 17)
    assert layers[-1].outputs[0].shape == (1, 6, 18, 18)


def test_constant_operands_are_described(tmp_path: Path) -> None:
    network = _network(tmp_path, "[a] p = Mul(x, c4) [b] q = Sub(ones, p) [c] y = Add(p, q)")
    found = {layer.name: layer.attributes for layer in network.layers if isinstance(layer.attributes, ElementWise)}
    assert found == {
        "a": ElementWise("PROD", 1),
        "b": ElementWise("SUB", 0),
        "c": ElementWise("SUM"),
    }


def test_other_records(tmp_path: Path) -> None:
    nodes = """[p] a = MaxPool<kernel_shape=[3,3], ceil_mode=1, strides=[2,2]>(x) [c] b = Clip(a, lo, hi)
        [r] d = ReduceMean<axes=[-1,2], keepdims=0>(b) [z] e = Resize<mode="linear">(b, , sc)
        [t] f = Transpose<perm=[0,2,3,1]>(x) [l] g = Flatten(x) [m] y = MatMul(g, lin)"""
    weights = {"lo": np.float32(0), "hi": np.float32(6), "sc": np.array([1, 1, 2, 2], np.float32)}
    found = {layer.name: layer.attributes for layer in _network(tmp_path, nodes, batch=3, weights=weights).layers}
    assert found["p"] == Pooling("MAX", (3, 3), (2, 2), (0, 0), (0, 0), (1, 1))
    assert found["c"] == Activation("CLIP", 0.0, 6.0)
    assert found["r"] == Reduce("AVG", (2, 3), False)
    assert found["z"] == Resize("linear", "half_pixel", "round_prefer_floor", (1.0, 1.0, 2.0, 2.0), False)
    assert found["t"] == Shuffle(first_transpose=(0, 2, 3, 1))
    assert found["l"] == Shuffle(reshape=(3, 256))
    assert found["m"] == MatrixMultiply(1, 256, 5, 256)


def test_a_transpose_that_moves_only_ones_is_a_reshape(tmp_path: Path) -> None:
    nodes = "[t] y = Transpose<perm=[0,2,3,1]>(x)"
    layer = _network(tmp_path, nodes, inputs="float[2,5,1,1] x").layers[0]
    assert layer.attributes == Shuffle(reshape=(2, 1, 1, 5))


@pytest.mark.parametrize(
    ("setup", "expected"), [("starts = Constant<value_ints=[1]>()", True), ("", False)], ids=["nodes", "initializers"]
)
def test_slice_parameters_from_nodes(tmp_path: Path, setup: str, expected: bool) -> None:
    weights = {"ends": np.array([3]), "axes": np.array([1])} | ({} if setup else {"starts": np.array([1])})
    network = _network(tmp_path, f"{setup} [n] y = Slice(x, starts, ends, axes)", weights=weights)
    attributes = network.layers[-1].attributes
    assert isinstance(attributes, Slice)
    assert attributes.parameters_from_nodes is expected
    assert (attributes.start, attributes.size) == ((0, 1, 0, 0), (1, 2, 8, 8))


def test_shape_arithmetic_is_folded(tmp_path: Path) -> None:
    nodes = """[s] a = Shape(x) [g] b = Gather(a, zero) [u] c = Unsqueeze(b, axes) [k] d = Concat<axis=0>(c, rest)
        [r] e = Reshape(x, d) [n] y = Relu(e)"""
    weights = {"zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1])}
    network = _network(tmp_path, nodes, batch=4, weights=weights)
    assert [layer.name for layer in network.layers if not layer.folded] == ["r", "n"]
    assert network.outputs[0].shape == (4, 256)


def test_unknown_operators_are_listed_and_do_not_stop_the_rest(tmp_path: Path) -> None:
    network = _network(tmp_path, "[u] a, b = Wonder(x) [v] c = com.other.Marvel(a) [r] y = Relu(c)")
    assert network.unknown_ops == ("Wonder", "Marvel")
    assert [layer.kind for layer in network.layers] == ["UNKNOWN", "UNKNOWN", "ACTIVATION"]
    assert network.outputs[0].shape is not None or network.layers[-1].outputs[0].name == "y"


def test_layers_are_connected(tmp_path: Path) -> None:
    network = _network(tmp_path, "[a] p = Conv(x, w, bias) [c] q = Softmax<axis=1>(p) [d] y = Mul(q, ones1)",
                       weights={"ones1": np.ones((1, 8, 1, 1), np.float32)})  # fmt: skip
    made = {tensor.name for tensor in network.inputs}
    for layer in network.layers:
        # a shape that the network computes may stand behind the layer that takes it, as in TensorRT's own network
        assert {tensor.name for tensor in layer.inputs if not tensor.constant} <= made
        made |= {tensor.name for tensor in layer.outputs}
    assert network.outputs[0].name in made


def test_wrong_nodes_and_releases(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"node 'n' \(Conv\) lacks its input 1"):
        _network(tmp_path, "[n] y = Conv(x)")
    with pytest.raises(InputError, match=r"node 'n' \(Transpose\) does not fit its inputs"):
        _network(tmp_path, "[n] y = Transpose<perm=[0,1,2,9]>(x)")
    with pytest.raises(UsageError, match="release such as"):
        _network(tmp_path, "[n] y = Relu(x)", "latest")


_UNARY = ["Relu", "Sigmoid", "Sqrt", "HardSwish", "Softmax", "LogSoftmax", "GlobalAveragePool", "Flatten", "Shape"]
_BINARY = ["Add", "Mul", "MatMul", "Concat<axis=-1>", "Greater", "Where", "Gemm", "Conv", "Gather", "Reshape", "Slice"]


@settings(deadline=None, max_examples=40)
@given(
    steps=st.lists(st.tuples(st.sampled_from(_UNARY + _BINARY), st.integers(0, 9), st.integers(0, 9)), max_size=8),
    release=st.sampled_from(["8.4.0", "8.5.2", "8.6.1", "10.3.0", "11.4.1"]),
)
def test_any_graph_gets_layers_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]], release: str
) -> None:
    names = ["x", "c4", "w"]
    nodes = []
    for number, (operator, left, right) in enumerate(steps):
        first, second = names[left % len(names)], names[right % len(names)]
        arguments = first if operator in _UNARY else f"{first}, {second}"
        kind, _, rest = operator.partition("<")
        nodes.append(f"t{number} = {kind}{'<' + rest if rest else ''}({arguments})")
        names.append(f"t{number}")
    nodes.append(f"y = Identity({names[-1]})")
    try:
        network = _network(tmp_path_factory.mktemp("any"), " ".join(nodes), release, batch=2)
    except InputError as error:
        lines = str(error).splitlines()
        network = None
    if network is None:
        assert len(lines) == 1
    else:
        assert sorted(layer.index for layer in network.layers) == list(range(len(network.layers)))
        assert len({layer.name for layer in network.layers}) == len(network.layers)


@pytest.mark.parametrize("release", ["8.5.2", "10.3.0", "11.4.1"])
def test_a_list_of_sizes_without_end_is_cut(tmp_path: Path, release: str) -> None:
    """A tensor of 2^33 starts is no list of sizes; the layers come nevertheless, and nothing holds so many numbers."""
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2,3] x, int64[8589934592] many) => (float[A,B] y) { s = Slice(x, many, many)  y = Expand(s, many) }
    """
    path = tmp_path / "m.onnx"
    path.write_bytes(parser.parse_model(text).SerializeToString())
    try:
        network = lower(load_model(path), tensorrt=release)
    except InputError:
        return
    assert {layer.op for layer in network.layers} == {"Slice", "Expand"}
