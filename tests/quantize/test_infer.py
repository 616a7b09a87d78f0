"""Scales that follow from operators: what is bounded clips nothing, what is guessed says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from dlaflow.api.cache import FromQdqOptions, Translated, from_qdq
from dlaflow.errors import UsageError
from dlaflow.quantize.cache import read_cache, write_cache
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.infer import fill, infer_scales
from dlaflow.quantize.lint import lint_for_model
from dlaflow.quantize.model import index
from dlaflow.quantize.plan import plan, with_residual_ones
from dlaflow.quantize.session import Session

HEAD = """<ir_version: 8, opset_import: ["" : 17]> net (float[1,4,8,8] x) => (float[{out}] y)
<float sx = {{0.03}}, float s1 = {{0.05}}, float s2 = {{0.04}}, float s3 = {{0.02}}, int8 z = {{0}}> {{ {body} }}"""


def pair(source: str, scale: str, to: str) -> str:
    return f"{to}q = QuantizeLinear({source}, {scale}, z)  {to} = DequantizeLinear({to}q, {scale}, z)\n"


def weight(name: str) -> str:
    first = f"{name}q = QuantizeLinear<axis=0>({name}, {name}s, {name}z)\n"
    return f"{first}{name}d = DequantizeLinear<axis=0>({name}q, {name}s, {name}z)\n"


RESIDUAL = (
    pair("x", "sx", "xd") + weight("w1") + "[c1] a = Conv<pads=[1,1,1,1]>(xd, w1d)\n"
    "an = BatchNormalization(a, g, b, m, v)  r = Relu(an)\n"
    + pair("r", "s1", "rd") + weight("w2") + "[c2] c = Conv<pads=[1,1,1,1]>(rd, w2d)\n"
    "cn = BatchNormalization(c, g, b, m, v)\n"
    + pair("r", "s1", "skip")
    + "[sum] t = Add(cn, skip)  u = Relu(t)  [pool] p = GlobalAveragePool(u)\n"
    + pair("p", "s3", "pd") + weight("w3") + "[head] h = Conv(pd, w3d)  y = Flatten(h)"
)  # fmt: skip
"""Quantisers at the convolutions' inputs and at the residual, as cuDLA-samples' option 2 puts them."""

GATED = (
    pair("x", "sx", "xd") + weight("w1") + "[c1] a = Conv<pads=[1,1,1,1]>(xd, w1d)  ag = Sigmoid(a)  am = Mul(a, ag)\n"
    + pair("am", "s1", "amd") + weight("w2") + "[c2] c = Conv<pads=[1,1,1,1]>(amd, w2d)\n"
    "cg = Sigmoid(c)  cm = Mul(c, cg)\n"
    + weight("w4") + "[c4] e = Conv<pads=[1,1,1,1]>(amd, w4d)  eg = HardSigmoid(e)  em = Mul(e, eg)\n"
    "cat = Concat<axis=1>(cm, em)\n"
    + pair("cat", "s2", "catd") + weight("w5") + "[head] y = Conv(catd, w5d)"
)  # fmt: skip


def written(body: str, out: str, path: Path) -> Path:
    model = onnx.parser.parse_model(HEAD.format(out=out, body=body))
    generator = np.random.default_rng(4)
    shapes = {"w1": (4, 4, 3, 3), "w2": (4, 4, 3, 3), "w4": (4, 4, 3, 3), "w3": (4, 4, 1, 1), "w5": (4, 8, 1, 1)}
    values: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        values[name] = (generator.standard_normal(shape) * 0.3).astype(np.float32)
        values[f"{name}s"] = (np.abs(values[name]).max(axis=(1, 2, 3)) / 127).astype(np.float32)
        values[f"{name}z"] = np.zeros(4, np.int8)
    values |= {name: np.full(4, fill, np.float32) for name, fill in {"g": 1.2, "b": 0.1, "m": 0.05, "v": 0.9}.items()}
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in values.items() if k in used)
    for node in model.graph.node:
        node.name = node.name or f"/{node.output[0]}"
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


def translate(model: Path, **options: object) -> tuple[Translated, dict[str, float]]:
    folder = model.parent
    given = FromQdqOptions(cache=folder / "out.cache", plain=folder / "plain.onnx", **options)  # type: ignore[arg-type]
    found = from_qdq(model, given)
    return found, read_cache(folder / "out.cache").scales


IMAGES = np.random.default_rng(1).standard_normal((16, 4, 8, 8)).astype(np.float32)


def test_a_residual_network_is_covered(tmp_path: Path) -> None:
    model = written(RESIDUAL, "1,4", tmp_path / "qat.onnx")
    found, scales = translate(model)
    assert {"cn", "t", "u", "y"} <= set(found.missing)
    found, scales = translate(model, guess=True, residual_ones=True)
    # The head's output is a convolution's: nothing bounds it, and nothing is behind it.
    assert set(found.missing) == {"h", "y"}
    assert {name: round(scales[name], 6) for name in ("x", "r", "a", "p")} == {
        "x": 0.03,
        "r": 0.05,
        "a": 0.05,
        "p": 0.02,
    }
    assert scales["cn"] == scales["c"] == 1.0
    assert scales["u"] == scales["t"] == pytest.approx(0.02)  # back through the mean, which may clip
    assert found.inferred["u"].may_clip


def test_a_gated_network_is_covered(tmp_path: Path) -> None:
    model = written(GATED, "1,4,8,8", tmp_path / "qat.onnx")
    found, scales = translate(model)
    assert {"a", "c", "e"} <= set(found.missing)
    assert {name: scale.may_clip for name, scale in found.inferred.items()} == dict.fromkeys(
        ["ag", "cg", "eg", "cm", "em"], False
    )
    assert scales["ag"] == scales["cg"] == scales["eg"] == pytest.approx(1 / 127)
    assert scales["cm"] == scales["em"] == scales["cat"]
    found, scales = translate(model, guess=True)
    assert found.missing == ("y",)
    largest = scales["a"] * 127
    assert largest / (1 + np.exp(-largest)) == pytest.approx(0.05 * 127)
    assert scales["a"] > scales["am"]


@pytest.mark.parametrize(("body", "out"), [(RESIDUAL, "1,4"), (GATED, "1,4,8,8")])
def test_measured_scales_fill_every_hole_and_keep_the_trained_ones(body: str, out: str, tmp_path: Path) -> None:
    model = written(body, out, tmp_path / "qat.onnx")
    _, own = translate(model)
    np.save(tmp_path / "images.npy", IMAGES)
    found, scales = translate(model, data=str(tmp_path / "images.npy"))
    assert found.missing == ()
    assert found.measured > 0
    trained = {"x", "r", "p", "am", "cat"} & own.keys()
    assert {name: scales[name] for name in trained} == {name: own[name] for name in trained}
    full = calibrate(tmp_path / "plain.onnx", lambda: [IMAGES])
    write_cache(full.scales, "8.5.2", tmp_path / "fill.cache")
    again, same = translate(model, fill=tmp_path / "fill.cache")
    assert (again.missing, same) == ((), scales)
    problems = lint_for_model(read_cache(tmp_path / "out.cache"), tmp_path / "out.cache", tmp_path / "plain.onnx")
    assert {problem.kind for problem in problems} <= {"unequal"}
    assert not [problem for problem in problems if "CONCAT" in problem.message]
    with pytest.raises(UsageError, match="two sources"):
        translate(model, fill=tmp_path / "fill.cache", data="images.npy")


BOUNDED = {
    "Relu": "y = Relu(x)",
    "LeakyRelu": "y = LeakyRelu<alpha=0.3>(x)",
    "Sigmoid": "y = Sigmoid(x)",
    "HardSwish": "y = HardSwish(x)",
    "Tanh": "y = Tanh(x)",
    "mean": "y = ReduceMean<axes=[2,3]>(x)",
    "Clip": "y = Clip(x, low, high)",
    "product": "s = Sigmoid(x) y = Mul(x, s)",
    "constant": "y = Mul(x, high)",
    "Concat": "s = Tanh(x) y = Concat<axis=1>(x, s)",
    "Pad": "y = Pad(x, pads)",
}


@pytest.mark.parametrize("body", BOUNDED.values(), ids=BOUNDED)
@settings(deadline=None, max_examples=12)
@given(low=st.floats(-3, 2.5, width=32), width=st.floats(0.25, 4, width=32), seed=st.integers(0, 99))
def test_no_value_exceeds_a_bounded_scale(body: str, low: float, width: float, seed: int) -> None:
    """Whatever the input, what onnxruntime computes stays within what the scale stands for."""
    text = f"""<ir_version: 8, opset_import: ["" : 17]> net (float[4,2,3,3] x) => (float[a,b,c,d] y)
    <float low = {{{low:.8g}}}, float high = {{{low + width:.8g}}}, int64[8] pads = {{0,0,1,1,0,0,1,1}}> {{ {body} }}"""
    model = onnx.parser.parse_model(text)
    images = (np.random.default_rng(seed).standard_normal((4, 2, 3, 3)) * 4).astype(np.float32)
    scale = float(np.abs(images).max()) / 127
    graph = index(model)
    found = infer_scales(graph, plan(graph), {"x": scale}, guess=False)
    if body != BOUNDED["Clip"] or "y" in found:
        assert np.abs(Session(model).run_all(images)[0]).max() <= found["y"].scale * 127 * (1 + 1e-6)
        assert not found["y"].may_clip


def test_what_only_seems_bounded_is_left_out() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> net (float[4,2,3,3] x) => (float[a,b,c,d] y)
    <float one = {1}, int64[8] pads = {0,0,1,1,0,0,1,1}, float[4] twice = {1,1,2,2}> {
        p = Pad(x, pads, one)  r = LeakyRelu<alpha=3.0>(x)  c = Resize<mode="cubic">(x, , twice)
        t = ReduceMax<keepdims=0>(p)  k = Clip(x, t)  e = Exp(x)  y = Sub(p, p)
    }"""
    model = onnx.parser.parse_model(text)
    graph = index(model)
    assert infer_scales(graph, plan(graph), {"x": 0.01}, guess=False) == {}


def test_a_trained_sum_keeps_its_scale_beside_a_larger_measured_one(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1,2,3,3] x) => (float[1,2,3,3] y) { s = Exp(x) y = Add(x, s) }"""
    graph = index(onnx.parser.parse_model(text))
    tensors = plan(graph)
    assert fill(graph, tensors, {"x": 0.1}, {"x": 0.3, "s": 0.05}) == {"s": 0.1}
    assert fill(graph, tensors, {"x": 0.1}, {"x": 0.3, "s": 0.2}) == {"s": 0.2}
    for broken in (0.0, -0.2, float("nan"), float("inf")):  # a calibration that broke down measured nothing
        assert fill(graph, tensors, {"x": 0.1}, {"s": broken}) == {}


def test_only_one_of_two_convolutions_before_a_sum_takes_a_unit_scale() -> None:
    """The compiler takes 1.0 for no scale; the other operand of the sum needs a real one."""
    text = """<ir_version: 8, opset_import: ["" : 17]> net (float[1,2,3,3] x, float[2,2,1,1] w) => (float[1,2,3,3] y)
    { a = Conv(x, w)  b = Conv(x, w)  y = Add(a, b) }"""
    graph = index(onnx.parser.parse_model(text))
    assert with_residual_ones(graph, {"x": 0.1, "a": 0.2, "b": 0.2}) == {"x": 0.1, "a": 1.0, "b": 0.2}
    assert with_residual_ones(graph, {"x": 0.1, "b": 0.2}, {"a"}) == {"x": 0.1, "a": 1.0, "b": 0.2}
    assert with_residual_ones(graph, {"x": 0.1}, {"a", "b"}) == {"x": 0.1}
