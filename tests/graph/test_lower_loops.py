"""Loops, branches, recurrent cells and composed operators: the parser's layers, release by release.

The lists are facts: what onnx-tensorrt's sources make of each operator, and for 11 what the parser of TensorRT-RTX
gives for the same models.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper, parser

from dlaflow.graph.layer import Network
from dlaflow.graph.load import load_model
from dlaflow.graph.lower import lower

RELEASES = ("8.2.1", "8.4.1", "8.5.2", "8.6.2", "10.3.0", "11.4.1")
_LOOP_KINDS = {"TRIP_LIMIT": "T", "RECURRENCE": "R", "ITERATOR": "I", "LOOP_OUTPUT": "O", "SELECT": "S"}

Weights = dict[str, np.ndarray]


def _network(folder: Path, nodes: str, release: str, inputs: str, weights: Weights | None = None) -> Network:
    opset = 13
    if nodes.startswith("opset"):
        head, nodes = nodes.split(":", 1)
        opset = int(head[5:])
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => (float y) {{ {nodes} }}'
    model = parser.parse_model(text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    for name, value in (weights or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    network = lower(load_model(path), tensorrt=release)
    return replace(network, layers=tuple(sorted(network.layers, key=lambda layer: layer.index)))


def _kinds(network: Network) -> str:
    return " ".join(layer.kind for layer in network.layers)


def _names(network: Network, kind: str) -> list[str]:
    return [layer.name for layer in network.layers if layer.kind == kind]


def _steering(network: Network) -> str:
    """The layers that make a loop, one letter each."""
    return "".join(_LOOP_KINDS.get(layer.kind, "") for layer in network.layers)


def _cell(gates: int, directions: int = 1) -> Weights:
    return {
        "w": np.zeros((directions, gates * 4, 8), np.float32),
        "r": np.zeros((directions, gates * 4, 4), np.float32),
        "l": np.array([5, 3], np.int32),
    }


@pytest.mark.parametrize(
    ("release", "named", "sizes"),
    [
        ("8.5.2", ["n", "n_5"], ["CONSTANT", "CONSTANT", "CONSTANT", "CONCATENATION"]),
        ("8.6.2", ["n"], ["CONSTANT", "CONSTANT", "CONSTANT", "CONCATENATION"]),
        ("10.3.0", ["n"], ["CONSTANT", "CONSTANT", "SHAPE", "CAST", "SLICE", "CONCATENATION"]),
    ],
)
def test_zeros_for_the_state_of_a_cell(release: str, named: list[str], sizes: list[str], tmp_path: Path) -> None:
    nodes = "[n] y = RNN<hidden_size=4>(x,w,r)"
    network = _network(tmp_path, nodes, release, "float[5,2,8] x", _cell(1))
    assert [layer.kind for layer in network.layers][2 : 2 + len(sizes)] == sizes
    assert [layer.name for layer in network.layers if layer.name.startswith("n")] == named


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_lengths_of_sequences_mask_input_states_and_output(operator: str, release: str, tmp_path: Path) -> None:
    gates, states = {"LSTM": (4, 2), "GRU": (3, 1), "RNN": (1, 1)}[operator]
    nodes = f'[n] y = {operator}<hidden_size=4,direction="bidirectional">(x,w,r,,l)'
    network = _network(tmp_path, nodes, release, "float[5,2,8] x", _cell(gates, 2))
    counted = [layer.kind for layer in network.layers]
    assert counted.count("SELECT") == 2 * (2 + states)
    assert counted.count("RECURRENCE") == states + 1 + states + 2  # the states, and a counter for each pair of masks
    assert counted.count("ITERATOR") == 2
    assert network.outputs[0].shape == (5, 2, 2, 4)
    last = counted.count("LOOP_OUTPUT") - 2
    assert last == (0 if release.startswith("11") else states)


def test_a_masked_cell_loop_as_a_whole(tmp_path: Path) -> None:
    nodes = '[n] y = GRU<hidden_size=4,direction="reverse">(x,w,r,,l)'
    network = _network(tmp_path, nodes, "11.4.1", "float[5,2,8] x", _cell(3))
    assert _steering(network) == "TIRSRRSRSO"
    assert len(network.layers) == 109
    assert _names(network, "RECURRENCE")[1] == "n"


@pytest.mark.parametrize(
    ("release", "kinds"),
    [
        ("8.6.2", "ELEMENTWISE CONSTANT ELEMENTWISE ELEMENTWISE ELEMENTWISE CONSTANT ELEMENTWISE CONSTANT"),
        ("11.4.1", "CONSTANT ELEMENTWISE ELEMENTWISE ELEMENTWISE ELEMENTWISE CONSTANT ELEMENTWISE SHAPE"),
    ],
)
def test_where_the_one_of_a_gru_stands(release: str, kinds: str, tmp_path: Path) -> None:
    nodes = "[n] y = GRU<hidden_size=4>(x,w,r)"
    network = _network(tmp_path, nodes, release, "float[5,2,8] x", _cell(3))
    made = _kinds(network).split(" ACTIVATION ")[-1]
    assert made.startswith(kinds)


def test_peepholes_and_clips_of_an_lstm(tmp_path: Path) -> None:
    weights = {**_cell(4), "p": np.zeros((1, 12), np.float32)}
    nodes = '[n] y = LSTM<hidden_size=4,clip=3.0,activations=["Relu","HardSigmoid","Tanh"]>(x,w,r,,,,,p)'
    network = _network(tmp_path, nodes, "8.5.2", "float[5,2,8] x", weights)
    types = [str(getattr(layer.attributes, "type", "")) for layer in network.layers if layer.kind == "ACTIVATION"]
    assert types == ["CLIP", "RELU", "CLIP", "RELU", "CLIP", "HARD_SIGMOID", "CLIP", "RELU", "CLIP", "TANH"]
    assert _kinds(network).count("SLICE SHUFFLE ELEMENTWISE ELEMENTWISE") == 3


_BODY = (
    "body = b (int64 i, bool c, float[2,3] s) => (bool co, float[2,3] so) { [nb] co = Identity(c) [na] so = Add(s,o) }"
)
_COUNTED: Weights = {"m": np.int64(3), "c": np.bool_(True), "o": np.float32(1)}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("release", "before"),
    [
        ("8.4.1", "CONSTANT TRIP_LIMIT CONSTANT CONSTANT RECURRENCE ELEMENTWISE CONSTANT IDENTITY RECURRENCE"),
        ("8.5.2", "CONSTANT TRIP_LIMIT CONSTANT CONSTANT RECURRENCE ELEMENTWISE CONSTANT RECURRENCE"),
        ("8.6.2", "CONSTANT TRIP_LIMIT CONSTANT CONSTANT RECURRENCE ELEMENTWISE SHUFFLE CONSTANT RECURRENCE"),
        ("10.3.0", "CONSTANT CAST TRIP_LIMIT CONSTANT CONSTANT RECURRENCE ELEMENTWISE SHUFFLE CONSTANT RECURRENCE"),
    ],
)
def test_a_loop_with_a_trip_count_and_a_condition(release: str, before: str, tmp_path: Path) -> None:
    network = _network(tmp_path, f"[n] y = Loop<{_BODY}>(m,c,x)", release, "float[2,3] x", _COUNTED)
    after = "IDENTITY CONSTANT SHUFFLE ELEMENTWISE RECURRENCE TRIP_LIMIT LOOP_OUTPUT"
    assert _kinds(network) == f"{before} {after}"
    assert network.outputs[0].shape == (2, 3)


def test_a_second_loop_with_the_same_body_goes_on_with_the_counter(tmp_path: Path) -> None:
    nodes = f"[n] t = Loop<{_BODY}>(m,c,x) [k] y = Loop<{_BODY}>(m,c,t)"
    network = _network(tmp_path, nodes, "11.4.1", "float[2,3] x", _COUNTED)
    names = [layer.name for layer in network.layers if not layer.name.startswith("(")]
    assert names == [
        "m", "ONNXTRT_castHelper", "ONNXTRT_convertToScalar", "c", "nb", "o", "ONNXTRT_Broadcast", "na",
        "ONNXTRT_castHelper_2", "ONNXTRT_convertToScalar_5", "nb_9", "ONNXTRT_Broadcast_12", "na_13",
    ]  # fmt: skip


@pytest.mark.parametrize(("release", "limits"), [("8.4.1", 2), ("8.5.2", 1), ("11.4.1", 1)])
def test_the_largest_trip_count_is_none(release: str, limits: int, tmp_path: Path) -> None:
    weights: Weights = {**_COUNTED, "m": np.array(2**63 - 1, np.int64)}
    network = _network(tmp_path, f"[n] y = Loop<{_BODY}>(m,c,x)", release, "float[2,3] x", weights)
    assert _kinds(network).count("TRIP_LIMIT") == limits


def test_results_of_all_iterations_are_stacked(tmp_path: Path) -> None:
    body = "body = b (int64 i, bool c) => (bool co, float[2,3] z) { co = Identity(c) z = Relu(x) }"
    network = _network(tmp_path, f"[n] y = Loop<{body}>(m,c)", "8.6.2", "float[2,3] x", _COUNTED)
    assert network.outputs[0].shape == (3, 2, 3)
    growing = (
        "body = b (int64 i, bool c, float[] s) => (bool co, float[] t) { co = Identity(c) t = Concat<axis=0>(s,s) }"
    )
    network = _network(tmp_path, f"[n] y = Loop<{growing}>(m,c,x)", "8.6.2", "float[2,3] x", _COUNTED)
    assert network.outputs[0].shape is None or network.outputs[0].shape[0] is None


_STEP = "body = b (float[3] s, float[3] t) => (float[3] so, float[3] sc) { [na] so = Add(s,t) sc = Relu(so) }"


def test_scan_along_other_axes(tmp_path: Path) -> None:
    nodes = f"[n] h,y = Scan<num_scan_inputs=1,scan_input_axes=[-1],scan_output_axes=[1],{_STEP}>(s0,x)"
    network = _network(tmp_path, nodes, "8.5.2", "float[3] s0, float[3,5] x")
    assert _kinds(network) == ("CONSTANT TRIP_LIMIT RECURRENCE ITERATOR ELEMENTWISE ACTIVATION LOOP_OUTPUT LOOP_OUTPUT")
    assert _names(network, "RECURRENCE") == ["n"]
    assert network.outputs[0].shape == (3, 5)


def test_scan_of_opset_8_has_a_batch_and_lengths_that_nobody_gives(tmp_path: Path) -> None:
    nodes = f"opset8:[n] h,y = Scan<num_scan_inputs=1,{_STEP}>(,s0,x)"
    network = _network(tmp_path, nodes, "11.4.1", "float[1,3] s0, float[1,5,3] x")
    shapes = [layer.outputs[0].shape for layer in network.layers if layer.kind in ("ITERATOR", "ACTIVATION")]
    assert shapes == [(1, 3), (1, 3)]
    assert network.outputs[0].shape == (1, 5, 3)


def _if(then: str, other: str) -> str:
    branches = f"then_branch = t () => (float[] ty) {{ {then} }}, else_branch = e () => (float[] ey) {{ {other} }}"
    return f"[n] y = If<{branches}>(c)"


@pytest.mark.parametrize(
    ("release", "entries"),
    [
        ("8.4.1", []),
        ("8.5.2", ["x_InputLayer", "z_InputLayer"]),
        ("8.6.2", []),
        ("10.3.0", []),
        ("11.4.1", ["x_InputLayer", "z_InputLayer"]),
    ],
)
def test_what_branches_take_from_around_them(release: str, entries: list[str], tmp_path: Path) -> None:
    nodes = _if("[ta] t1 = Relu(x) [tb] ty = Mul(t1,z)", "[ea] ey = Tanh(x)")
    network = _network(tmp_path, nodes, release, "float[2,3] x, float[2,3] z, bool c")
    assert _names(network, "CONDITIONAL_INPUT") == entries
    assert _names(network, "CONDITIONAL_OUTPUT") == ["n_OutputLayer"]


def test_the_parser_of_8_6_finds_a_tensor_whose_name_begins_the_layers(tmp_path: Path) -> None:
    network = _network(tmp_path, _if("[xta] ty = Relu(x)", "[ea] ey = Tanh(x)"), "8.6.2", "float[2,3] x, bool c")
    assert _names(network, "CONDITIONAL_INPUT") == ["x_InputLayer"]


def test_branches_within_branches(tmp_path: Path) -> None:
    inner = _if("[tta] ty = Relu(x)", "[tea] ey = Tanh(x)").replace("[n] y", "[m] q").replace(">(c)", ">(d)")
    nodes = _if(f"{inner} [tb] ty = Abs(q)", "[ea] ey = Sigmoid(x)")
    network = _network(tmp_path, nodes, "11.4.1", "float[2,3] x, bool c, bool d")
    assert _names(network, "CONDITIONAL_INPUT") == ["x_InputLayer", "d_InputLayer", "x_InputLayer_2"]


def test_branches_of_different_rank_have_no_common_shape(tmp_path: Path) -> None:
    nodes = _if("[ta] ty = Relu(x)", "[ea] ey = Reshape(x,s)")
    network = _network(tmp_path, nodes, "8.5.2", "float[2,3] x, bool c", {"s": np.array([6])})
    assert network.outputs[0].shape is None


def test_weights_that_a_branch_hands_back_stand_behind_both_branches(tmp_path: Path) -> None:
    nodes = _if("[ta] ty = Constant<value = float[2,3] {1.0,2.0,3.0,4.0,5.0,6.0}>()", "[ea] ey = Tanh(x)")
    network = _network(tmp_path, nodes, "11.4.1", "float[2,3] x, bool c")
    assert _kinds(network) == "CONDITION ACTIVATION CONDITIONAL_INPUT CONSTANT CONDITIONAL_OUTPUT"
    assert _names(network, "CONSTANT") == ["ty"]


def test_siblings_may_use_a_name_for_different_things(tmp_path: Path) -> None:
    nodes = _if(
        "k = Constant<value = float[3] {1.0,2.0,3.0}>() ty = Add(x,k)",
        "k = Constant<value = float {1.0}>() ey = Mul(x,k)",
    )
    network = _network(tmp_path, nodes, "11.4.1", "float[2,3] x, bool c")
    assert [layer.outputs[0].shape for layer in network.layers if layer.kind == "CONSTANT"] == [(3,), ()]
    assert len(set(_names(network, "CONSTANT"))) == 2


_LAYERS: dict[str, tuple[str, str, Weights, dict[str, str]]] = {
    "cumsum_exclusive": (
        "[n] y = CumSum<exclusive=1>(x,a)",
        "float[3,4] x",
        {"a": np.array(0, np.int64)},
        {
            "8.6.2": "CONSTANT CONSTANT CONSTANT CONCATENATION CONSTANT CONCATENATION SLICE CONSTANT IDENTITY SHUFFLE "
            "ELEMENTWISE CONCATENATION SLICE CONSTANT TRIP_LIMIT ITERATOR SHUFFLE CONSTANT IDENTITY SHUFFLE "
            "ELEMENTWISE RECURRENCE ELEMENTWISE LOOP_OUTPUT",
            "11.4.1": "CONSTANT CUMULATIVE",
        },
    ),
    "isinf_one_sign": (
        "[n] b = IsInf<detect_negative=0>(x) y = Cast<to=1>(b)",
        "float[2,3] x",
        {},
        {
            "8.6.2": "CONSTANT ELEMENTWISE UNARY ELEMENTWISE CAST",
            "11.4.1": "CONSTANT CAST ELEMENTWISE UNARY ELEMENTWISE CAST",
        },
    ),
    "trilu": (
        "opset14:[n] y = Trilu(x,k)",
        "float[2,4,5] x",
        {"k": np.array(1, np.int64)},
        {
            "8.5.2": "FILL CONSTANT CONSTANT CONSTANT FILL CONSTANT CONSTANT CONSTANT CONSTANT IDENTITY SHUFFLE "
            "ELEMENTWISE CONSTANT SHUFFLE ELEMENTWISE SHUFFLE SHUFFLE ELEMENTWISE ELEMENTWISE ELEMENTWISE SELECT",
            "10.3.0": "FILL CONSTANT CONSTANT CONSTANT CAST FILL CONSTANT CONSTANT CONSTANT CAST CONSTANT CAST SHUFFLE "
            "ELEMENTWISE CONSTANT SHUFFLE ELEMENTWISE SHUFFLE SHUFFLE ELEMENTWISE ELEMENTWISE ELEMENTWISE SELECT",
        },
    ),
    "hardmax_of_opset_11": (
        "opset11:[n] y = Hardmax(x)",
        "float[2,3,4] x",
        {},
        {
            "10.3.0": "SHUFFLE TOPK SHUFFLE CONSTANT SHAPE CAST SLICE SHUFFLE ONE_HOT SHUFFLE CAST",
            "11.4.1": "SHUFFLE TOPK CONSTANT SQUEEZE CONSTANT SHAPE CAST SLICE SHUFFLE ONE_HOT SHUFFLE CAST",
        },
    ),
    "size_of_an_open_batch": (
        "[n] s = Size(x) y = Cast<to=1>(s)",
        "float[N,3] x",
        {},
        {
            "8.5.2": "CONSTANT SHAPE GATHER CONSTANT ELEMENTWISE IDENTITY",
            "10.3.0": "CONSTANT SHAPE CAST GATHER CONSTANT ELEMENTWISE CAST",
        },
    ),
    "scatter_that_adds": (
        'opset16:[n] y = ScatterElements<axis=1,reduction="add">(x,i,u)',
        "float[1,8] x, int64[1,2] i, float[1,2] u",
        {},
        {"8.6.2": "SCATTER", "10.3.0": "PLUGIN_V2"},
    ),
    "scatter": (
        "[n] y = ScatterND(x,i,u)",
        "float[4,8] x, int64[2,1] i, float[2,8] u",
        {},
        {"8.4.1": "SCATTER", "10.3.0": "CAST SCATTER", "11.4.1": "SCATTER"},
    ),
    "roi_align": (
        "opset16:[n] y = RoiAlign(x,r,b)",
        "float[1,4,8,8] x, float[5,4] r, int64[5] b",
        {},
        {"8.4.1": "UNKNOWN", "8.6.2": "PLUGIN_V2", "10.3.0": "CAST PLUGIN_V3"},
    ),
    "deform_conv": (
        "opset19:[n] y = DeformConv<kernel_shape=[3,3],pads=[1,1,1,1]>(x,w,o)",
        "float[1,4,8,8] x, float[1,18,8,8] o",
        {"w": np.zeros((6, 4, 3, 3), np.float32)},
        {"8.6.2": "CONSTANT UNKNOWN", "10.3.0": "CONSTANT CONSTANT CONSTANT SHUFFLE SLICE PLUGIN_V2"},
    ),
    "non_max_suppression": (
        "[n] s = NonMaxSuppression(x,z) y = Cast<to=1>(s)",
        "float[1,10,4] x, float[1,3,10] z",
        {},
        {
            "8.4.1": "SHUFFLE PLUGIN_V2 IDENTITY",
            "8.5.2": "CONSTANT SHUFFLE NMS IDENTITY",
            "10.3.0": "CONSTANT SHUFFLE NMS CAST CAST",
        },
    ),
    "random_like_an_open_batch": (
        "[n] r = RandomUniformLike(x) y = Add(x,r)",
        "float[N,3] x",
        {},
        {"8.4.1": "FILL SHAPE ELEMENTWISE", "10.3.0": "FILL SHAPE CAST ELEMENTWISE"},
    ),
    "range_of_floats": (
        "[n] r = Range(a,b,c) y = Add(x,r)",
        "float[8] x",
        {"a": np.array(0, np.float32), "b": np.array(8, np.float32), "c": np.array(1, np.float32)},
        {
            "8.6.2": "CONSTANT CONSTANT CONSTANT ELEMENTWISE ELEMENTWISE IDENTITY CONSTANT ELEMENTWISE ELEMENTWISE "
            "SHUFFLE FILL SHUFFLE ELEMENTWISE",
        },
    ),
    "eye_like": (
        "opset9:[n] e = EyeLike(x) y = Add(x,e)",
        "float[4,4] x",
        {},
        {"8.6.2": "CONSTANT IDENTITY ELEMENTWISE", "10.3.0": "CONSTANT CAST ELEMENTWISE"},
    ),
    "cast_like": (
        "opset15:[n] h = CastLike(x,z) y = Cast<to=1>(h)",
        "float[2] x, float16[2] z",
        {},
        {"8.6.2": "UNKNOWN CAST", "10.3.0": "CAST CAST"},
    ),
    "image_scaler": ("[n] y = ImageScaler<bias=[1.0,2.0],scale=2.0>(x)", "float[1,2,4,4] x", {}, {"8.4.1": "SCALE"}),
    "one_hot": (
        "opset11:[n] y = OneHot(x,d,v)",
        "int64[3] x",
        {"d": np.array([5], np.int64), "v": np.array([0, 1], np.float32)},
        {"8.5.2": "CONSTANT CONSTANT SHUFFLE ONE_HOT", "10.3.0": "CONSTANT CAST CONSTANT CAST SHUFFLE ONE_HOT"},
    ),
}


@pytest.mark.parametrize("name", list(_LAYERS))
def test_composed_operators(name: str, tmp_path: Path) -> None:
    nodes, inputs, weights, releases = _LAYERS[name]
    made = {release: _kinds(_network(tmp_path, nodes, release, inputs, weights)) for release in releases}
    assert made == releases


def test_reverse_sequence_cuts_out_each_element(tmp_path: Path) -> None:
    nodes = "opset10:[n] y = ReverseSequence(x,l)"
    weights: Weights = {"l": np.array([4, 2], np.int64)}
    network = _network(tmp_path, nodes, "8.5.2", "float[4,2] x", weights)
    one = "CONSTANT CONSTANT CONCATENATION SLICE SHUFFLE SLICE CONSTANT ELEMENTWISE SLICE CONSTANT ELEMENTWISE SLICE"
    assert _kinds(network) == f"CONSTANT {one} CONCATENATION SHUFFLE {one} CONCATENATION SHUFFLE CONCATENATION"
    turned = [layer.outputs[0].shape for layer in network.layers if layer.kind == "CONCATENATION"]
    assert turned == [(2,), (4,), (2,), (4,), (4, 2)]
    network = _network(tmp_path, nodes, "8.6.2", "float[4,2] x", weights)
    assert _kinds(network) == "CONSTANT REVERSE_SEQUENCE"


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", list(_LAYERS))
def test_inputs_of_unknown_rank_end_in_no_crash(name: str, release: str, tmp_path: Path) -> None:
    nodes, inputs, weights, _ = _LAYERS[name]
    bare = ", ".join(f"{part.split('[')[0]}[] {part.split()[-1]}" for part in inputs.split(", "))
    assert _network(tmp_path, nodes, release, bare, weights).layers
