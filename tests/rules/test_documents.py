"""What NVIDIA's headers, tables and logs say of single layers, where they contradict each other too."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from dlaflow.graph.load import load_model
from dlaflow.placement.check import check_model
from dlaflow.rules.base import Example
from dlaflow.targets.target import resolve_target
from dlaflow.types import Confidence, Device, Finding, Placement, Remedy, Verdict
from tests.rules.test_examples import build

_TWO = (("x2", "float[1,64,32,32]"),)
_WEIGHTS = (("w", "64,64,3,3"),)


def placed(example: Example, tensorrt: str, precision: str, folder: Path) -> Placement:
    path = folder / "model.onnx"
    path.write_bytes(build(example).SerializeToString())
    return check_model(load_model(path), resolve_target(example.board, tensorrt=tensorrt, precision=precision))


def of(placement: Placement, rule: str) -> list[Finding]:
    return [finding for layer in placement.layers for finding in layer.findings if finding.rule == rule]


@pytest.mark.parametrize(
    "nodes",
    [
        "v, y = TopK<axis=3>(r, k)",
        "y = ArgMax<axis=1, keepdims=1>(r)",
        "y = GridSample(r, g)",
        "y = ScatterElements<axis=1>(r, i, u)",
        'y = Einsum<equation="bchw,bchw->bchw">(r, r)',
        "y = NonZero(r)",
    ],
)
def test_what_never_runs_on_the_dla_says_so_before_any_size(nodes: str, tmp_path: Path):
    example = Example(
        f"r = Relu(x)\n{nodes}",
        x="1,8,4,9000",
        more_inputs=(("g", "float[1,4,9000,2]"), ("i", "int64[1,1,4,9000]"), ("u", "float[1,1,4,9000]")),
        constants=(("k", "int64[1]", "5"),),
    )
    model = build(example)
    model.graph.output[0].CopyFrom(onnx.helper.make_empty_tensor_value_info("y"))
    used = {name for node in model.graph.node for name in node.input}
    for given in list(model.graph.input):
        if given.name not in used:
            model.graph.input.remove(given)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    placement = check_model(load_model(path), resolve_target("agx-orin-64gb", tensorrt="10.3.0", precision="fp16"))
    never = [layer for layer in placement.layers if any(finding.rule == "DLA287" for finding in layer.findings)]
    assert never
    for layer in never:
        assert layer.findings[0].rule == "DLA287"
        assert layer.findings[0].verdict is Verdict.FALLBACK


DIVIDED = [f"y = {op}(x, x2)" for op in ("Div", "Pow")]
COMPARED = [f"b = {op}(x, x2)\ny = Cast<to=1>(b)" for op in ("Greater", "Less")]
CURVED = [f"y = {op}(x)" for op in ("Sin", "Cos")]


@pytest.mark.parametrize(
    ("tensorrt", "precision", "verdict", "confidence"),
    [
        ("8.6.2", "int8", Verdict.FALLBACK, Confidence.DOCUMENTED),
        ("8.6.12", "int8", Verdict.UNKNOWN, Confidence.INFERRED),
        ("8.6.12", "fp16", Verdict.UNKNOWN, Confidence.INFERRED),
        ("10.3.0", "int8", Verdict.UNKNOWN, Confidence.INFERRED),
        ("10.3.0", "fp16", Verdict.FALLBACK, Confidence.MEASURED),
        ("11.4.1", "fp16", Verdict.UNKNOWN, Confidence.INFERRED),
    ],
)
@pytest.mark.parametrize("nodes", [*DIVIDED, *COMPARED, *CURVED])
def test_documents_that_contradict_each_other_are_unknown_until_a_log_tells(
    nodes: str, tensorrt: str, precision: str, verdict: Verdict, confidence: Confidence, tmp_path: Path
):
    layer = placed(Example(nodes, more_inputs=_TWO), tensorrt, precision, tmp_path).layers[0]
    assert layer.kind in {"ELEMENTWISE", "UNARY"}
    assert layer.findings[0].verdict is verdict
    assert layer.findings[0].confidence is confidence
    if verdict is Verdict.UNKNOWN:
        assert "NvInfer.h" in layer.findings[0].source


@pytest.mark.parametrize("nodes", [*DIVIDED, *CURVED])
def test_the_contradiction_is_told(nodes: str, tmp_path: Path):
    (found,) = placed(Example(nodes, more_inputs=_TWO), "8.6.12", "fp16", tmp_path).layers[0].findings
    assert "by NvInfer.h" in found.message
    assert f"{found.received} too by other documents" in found.message


@pytest.mark.parametrize(("precision", "verdict"), [("int8", Verdict.UNKNOWN), ("fp16", Verdict.FALLBACK)])
def test_a_cast_behind_a_comparison_is_as_open_as_the_comparison(precision: str, verdict: Verdict, tmp_path: Path):
    layers = placed(Example(COMPARED[0], more_inputs=_TWO), "10.3.0", precision, tmp_path).layers
    assert [(layer.kind, layer.verdict) for layer in layers] == [("ELEMENTWISE", verdict), ("CAST", verdict)]


@pytest.mark.parametrize(
    ("tensorrt", "verdict"), [("8.5.2", Verdict.FALLBACK), ("10.3.0", Verdict.FALLBACK), ("10.4.0", Verdict.UNKNOWN)]
)
def test_output_padding_leaves_a_plain_deconvolution(tensorrt: str, verdict: Verdict, tmp_path: Path):
    """The Slice behind it adds the rows; where padding at the end takes them up, there is none."""
    weights = (("w", "64,32,3,3"),)
    nodes = "y = ConvTranspose<strides=[2,2], output_padding=[1,1]>(x, w)"
    layers = placed(Example(nodes, weights=weights), tensorrt, "int8", tmp_path).layers
    by_kind = {layer.kind: layer for layer in layers if layer.device is not Device.FOLDED}
    assert set(by_kind) == {"DECONVOLUTION", "SLICE"}
    assert (by_kind["DECONVOLUTION"].device, by_kind["DECONVOLUTION"].findings) == (Device.DLA, [])
    assert [(found.rule, found.verdict) for found in by_kind["SLICE"].findings] == [("DLA134", verdict)]
    used = nodes.replace("output", "pads=[0,0,1,1], output")
    layers = placed(Example(used, weights=weights), tensorrt, "int8", tmp_path).layers
    assert [layer.kind for layer in layers] == ["DECONVOLUTION"]


@pytest.mark.parametrize(
    ("tensorrt", "verdict"), [("8.6.12", Verdict.FALLBACK), ("10.3.0", Verdict.FALLBACK), ("10.4.0", Verdict.UNKNOWN)]
)
def test_a_pad_with_zeros_lacks_the_constant_that_the_header_wants(tensorrt: str, verdict: Verdict, tmp_path: Path):
    pad = Example("y = Pad(x, p)", constants=(("p", "int64[8]", "0,0,1,1,0,0,1,1"),))
    assert [found.verdict for found in of(placed(pad, tensorrt, "fp16", tmp_path), "DLA235")] == [verdict]


def resize(mode: str, coordinates: str, more: str = "", scales: str = "1,1,2,2") -> Example:
    rounding = ', nearest_mode="floor"' if coordinates == "asymmetric" else ""
    nodes = f'y = Resize<mode="{mode}", coordinate_transformation_mode="{coordinates}"{rounding}{more}>(x, roi, s)'
    count = scales.count(",") + 1
    # An opset of its own for `axes`, which 18 added: the second node asks for it.
    nodes += "\nz, t = Split<axis=1, num_outputs=2>(x)" if more else ""
    return Example(nodes, constants=(("roi", "float[0]", ""), ("s", f"float[{count}]", scales)))


@pytest.mark.parametrize(
    ("example", "tensorrt", "refused"),
    [
        (resize("linear", "half_pixel"), "8.4.1", False),
        (resize("linear", "pytorch_half_pixel"), "8.4.1", False),
        (resize("linear", "pytorch_half_pixel"), "10.3.0", False),
        (resize("linear", "pytorch_half_pixel"), "8.2.1", True),
        (resize("linear", "align_corners"), "10.3.0", True),
        (resize("nearest", "pytorch_half_pixel"), "10.3.0", True),
    ],
)
def test_the_coordinates_of_a_resize(example: Example, tensorrt: str, refused: bool, tmp_path: Path):
    assert bool(of(placed(example, tensorrt, "int8", tmp_path), "DLA221")) is refused


@pytest.mark.parametrize(
    ("axes", "scales", "refused"), [("[2,3]", "2,2", False), ("[3,2]", "2,2", False), ("[1,2]", "2,2", True)]
)
def test_scales_of_some_axes_are_those_of_a_resize(axes: str, scales: str, refused: bool, tmp_path: Path):
    example = resize("nearest", "asymmetric", f", axes={axes}", scales)
    assert bool(of(placed(example, "10.3.0", "int8", tmp_path), "DLA222")) is refused


def test_float64_is_read_as_float32(tmp_path: Path):
    model = build(Example("y = Add(x, x2)", more_inputs=_TWO))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    placement = check_model(load_model(path), resolve_target("agx-orin-64gb", tensorrt="10.3.0", precision="fp16"))
    assert [(layer.device, layer.findings) for layer in placement.layers] == [(Device.DLA, [])]


@pytest.mark.parametrize(
    ("example", "received", "advice", "remedy"),
    [
        (
            Example("i = Identity(b)\ny = Conv<kernel_shape=[3,3]>(x, w, i)", weights=(*_WEIGHTS, ("b", "64"))),
            "i from another layer",
            "fold constants",
            Remedy.EXACT,
        ),
        (
            Example(
                "q = QuantizeLinear(w, s, z)\nd = DequantizeLinear(q, s, z)\ny = Conv<kernel_shape=[3,3]>(x, d)",
                weights=_WEIGHTS,
                constants=(("s", "float", "0.1"), ("z", "int8", "0")),
            ),
            "d from another layer",
            "cache from-qdq",
            Remedy.EXACT,
        ),
        (
            Example("y = Conv<kernel_shape=[3,3]>(x, k)", more_inputs=(("k", "float[64,64,3,3]"),)),
            "k an input of the network",
            "an initializer",
            Remedy.EXACT,
        ),
        (
            Example("k = Relu(v)\ny = Conv<kernel_shape=[3,3]>(x, k)", more_inputs=(("v", "float[64,64,3,3]"),)),
            "k computed at run time",
            "a weighted sum of fixed ones",
            Remedy.NONE,
        ),
    ],
)
def test_weights_from_elsewhere_get_advice_that_helps(
    example: Example, received: str, advice: str, remedy: Remedy, tmp_path: Path
):
    (found,) = of(placed(example, "8.5.2", "int8", tmp_path), "DLA119")
    assert (found.verdict, found.confidence) == (Verdict.FALLBACK, Confidence.MEASURED)
    assert found.received == received
    assert advice in found.fix
    assert found.remedy is remedy


@pytest.mark.parametrize(
    ("nodes", "tensorrt", "precision", "told"),
    [
        ("y = Add(x, x2)", "8.5.2", "int8", True),
        ("y = Mul(x, x2)", "10.3.0", "int8", True),
        ("y = Add(x, x2)", "10.3.0", "fp16", False),
        ("y = Add(x, x2)", "11.4.1", "int8", False),
        ("y = Add(x, c)", "8.5.2", "int8", False),
        ("y = Add(x, x)", "8.5.2", "int8", False),
        ("y = Div(x, x2)", "8.5.2", "int8", False),
    ],
)
def test_two_activations_want_equal_scales_in_int8(
    nodes: str, tensorrt: str, precision: str, told: bool, tmp_path: Path
):
    example = Example(nodes, more_inputs=_TWO if "x2" in nodes else (), weights=(("c", "1,64,1,1"),))
    found = of(placed(example, tensorrt, precision, tmp_path), "DLA185")
    assert [finding.verdict for finding in found] == [Verdict.NATIVE] * told
