"""Devices, loadables and switches on small graphs whose answer is known from real builds or by construction."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dlaflow.graph.load import load_model
from dlaflow.placement.check import check, check_model
from dlaflow.targets.target import resolve_target
from dlaflow.types import Device, Placement, Verdict


def predict(
    tmp_path, nodes: str, *, x="1,8,16,16", weights=(), board="agx-orin-64gb", tensorrt="8.5.2", **target
) -> Placement:
    """Check a graph given as ONNX text from `x` to `y`."""
    parsed = [onnx.parser.parse_node(line) for line in nodes.strip().splitlines()]
    for node in parsed:
        node.name = node.output[0]
    dims = [int(dim) if dim.isdigit() else dim for dim in x.split(",")]
    graph = helper.make_graph(
        parsed,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.zeros(shape, np.int64 if name[0] == "n" else np.float32) + fill, name)
            for name, shape, fill in weights
        ],
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)], ir_version=9
        ).SerializeToString()
    )
    return check(path, resolve_target(board, tensorrt=tensorrt, **target))


def devices(placement: Placement) -> dict[str, str]:
    return {layer.name: layer.device.value for layer in placement.layers}


def test_a_chain_is_one_loadable(tmp_path):
    placement = predict(tmp_path, "a = Relu(x)\nb = Sigmoid(a)\ny = Mul(a, b)")
    assert placement.summary.loadables == 1
    assert placement.summary.switches == 0
    assert placement.loadables[0].layers == ["a", "b", "y"]
    assert placement.summary.standalone_ok


def test_a_refused_layer_cuts_and_switches_twice(tmp_path):
    placement = predict(tmp_path, "a = Relu(x)\nb = Ceil(a)\ny = Relu(b)")
    assert devices(placement) == {"a": "DLA", "b": "GPU", "y": "DLA"}
    assert [(switch.source, switch.to) for switch in placement.switches] == [("a", "b"), ("b", "y")]
    assert placement.switches[0].bytes == 8 * 16 * 16
    assert placement.summary.loadables == 2
    assert not placement.summary.standalone_ok


def test_bytes_follow_the_precision(tmp_path):
    placement = predict(tmp_path, "a = Relu(x)\nb = Ceil(a)\ny = Relu(b)", precision="fp16")
    assert placement.switches[0].bytes == 2 * 8 * 16 * 16


def test_a_side_branch_through_the_gpu_does_not_join_the_loadables_around_it(tmp_path):
    placement = predict(tmp_path, "a = Relu(x)\nb = Ceil(a)\nc = Sigmoid(a)\ny = Add(b, c)")
    assert placement.summary.loadables == 2
    # From the end: c has no change of device before y, a has two.
    assert [loadable.layers for loadable in placement.loadables] == [["a"], ["c", "y"]]


def test_tensorrt_10_moves_layers_to_the_last_loadable_that_their_readers_allow(tmp_path):
    placement = predict(tmp_path, "a = Relu(x)\nb = Ceil(a)\nc = Sigmoid(a)\ny = Add(b, c)", tensorrt="10.3.0")
    assert [loadable.layers for loadable in placement.loadables] == [["a"], ["c", "y"]]


def test_tensorrt_10_stays_in_network_order_where_batches_differ(tmp_path):
    # v could wait for s, but s has batch 1 and v has 20 (as the values of DETR): it stays with the product before it.
    nodes = """
q = Gemm(x, w)
v = Gemm(x, w)
q4 = Reshape(q, n)
s = Softmax<axis=1>(q4)
c = Ceil(s)
c2 = Reshape(c, n2)
y = MatMul(v, c2)
"""
    weights = [("w", (32, 32), 0.1), ("n", (4,), np.array([1, 32, 20, 1])), ("n2", (2,), np.array([32, 20]))]
    placement = predict(tmp_path, nodes, x="20,32", weights=weights, tensorrt="10.3.0", precision="fp16")
    assert [loadable.layers for loadable in placement.loadables] == [["q", "v"], ["s"]]


YOLO_ATTENTION = """
qkv = Relu(x)
q, k, v = Split<axis=2>(qkv, n_parts)
t = Transpose<perm=[0,1,3,2]>(q)
m = MatMul(t, k)
s = Softmax<axis=3>(m)
u = Transpose<perm=[0,1,3,2]>(s)
mm = MatMul(v, u)
y = Relu(mm)
"""


@pytest.mark.parametrize("tensorrt", ["8.5.2", "10.3.0"])
def test_values_travel_with_the_attention_that_they_meet(tmp_path, tensorrt):
    # YOLO11n under 8.5.2, YOLO26n under 10.3: the slice of the values is in the loadable of the second transpose.
    placement = predict(
        tmp_path,
        YOLO_ATTENTION,
        x="1,2,24,16",
        weights=[("n_parts", (3,), np.array([8, 8, 8]))],
        tensorrt=tensorrt,
        precision="fp16",
    )
    groups = [set(loadable.layers) for loadable in placement.loadables]
    values = next(layer.name for layer in placement.layers if layer.outputs == ["v"])
    assert next(group for group in groups if "u" in group) >= {values, "u"}
    assert {"t", "qkv"} <= groups[0]
    assert values not in groups[0]


def test_heads_end_in_the_last_loadable_of_tensorrt_10(tmp_path):
    # Two outputs, one of them early: nothing needs it before the end.
    nodes = "a = Relu(x)\nh = Sigmoid(a)\nb = Ceil(a)\nc = Relu(b)\nh2 = Ceil(h)\ny = Concat<axis=2>(c, h2)"
    placement = predict(tmp_path, nodes, tensorrt="10.3.0")
    assert [loadable.layers for loadable in placement.loadables] == [["a"], ["h", "c"]]


@pytest.mark.parametrize(("tensorrt", "loadables"), [("8.5.2", [["a", "r", "y"]]), ("10.3.0", [["a"], ["r"], ["y"]])])
def test_an_activation_between_products_of_two_dimensions(tmp_path, tensorrt, loadables):
    # The feed-forward parts of DETR under 10.3 are three candidates each; VGG-19 under 8.2 runs relu6 to fc8 as one.
    nodes = "a = Gemm(x, w)\nr = Relu(a)\ny = Gemm(r, w)"
    placement = predict(tmp_path, nodes, x="1,32", weights=[("w", (32, 32), 0.1)], tensorrt=tensorrt, precision="fp16")
    assert [loadable.layers for loadable in placement.loadables] == loadables


ATTENTION = """
p = Add(x, w_position)
q0 = Reshape(p, n_rows)
q = Gemm(q0, w, w_bias)
k = Gemm(q0, w, w_bias)
v0 = Reshape(x, n_rows)
v = Gemm(v0, w, w_bias)
qr = Reshape(q, n_heads)
qt = Transpose<perm=[0,2,1,3]>(qr)
kr = Reshape(k, n_heads)
kt = Transpose<perm=[0,2,3,1]>(kr)
vr = Reshape(v, n_heads)
vt = Transpose<perm=[0,2,1,3]>(vr)
qs = Mul(qt, w_scale)
ks = Mul(kt, w_scale)
m = MatMul(qs, ks)
s = Softmax<axis=-1>(m)
y = MatMul(s, vt)
"""


def attention(tmp_path, tensorrt):
    shapes = {"w": ((32, 32), 0.1), "w_bias": ((32,), 0.1), "w_position": ((1, 20, 32), 0.1), "w_scale": ((), 0.5)}
    weights = [(name, shape, fill) for name, (shape, fill) in shapes.items()]
    rows, heads = np.array([20, 32]), np.array([1, 20, 4, 8])
    placement = predict(
        tmp_path,
        ATTENTION,
        x="1,20,32",
        weights=[*weights, ("n_rows", (2,), rows), ("n_heads", (4,), heads)],
        tensorrt=tensorrt,
        precision="fp16",
    )
    products = {"q", "k", "v"}
    firsts = {layer.name: layer.onnx_nodes[0] for layer in placement.layers if layer.onnx_nodes}
    groups = [{firsts.get(name, name) for name in loadable.layers} for loadable in placement.loadables]
    return placement, [group for group in groups if group & products], groups


def test_self_attention_as_detr_was_built_under_10_3(tmp_path):
    placement, products, groups = attention(tmp_path, "10.3.0")
    assert products == [{"q", "k", "v"}], "one loadable, though the values skip the addition"
    assert {"qs", "ks"} in groups
    assert {"p"} in groups, "three dimensions: helper shuffles on the GPU around it"
    assert {"s"} in groups
    on = devices(placement)
    assert {on["qt"], on["kt"], on["vt"]} == {"GPU"}, "fused with the reshapes before them"
    added = next(layer for layer in placement.layers if layer.name == "p")
    assert (added.verdict, [finding.rule for finding in added.findings]) == (Verdict.NATIVE, ["DLA107"])


def test_self_attention_under_8_5_keeps_values_apart(tmp_path):
    _, products, _ = attention(tmp_path, "8.5.2")
    assert products == [{"q", "k"}, {"v"}]


@pytest.mark.parametrize(("tensorrt", "firsts"), [("8.2.1", ["a", "relu6"]), ("10.3.0", ["a", "relu6", "y"])])
def test_the_bias_of_a_refused_product_stays_with_it(tmp_path, tensorrt, firsts):
    # VGG-19 under TensorRT 8.2: fc6 (25,088 inputs) on the GPU, {ForeignNode[relu6...fc8]} on the DLA.
    nodes = "a = Relu(x)\nf = Flatten(a)\nfc6 = Gemm(f, w6, b6)\nrelu6 = Relu(fc6)\ny = Gemm(relu6, w7, b6)"
    weights = [("w6", (25088, 16), 0.1), ("b6", (16,), 0.1), ("w7", (16, 16), 0.1)]
    placement = predict(
        tmp_path,
        nodes,
        x="1,512,7,7",
        weights=weights,
        tensorrt=tensorrt,
        board="agx-xavier-32gb" if tensorrt == "8.2.1" else "agx-orin-64gb",
    )
    assert [loadable.first for loadable in placement.loadables] == firsts


def test_a_run_falls_apart_where_the_batch_changes(tmp_path):
    nodes = "a0 = Flatten(x)\na = Gemm(a0, w)\nb0 = Reshape(x, n)\nb = Gemm(b0, w2)\nc = Flatten(b)\ny = MatMul(a, c)"
    weights = [("w", (64, 8), 0.1), ("w2", (32, 8), 0.1), ("n", (2,), np.array([2, 32]))]
    placement = predict(tmp_path, nodes, x="1,4,4,4", weights=weights, tensorrt="10.3.0")
    assert len([loadable for loadable in placement.loadables if {"a", "b"} & set(loadable.layers)]) == 2


def test_tensorrt_7_counts_from_the_start(tmp_path):
    nodes = "a = Relu(x)\nb = Ceil(a)\nc = Sigmoid(a)\ny = Add(b, c)"
    placement = predict(tmp_path, nodes, board="xavier-nx", tensorrt="7.1.3")
    assert [loadable.layers for loadable in placement.loadables] == [["a", "c"], ["y"]]


@pytest.mark.parametrize(("board", "tensorrt", "limit"), [("agx-orin-64gb", "8.5.2", 16), ("xavier-nx", "7.1.3", 8)])
def test_the_limit_of_a_core_keeps_the_larger_loadables(tmp_path, board, tensorrt, limit):
    lines, last = [], "x"
    for index in range(20):
        lines.append(f"r{index} = Relu({last})")
        last = f"r{index}"
        if index in {5, 17, 19}:
            lines.append(f"s{index} = Sigmoid({last})")
            last = f"s{index}"
        lines.append(f"c{index} = Ceil({last})")
        last = f"c{index}"
    placement = predict(tmp_path, "\n".join([*lines, f"y = Ceil({last})"]), board=board, tensorrt=tensorrt)
    assert placement.summary.loadables_before_cap == 20
    assert placement.summary.loadables == limit
    kept = {name for loadable in placement.loadables for name in loadable.layers}
    assert {"r5", "s5", "r17", "s17", "r19", "s19"} <= kept
    dropped = [layer for layer in placement.layers if any(finding.rule == "DLA010" for finding in layer.findings)]
    assert len(dropped) == 20 - limit
    assert all(layer.device is Device.GPU for layer in dropped)


def test_flatten_between_pool_and_gemm_vanishes(tmp_path):
    nodes = "p = AveragePool<kernel_shape=[16,16]>(x)\nf = Flatten(p)\ny = Gemm<transB=1>(f, w, b)"
    nodes = nodes.replace("[16,16]", "[8,8]")
    placement = predict(tmp_path, nodes, x="4,8,8,8", weights=(("w", (10, 8), 1), ("b", (10,), 1)))
    found = devices(placement)
    assert found["f"] == "FOLDED"
    assert found["reshape_after_y"] == "GPU"
    assert placement.summary.loadables == 1
    assert placement.summary.gpu_layers == 1


def test_flatten_that_changes_the_form_stays(tmp_path):
    placement = predict(
        tmp_path, "r = Relu(x)\nf = Flatten(r)\ny = MatMul(f, w)", x="1,8,4,4", weights=(("w", (128, 10), 1),)
    )
    assert devices(placement)["f"] == "GPU"
    assert placement.summary.loadables == 2


def test_reshape_beside_a_slice_splits_the_candidate_in_8_5_and_not_in_10_3(tmp_path):
    nodes = "r = Relu(x)\ns = Reshape(r, n)\na, b = Split<axis=1>(s)\ny = Add(a, b)"
    weights = (("n", (4,), np.array([1, 4, 32, 16])),)
    old = predict(tmp_path, nodes, weights=weights)
    assert devices(old)["s"] == "GPU"
    assert [loadable.first for loadable in old.loadables] == ["r", "a"]
    new = predict(tmp_path, nodes, weights=weights, tensorrt="10.3.0")
    assert devices(new)["s"] == "DLA"
    assert new.summary.loadables == 1


def test_products_and_activations_of_two_dimensions_share_a_loadable(tmp_path):
    nodes = "m = MatMul(x, w)\nr = Relu(m)\ny = MatMul(r, v)"
    placement = predict(tmp_path, nodes, x="1,8", weights=(("w", (8, 16), 1), ("v", (16, 4), 1)))
    assert placement.summary.loadables == 1
    assert {layer.name: layer.device for layer in placement.layers if layer.kind == "MATRIX_MULTIPLY"} == {
        "m": Device.DLA,
        "y": Device.DLA,
    }


@pytest.mark.parametrize(
    ("board", "tensorrt"), [("orin-nano", "10.3.0"), ("agx-orin-64gb", "11.0.0"), ("xavier-nx", "10.3.0")]
)
def test_nothing_runs_on_a_dla_that_is_not_there(tmp_path, board, tensorrt):
    """Nor is anything said that a change of the model could mend; what the parser refuses still is."""
    placement = predict(
        tmp_path, "a, i = MaxPool<kernel_shape=[2,2]>(x)\ny = HardSwish(a)", board=board, tensorrt=tensorrt
    )
    assert placement.summary.dla_layers == 0
    assert not placement.summary.standalone_ok
    assert {layer.verdict for layer in placement.layers} == {Verdict.FALLBACK}
    assert not any(layer.findings for layer in placement.layers)
    (reason,) = {"DLA001", "DLA002", "DLA003"} & {finding.rule for finding in placement.findings}
    assert {finding.rule for finding in placement.findings} == {reason, "DLA020"}


def test_unknown_operator_is_unknown_and_named(tmp_path):
    nodes = "a = Relu(x)\nb = my.domain.Mystery(a)\ny = Relu(b)"
    placement = predict(tmp_path, nodes)
    layer = next(layer for layer in placement.layers if layer.name == "b")
    assert layer.verdict is Verdict.UNKNOWN
    assert "Mystery" in layer.findings[0].message


def test_standalone_tells_the_leftovers(tmp_path):
    placement = predict(tmp_path, "y = Mul(x, w)", weights=(("w", (1, 8, 1, 1), 2),), mode="standalone")
    assert not placement.summary.standalone_ok
    assert any(finding.rule == "DLA011" for finding in placement.findings)


_STEPS = (
    "{o} = Relu({i})", "{o} = Sigmoid({i})", "{o} = Ceil({i})", "{o} = Abs({i})", "{o} = Add({i}, {j})",
    "{o} = Mul({i}, {j})", "{o} = Div({i}, {j})", "{o} = Transpose<perm=[0,1,3,2]>({i})", "{o} = Softmax<axis=1>({i})",
    "{o} = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>({i})", "{o} = Identity({i})", "{o} = my.domain.Odd({i})",
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from(_STEPS), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=25),
    release=st.sampled_from(["7.1.3", "8.2.1", "8.4.1", "8.5.2"]),
)
def test_any_graph_gets_devices_verdicts_and_a_partition(tmp_path, steps, release):
    names, lines = ["x"], []
    for index, (form, first, second) in enumerate(steps):
        name = f"t{index}"
        lines.append(form.format(o=name, i=names[first % len(names)], j=names[second % len(names)]))
        names.append(name)
    lines.append(f"y = Relu({names[-1]})")
    placement = predict(tmp_path, "\n".join(lines), board="agx-xavier", tensorrt=release)
    on_dla = [layer for layer in placement.layers if layer.device is Device.DLA]
    members = [name for loadable in placement.loadables for name in loadable.layers]
    assert sorted(members) == sorted(layer.name for layer in on_dla)
    assert all(layer.loadable is not None for layer in on_dla)
    assert all(layer.loadable is None for layer in placement.layers if layer.device is not Device.DLA)
    summary = placement.summary
    assert summary.layers == summary.dla_layers + summary.gpu_layers + summary.folded_layers
    assert 0 <= summary.dla_mac_share <= 1


def test_check_reads_a_loaded_model_twice(tmp_path):
    predict(tmp_path, "y = Relu(x)")
    model = load_model(tmp_path / "m.onnx")
    first = check_model(model, resolve_target("agx-orin"))
    assert first == check_model(model, resolve_target("agx-orin"))
