"""Recovery: every step keeps the float network, and what is kept brings the INT8 network closer to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import CalibrationConfig
from dlaflow.quantize.images import ImageArray, Preparation
from dlaflow.quantize.model import has_qdq, index
from dlaflow.quantize.numerics import is_half
from dlaflow.quantize.plan import made_in_fp16, without_float_nodes
from dlaflow.quantize.qdq import qdq_model, quantise, write_qdq
from dlaflow.quantize.recover import Wanted, recover, round_by
from dlaflow.quantize.sensitivity import Sample
from dlaflow.runtime.ort import OrtRunner

UNEVEN = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,8,8] x) => (float[N,5] y)
{
    a = Conv<pads=[1,1,1,1]>(x, w1, b1)  ar = Relu(a)
    d = Conv<pads=[1,1,1,1], group=8>(ar, w2, b2)  dr = Relu(d)
    e = Conv(dr, w3)  er = LeakyRelu<alpha=0.1>(e)
    f = Conv<pads=[1,1,1,1], strides=[2,2], dilations=[2,2], group=2>(er, w4)
    p = GlobalAveragePool(f)  g = Flatten(p)  y = Gemm<transB=1>(g, w5, b5)
}
"""


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """A depthwise network whose channels have ranges apart by a factor of 100: poison for one scale a tensor."""
    model = onnx.parser.parse_model(UNEVEN)
    generator = np.random.default_rng(12)
    shapes = {"w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "w3": (6, 8, 1, 1), "w4": (6, 3, 3, 3), "w5": (5, 6)}
    values = {name: generator.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()}
    values |= {"b1": generator.uniform(0, 0.3, 8), "b2": generator.uniform(0, 0.2, 8), "b5": generator.uniform(0, 1, 5)}
    spread = np.geomspace(0.05, 5, 8)
    values["w1"] *= spread[:, None, None, None]
    values["b1"] *= spread
    values["w2"] /= spread[:, None, None, None]
    values["w3"][:, 0] *= 30  # one large weight a row: the others have few steps left
    values["w4"][:, 0, 0, 0] *= 10
    model.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in values.items())
    for node in model.graph.node:
        node.name = f"/{node.output[0]}"
    onnx.save(model, str(tmp_path / "uneven.onnx"))
    return tmp_path / "uneven.onnx"


def images(count: int, side: int = 8) -> np.ndarray:
    coarse = np.random.default_rng(count).standard_normal((count, 3, side // 4, side // 4)).astype(np.float32)
    return coarse.repeat(4, 2).repeat(4, 3)


def sequence(pixels: np.ndarray) -> ImageArray:
    return ImageArray(pixels, np.arange(len(pixels)), Preparation())


def test_uneven_channels_are_recovered(uneven: Path) -> None:
    found = recover(uneven, sequence(images(48)), Sample(sequence(images(40)), None, 16), CalibrationConfig())
    steps = {step.name: step for step in found.steps}
    assert any(step.kept for name, step in steps.items() if name.startswith("equalisation"))
    assert steps["bias"].kept
    errors = [step.damage.error for step in found.steps if step.kept]
    assert errors == sorted(errors, reverse=True)
    test = images(64)
    exact = OrtRunner(uneven).run(test)

    def error(model: onnx.ModelProto) -> float:
        return float(np.mean((OrtRunner(model).run(test) - exact) ** 2))

    rounded = error(qdq_model(type(found.model).FromString(found.model.SerializeToString()), found.calibration))
    methods = [step for step in found.steps if step.name.startswith("scales")]
    assert rounded < 0.25 * min(step.damage.error for step in methods) * float(np.mean(exact**2))


def test_the_recovered_weights_lie_on_their_grid(uneven: Path) -> None:
    found = recover(uneven, sequence(images(24)), Sample(sequence(images(40)), None, 16), CalibrationConfig())
    assert found.steps[-1].name == "rounding"
    assert found.steps[-1].kept
    graph = index(found.model)
    for name in ("w1", "w2", "w3", "w4", "w5"):
        weight = np.asarray(graph.value(name))
        values, scale = quantise(weight, 0)
        assert np.allclose(values * scale.reshape(-1, *[1] * (weight.ndim - 1)), weight, rtol=1e-5, atol=1e-8), name


def test_a_network_that_loses_nothing_is_left_alone(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu(x) }'
    )
    onnx.save(model, str(tmp_path / "m.onnx"))
    pixels = np.rint(images(16) * 10).clip(-127, 127)
    pixels[:, 0, 0, 0] = 127
    found = recover(
        tmp_path / "m.onnx", sequence(pixels), Sample(sequence(pixels), None, 8), CalibrationConfig("minmax")
    )
    assert [step.name for step in found.steps] == ["scales by minmax"]


def test_weights_of_constant_nodes_are_recovered_too(tmp_path: Path) -> None:
    """The convolution in the middle is equalised twice: behind the first one and before the last one."""
    text = """<ir_version: 8, opset_import: ["" : 17]> net (float[N,3,8,8] x) => (float[N,5,6,6] y)
    { a = Conv<pads=[1,1,1,1]>(x, w1)  r = Relu(a)  b = Conv<pads=[1,1,1,1]>(r, w2)  s = Relu(b)  y = Conv(s, w3) }"""
    errors = []
    for stored in ("initializers", "Constant nodes"):
        model = onnx.parser.parse_model(text)
        generator = np.random.default_rng(0)
        for place, (name, shape) in enumerate({"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (5, 8, 3, 3)}.items()):
            spread = np.geomspace(0.01, 3, shape[0])[:, None, None, None]
            tensor = numpy_helper.from_array((generator.standard_normal(shape) * spread).astype(np.float32), name)
            if stored == "initializers":
                model.graph.initializer.append(tensor)
            else:
                model.graph.node.insert(place, onnx.helper.make_node("Constant", [], [name], value=tensor))
        for node in model.graph.node:
            node.name = f"/{node.output[0]}"
        onnx.save(model, str(tmp_path / "m.onnx"))
        found = recover(
            tmp_path / "m.onnx", sequence(images(24)), Sample(sequence(images(40)), None, 16), CalibrationConfig()
        )
        assert any(step.kept for step in found.steps if step.name.startswith("equalisation"))
        errors.append([step.damage.error for step in found.steps])
    assert errors[0] == errors[1]


def test_a_recovery_keeps_to_the_percentile(uneven: Path) -> None:
    errors = []
    for percentile in (99.99, 50.0):
        how = CalibrationConfig("percentile", percentile)
        found = recover(uneven, sequence(images(24)), Sample(sequence(images(40)), None, 16), how)
        errors.append(found.steps[0].damage.error)
    assert errors[1] > 2 * errors[0]


SWISH = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,8,8] x) => (float[N,5] y)
{
    a = Conv<pads=[1,1,1,1]>(x, w1)  s = HardSwish(a)  b = Conv(s, w2)  t = HardSwish(b)
    p = GlobalAveragePool(t)  f = Flatten(p)  y = Gemm<transB=1>(f, w3)
}
"""


@pytest.mark.parametrize("close", [1.0, 1e-3])
def test_what_lies_between_fp16_layers_is_in_fp16_too(tmp_path: Path, close: float) -> None:
    """A swish whose channels lie a factor of 10,000 apart: INT8 for it alone keeps nothing of the small ones.

    Classes that lie close together cannot bear INT8 in any layer: a network that is FP16 throughout is no recovery.
    """
    model = onnx.parser.parse_model(SWISH)
    generator = np.random.default_rng(1)
    for name, shape in {"w1": (8, 3, 3, 3), "w2": (6, 8, 1, 1), "w3": (5, 6)}.items():
        values = generator.standard_normal(shape)
        spread = np.geomspace(0.01, 100, 8)
        if name != "w3":
            values *= spread[:, None, None, None] if name == "w1" else 1 / spread[None, :, None, None]
        values = values[:1] + values * close if name == "w3" else values
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    for node in model.graph.node:
        node.name = f"/{node.output[0]}"
    onnx.save(model, str(tmp_path / "m.onnx"))
    assert made_in_fp16(index(model), ["/a", "/b"]) == {"a", "s", "b", "t", "p", "f"}
    assert made_in_fp16(index(model), ["/b"]) == {"b", "t", "p", "f"}
    wanted = Wanted(max_drop=8.0 if close == 1 else 0.0)
    sample = Sample(sequence(images(40)), None, 16)
    found = recover(tmp_path / "m.onnx", sequence(images(24)), sample, CalibrationConfig(), wanted)
    if close == 1:
        assert {*found.float_nodes} == {"/a", "/b"}
        assert found.drop <= 8
        return
    assert found.steps[-1].name == "all 3 in FP16"
    assert found.steps[-1].damage.error == 0
    assert (found.float_nodes, found.steps[-1].kept) == ((), False)
    assert found.drop > 3


def test_a_model_may_be_fp16_throughout(uneven: Path, tmp_path: Path) -> None:
    """Every layer that may be quantised is left out: what is written is an FP16 model, and the cache has no scale."""
    calibration = calibrate(uneven, lambda: [images(16)])
    nodes = [node.name for node in onnx.load(uneven).graph.node if node.op_type in {"Conv", "Gemm"}]
    write_qdq(uneven, calibration, tmp_path / "h.onnx", float_nodes=nodes)
    written = onnx.load(tmp_path / "h.onnx")
    assert not has_qdq(written)
    assert is_half(written)
    assert without_float_nodes(index(onnx.load(uneven)), calibration.scales, nodes) == {}
    test = images(8)
    assert np.allclose(OrtRunner(tmp_path / "h.onnx").run(test), OrtRunner(uneven).run(test), rtol=0.02, atol=0.02)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 12), st.integers(0, 200))
def test_rounding_by_moments_is_legal_and_no_worse(outputs: int, inputs: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((outputs, inputs))
    samples = generator.standard_normal((200, inputs)) @ generator.standard_normal((inputs, inputs))
    rounded = round_by(weight, samples.T @ samples / 200)
    scale = np.abs(weight).max(axis=1, keepdims=True).astype(np.float32) / 127
    steps = rounded / scale
    assert np.allclose(steps, np.rint(steps), atol=1e-4)
    assert np.allclose(np.abs(steps).max(axis=1), 127, atol=1e-4)
    nearest = np.clip(np.rint(weight / scale), -127, 127) * scale

    def error(found: np.ndarray) -> float:
        return float(np.sum((samples @ (found - weight).T) ** 2))

    assert error(rounded) <= error(nearest) * (1 + 1e-4) + 1e-9


def test_inputs_that_never_vary_do_not_break_the_rounding() -> None:
    weight = np.random.default_rng(0).standard_normal((4, 6))
    assert np.isfinite(round_by(weight, np.zeros((6, 6)))).all()
    assert (round_by(np.zeros((2, 6)), np.ones((6, 6))) == 0).all()
