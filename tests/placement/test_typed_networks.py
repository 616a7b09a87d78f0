"""JetPack 7.2.2 takes all types from the file: however INT8 is written, the same layers run where they ran in FP16.

A metamorphic test over the networks of the zoo and of the real builds: the float model, judged as if it were converted,
and its forms. The tools that write these forms run in benchmarks/typed_networks.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs.catalogue import CASES, Case
from onnx import numpy_helper
from typed_forms import (
    MODELOPT,
    ONNXRUNTIME,
    PYTORCH,
    Form,
    Summary,
    folded,
    half,
    own,
    placed,
    with_weights,
    written,
)

from dlaflow.graph.load import load_model
from dlaflow.graph.typed import PAIR
from dlaflow.placement.check import check_model
from dlaflow.quantize.fp16 import fp16_model
from dlaflow.targets.target import resolve_target
from dlaflow.types import Device, Placement

Drawn = Callable[[str, Callable[[Path], object]], Path]

NETWORKS = {
    "residual": """
        c1 = Conv<pads=[1,1,1,1]>(x, w1, b) r1 = Relu(c1) c2 = Conv<pads=[1,1,1,1]>(r1, w2, b) a = Add(c2, r1)
        r2 = Relu(a) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r2) k = Concat<axis=1>(p, p)
        y = Conv(k, w3, b)""",
    "smooth": """
        c1 = Conv<pads=[1,1,1,1]>(x, w1, b) g = Sigmoid(c1) m = Mul(c1, g) c2 = Conv<pads=[1,1,1,1]>(m, w2)
        u = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(c2, , scales)
        y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(u)""",
    "classifier": """
        c1 = Conv<pads=[1,1,1,1]>(x, w1, b) r1 = Relu(c1) p = GlobalAveragePool(r1) f = Flatten(p)
        h = Gemm<transB=1>(f, g1, b) r2 = Relu(h) y = Gemm<transB=1>(r2, g2, b)""",
    "cut in two": """
        c1 = Conv<pads=[1,1,1,1]>(x, w1, b) e = Ceil(c1) t = ConvTranspose<strides=[2,2]>(e, w4) n = Neg(t)
        y = Conv<group=8>(n, w5)""",
    "rows": """
        c1 = Conv<pads=[1,1,1,1]>(x, w1, b) r = Reshape(c1, rows) t = Transpose<perm=[0,2,1]>(r) m = MatMul(t, g3)
        s = Softmax(m) o = MatMul(m, g4) y = Relu(o)""",
}
SHAPES = {
    "w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (8, 16, 1, 1), "w4": (8, 8, 2, 2), "w5": (8, 1, 3, 3), "b": (8,),
    "g1": (8, 8), "g2": (8, 8), "g3": (8, 8), "g4": (8, 4),
}  # fmt: skip


def network(name: str, outputs: str = "float y") -> onnx.ModelProto:
    head = f'<ir_version: 8, opset_import: ["" : 17]> net (float[1,3,16,16] x) => ({outputs})'
    model = onnx.parser.parse_model(f"{head} {{ {NETWORKS[name]} }}")
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
    read = {name for node in model.graph.node for name in node.input}
    values = {name: np.full(shape, 0.1, np.float32) for name, shape in SHAPES.items()}
    values |= {"scales": np.float32([1, 1, 2, 2]), "rows": np.int64([1, 8, 256])}
    for key in read & values.keys():
        model.graph.initializer.append(numpy_helper.from_array(values[key], key))
    return onnx.shape_inference.infer_shapes(model)


def zoo(name: str, folder: Path) -> onnx.ModelProto:
    pytest.importorskip("torch", reason="the zoo's networks are exported by torch")
    from graphs.cifar import scoped

    return onnx.load(str(scoped(folder / f"{name}.onnx", name)))


def rules(placement: Placement) -> set[str]:
    return {finding.rule for layer in placement.layers for finding in layer.findings}


def equal(reference: Summary, found: Summary, *, timed: bool = True) -> None:
    """Devices, loadables, switches, MACs and standalone are the same, and the time lies within its interval."""
    assert found.placed == reference.placed
    if timed and reference.latency is not None:
        assert found.latency is not None
        assert reference.latency.low <= found.latency.value <= reference.latency.high


def check_all_forms(plain: onnx.ModelProto) -> None:
    base = folded(plain)
    reference, untyped = placed(base)
    in_half, _ = placed(base, "fp16")
    equal(in_half, placed(half(base))[0])
    equal(reference, placed(own(plain))[0])
    for form, rest, timed in ((MODELOPT, half, True), (ONNXRUNTIME, half, True), (PYTORCH, half, False)):
        found, placement = placed(rest(written(base, form)))
        equal(reference, found, timed=timed)  # a QAT network computes in FP16 between its convolutions
        assert ("DLA119" in rules(placement)) == ("DLA119" in rules(untyped))
    # Inputs and outputs in float32: the same, with a Cast on the GPU at an output without a pair, and not standalone.
    wide, placement = placed(own(plain, "float32"))
    assert wide.without_casts() == reference.without_casts()
    assert (wide.loadables, wide.mac_share) == (reference.loadables, reference.mac_share)
    assert not wide.standalone
    assert "DLA108" not in rules(placement)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_form_of_a_small_network_is_placed_alike(name: str) -> None:
    check_all_forms(network(name))


@pytest.mark.parametrize("name", ["model_bn", "model_gn"])
def test_every_form_of_the_zoos_networks_is_placed_alike(name: str, tmp_path: Path) -> None:
    check_all_forms(zoo(name, tmp_path))


def test_an_fp16_model_is_priced_as_fp16_whatever_is_asked_for(tmp_path: Path) -> None:
    """FP16 convolutions are slow on Orin; `--precision` only tells what a float32 model will become."""
    plain = zoo("model_bn", tmp_path)
    converted, placement = placed(half(folded(plain)), "int8")
    assert placement.target.precision == "fp16"
    assert "DLA007" in {finding.rule for finding in placement.findings}
    wide_ports = fp16_model(folded(plain))  # what AutoCast's keep_io_types writes
    assert "DLA006" not in {finding.rule for finding in placed(wide_ports)[1].findings}
    quantised, placement = placed(own(plain), "fp16")
    assert placement.target.precision == "int8"
    assert converted.latency is not None
    assert quantised.latency is not None
    assert converted.latency.value > 1.5 * quantised.latency.value


@pytest.mark.slow
@pytest.mark.parametrize("case", {case.graph: case for case in CASES}.values(), ids=lambda case: case.graph)
def test_every_form_of_the_networks_of_real_builds_is_placed_alike(case: Case, drawn: Drawn) -> None:
    check_all_forms(with_weights(drawn(case.graph, case.draw)))


@pytest.mark.parametrize(
    "form",
    [
        replace(ONNXRUNTIME, axis=False),
        replace(MODELOPT, axis=False, shared=False),
        replace(MODELOPT, weights="stored"),
        replace(MODELOPT, twice=True),
        replace(MODELOPT, outputs=True),
        replace(PYTORCH, shared=True),
    ],
    ids=["per tensor", "one pair a reader", "stored", "pairs twice", "pairs behind outputs", "shared pairs"],
)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_forms_of_a_pair_make_no_difference(name: str, form: Form) -> None:
    base = folded(network(name))
    reference, _ = placed(base)
    equal(reference, placed(half(written(base, form)))[0], timed=form.inputs == "all")


@pytest.mark.parametrize("form", [MODELOPT, PYTORCH, ONNXRUNTIME], ids=["modelopt", "pytorch", "onnxruntime"])
def test_what_a_tool_leaves_in_float32_is_told_and_alone_differs(form: Form) -> None:
    """The residual network as the tools write it without FP16: float32 layers go to the GPU, all others stay."""
    base = folded(network("residual"))
    reference, _ = placed(base)
    found, placement = placed(written(base, form))
    told = [layer for layer in placement.layers if "DLA108" in {finding.rule for finding in layer.findings}]
    pairs = zip(reference.layers, found.layers, strict=True)
    differ = [after for before, after in pairs if before[:2] != after[:2]]
    assert len(differ) == len(told)
    assert bool(told) == any(finding.rule == "DLA006" for finding in placement.findings)
    assert len(told) == {ONNXRUNTIME: 0, MODELOPT: 1, PYTORCH: 8}[form]
    equal(reference, placed(fp16_model(written(base, form), "float16"))[0], timed=form.inputs == "all")


def test_nodes_kept_in_fp16_are_fp16_and_stay_on_the_dla() -> None:
    base = folded(network("residual"))
    reference, _ = placed(base)
    found, placement = placed(own(network("residual"), float_nodes=("n2",)))
    assert found.placed == reference.placed
    assert "DLA108" not in rules(placement)
    text = next(finding.message for finding in placement.findings if finding.rule == "DLA007")
    assert "1 of 3 convolutions" in text


def test_one_pair_silences_no_float32_layer() -> None:
    base = folded(network("smooth"))
    text = "q = QuantizeLinear(x, s, z)\nd = DequantizeLinear(q, s, z)"
    base.graph.initializer.extend(
        [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z")]
    )
    for node in base.graph.node:
        node.input[:] = ["d" if name == "x" else name for name in node.input]
    for line in reversed(text.splitlines()):
        base.graph.node.insert(0, onnx.parser.parse_node(line))
    found, placement = placed(base)
    assert found.mac_share == 0.0
    told = next(finding for finding in placement.findings if finding.rule == "DLA006")
    assert "6 layers in float32" in told.message
    conditional = [layer for layer in placement.layers if layer.verdict.value == "conditional"]
    assert len(conditional) == 6


def test_biases_in_int32_are_refused_by_the_parser_alone() -> None:
    base = folded(network("residual"))
    reference, _ = placed(base)
    found, placement = placed(half(written(base, replace(ONNXRUNTIME, bias=True))))
    assert found.placed == reference.placed
    refused = next(finding for finding in placement.findings if finding.rule == "DLA020")
    assert "int32" in refused.message
    assert "Dequantize the bias" in refused.fix


def test_an_operator_between_pair_and_reader_is_a_layer() -> None:
    """An Identity is a copy to TensorRT, and falls back wherever it stands."""
    base = folded(network("residual"))
    found, placement = placed(half(written(base, replace(MODELOPT, between="Identity"))))
    identities = [layer for layer in placement.layers if layer.kind == "IDENTITY"]
    assert identities
    assert {layer.device.value for layer in identities} == {"GPU"}
    convolutions = [layer for layer in found.layers if layer[0] == "CONVOLUTION"]
    assert {device for _, device, _, _ in convolutions} == {"DLA"}


def test_unequal_scales_get_a_remark_and_pairs_of_low_rank_a_doubt() -> None:
    model = written(folded(network("classifier")), MODELOPT)
    found, placement = placed(half(model))
    assert "DLA292" in rules(placement)
    assert found.mac_share == 1.0
    assert "DLA292" not in rules(placed(own(network("classifier")))[1])
    assert "DLA291" not in rules(placed(own(network("residual")))[1])


@pytest.mark.parametrize("jetpack", ["5.1.1", "6.2"])
def test_before_7_2_2_pairs_are_layers_on_the_gpu(jetpack: str) -> None:
    """As the builds of Q/DQ models under 8.x and 10.3 say: the DLA takes scales from a cache there."""
    found, placement = placed(own(network("residual")), jetpack=jetpack)
    pairs = [layer for layer in placement.layers if layer.kind in {"QUANTIZE", "DEQUANTIZE"}]
    assert {layer.device.value for layer in pairs} <= {"GPU", "FOLDED"}
    assert {"DLA005"} <= {finding.rule for finding in placement.findings}
    assert found.mac_share == 0.0


def test_a_standalone_build_of_8_5_2_ends_at_the_scales_constants(tmp_path: Path) -> None:
    """As the public report of YOLOv5s with Q/DQ left in has it: the constants of the quantisers are refused."""
    path = tmp_path / "qat.onnx"
    onnx.save(written(folded(network("residual")), PYTORCH), str(path))
    target = resolve_target("agx-orin-64gb", tensorrt="8.5.2", mode="standalone")
    placement = check_model(load_model(path), target, {})
    refused = {layer.name for layer in placement.layers if any(each.rule == "DLA284" for each in layer.findings)}
    assert "pairs.scale" in refused
    assert not placement.summary.standalone_ok


@pytest.mark.parametrize("rank_rule", ["classifier", "rows"])
def test_rank_verdicts_are_inferred_where_the_parser_may_reshape(rank_rule: str) -> None:
    base = folded(network(rank_rule))
    _, before = placed(base, jetpack="6.2")
    _, now = placed(base)
    for placement, confidence in ((before, "measured"), (now, "inferred")):
        told = [finding for layer in placement.layers for finding in layer.findings if finding.rule == "DLA241"]
        assert told
        assert {finding.confidence.value for finding in told} == {confidence}


PAIRED = """
    q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) wd = DequantizeLinear<axis=0>(w, ws, wz)
    c = Conv<pads=[1,1,1,1]>(d, wd) p = QuantizeLinear(c, s, z) e = DequantizeLinear(p, s, z) r = Relu(e)
    k = QuantizeLinear(r, s, z) y = DequantizeLinear(k, s, z)"""


CONSTANTS = {
    "s": np.float16(0.05), "t": np.float16(0.9), "u": np.float32(0.05), "i": np.float16(np.inf), "z": np.int8(0),
    "w": np.ones((8, 8, 3, 3), np.int8), "ws": np.full(8, 0.01, np.float16), "wz": np.zeros(8, np.int8),
    "bs": np.full((1, 2, 8, 8), 0.05, np.float16), "bz": np.zeros((1, 2, 8, 8), np.int8),
}  # fmt: skip


def small(nodes: str = PAIRED, types: dict[str, str] | None = None) -> onnx.ModelProto:
    """A Conv and a Relu in FP16 and INT8 pairs, at opset 21; `types` name other types of constants."""
    head = '<ir_version: 10, opset_import: ["" : 21]> net (float16[1,8,8,8] x, float16 n) => (float16 y)'
    model = onnx.parser.parse_model(f"{head} {{ {nodes} }}")
    for name in {name for node in model.graph.node for name in node.input} & CONSTANTS.keys():
        tensor = numpy_helper.from_array(np.asarray(CONSTANTS[name]), name)
        if types and name in types:
            kind, values = getattr(onnx.TensorProto, types[name].upper()), np.ravel(CONSTANTS[name])
            tensor = onnx.helper.make_tensor(name, kind, tensor.dims, values.astype(np.float32))
        model.graph.initializer.append(tensor)
    return model


def told(model: onnx.ModelProto, rule: str) -> tuple[dict[str, str], list[str]]:
    """The verdicts of the working layers by kind, and the messages of one rule."""
    _, placement = placed(model)
    working = [layer for layer in placement.layers if layer.device is not Device.FOLDED and layer.kind not in PAIR]
    findings = [*placement.findings, *(finding for layer in working for finding in layer.findings)]
    messages = [finding.message for finding in findings if finding.rule == rule]
    return {layer.kind: layer.verdict.value for layer in working}, messages


def test_the_plain_pairs_of_these_tests_are_native() -> None:
    assert told(small(), "DLA293") == ({"CONVOLUTION": "native", "ACTIVATION": "native"}, [])


@pytest.mark.parametrize("kind", ["float8e4m3fn", "float8e5m2", "int4", "uint4"])
def test_pairs_of_another_type_than_int8_are_no_int8(kind: str) -> None:
    """What reads FP8 or INT4 falls back, by the log line that names FP16 and INT8 as the DLA's types."""
    verdicts, messages = told(small(types={"z": kind}), "DLA105")
    assert set(verdicts.values()) == {"fallback"}
    assert all(kind in message for message in messages)


@pytest.mark.parametrize("kind", ["int4", "float8e4m3fn"])
def test_weights_of_another_type_than_int8_are_not_known(kind: str) -> None:
    verdicts, messages = told(small(types={"w": kind, "wz": kind}), "DLA293")
    assert verdicts == {"CONVOLUTION": "unknown", "ACTIVATION": "native"}
    assert kind in messages[0]


BETWEEN = {
    "Relu": "m = Relu(q)",
    "MaxPool": "m = MaxPool<kernel_shape=[1,1]>(q)",
    "Transpose": "m = Transpose<perm=[0,1,3,2]>(q)",
    "Concat": "m = Concat<axis=2>(q, q)",
    "two": "v = Relu(q) m = Transpose<perm=[0,1,3,2]>(v)",
}


@pytest.mark.parametrize("between", BETWEEN)
def test_a_layer_on_the_8_bit_tensor_is_not_known_nor_what_reads_it(between: str) -> None:
    nodes = PAIRED.replace("d = DequantizeLinear(q,", f"{BETWEEN[between]} d = DequantizeLinear(m,")
    verdicts, messages = told(small(nodes), "DLA293")
    assert verdicts["CONVOLUTION"] == "unknown"
    assert "native" not in {verdict for kind, verdict in verdicts.items() if kind not in {"CONVOLUTION", "ACTIVATION"}}
    assert "int8 tensor q itself" in messages[0]


DOUBTFUL = {
    "other scales": PAIRED.replace("(p, s, z)", "(p, t, z)"),
    "is computed": PAIRED.replace("(p, s, z)", "(p, n, z)"),
    "that is computed": PAIRED.replace("p = Qu", "m = ReduceMax<keepdims=0>(x) p = Qu").replace("c, s", "c, m"),
    "before it": PAIRED.replace(
        "(p, s, z) r", "(p, s, z) g = QuantizeLinear(e, t, z) h = DequantizeLinear(g, t, z) r"
    ).replace("Relu(e)", "Relu(h)"),
    "not finite": PAIRED.replace("c, s", "c, i").replace("p, s", "p, i"),
    "each block": PAIRED.replace("(c, s, z)", "<axis=1, block_size=4>(c, bs, bz)"),
}


@pytest.mark.parametrize("reason", DOUBTFUL)
def test_a_pair_that_no_source_describes_puts_its_layers_in_doubt(reason: str) -> None:
    verdicts, messages = told(small(DOUBTFUL[reason]), "DLA293")
    assert (verdicts["CONVOLUTION"], verdicts["ACTIVATION"]) == ("unknown", "unknown")
    assert reason in messages[0]


def test_scales_of_a_pair_in_fp32_and_fp16_are_the_same() -> None:
    nodes = PAIRED.replace("q = QuantizeLinear(x, s,", "f = Cast<to=1>(x) q = QuantizeLinear(f, u,")
    assert told(small(nodes), "DLA293")[1] == []


def test_weights_have_their_scales_along_the_output_channels() -> None:
    verdicts, messages = told(small(PAIRED.replace("<axis=0>", "<axis=1>")), "DLA293")
    assert verdicts == {"CONVOLUTION": "unknown", "ACTIVATION": "native"}
    assert "axis 1" in messages[0]


def test_a_pair_without_a_zero_point_is_int8_as_the_parser_reads_it() -> None:
    nodes = PAIRED.replace("(x, s, z)", "(x, s)").replace("(q, s, z)", "(q, s)")
    verdicts, messages = told(small(nodes), "DLA014")
    assert set(verdicts.values()) == {"native"}
    assert "1 QuantizeLinear without a zero point" in messages[0]
    named = PAIRED.replace("(x, s, z)", "<output_dtype=2>(x, s)").replace("(q, s, z)", "(q, s)")
    assert "UINT8 Q/DQ" in told(small(named), "DLA014")[1][0]
    assert told(small(), "DLA014")[1] == []
