"""Equalisation: whatever the factors, the network computes the same; what may not be scaled is left alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dlaflow.quantize.equalise import equalise, stretches
from dlaflow.quantize.model import index
from dlaflow.quantize.session import Session

HEAD = '<ir_version: 8, opset_import: ["" : 17]> net (float[N,3,8,8] x) => (float[N,5] y)'
RESIDUAL = """{ a = Conv(x, w1, b1)  r = Relu(a)  d = Conv<group=4, pads=[1,1,1,1]>(r, w2)  c = Conv(d, w3, b3)
    s = Add(r, c)  m = MaxPool<kernel_shape=[2,2]>(s)  g = Conv<group=2>(m, w4)  e = LeakyRelu<alpha=0.1>(g)
    p = GlobalAveragePool(e)  f = Flatten(p)  y = Gemm<transB=1>(f, w5, b5) }"""
GATED = """{ a = Conv(x, w1, b1)  r = Relu(a)  q = GlobalAveragePool(r)  h = Conv(q, w3, b3)  k = Sigmoid(h)
    m = Mul(r, k)  c = Conv(m, w6)  n = Conv(c, w4b)  f = Flatten(n)  y = Gemm(f, w7) }"""
FLAT = "{ a = Conv(x, w1, b1)  f = Flatten(a)  r = Relu(f)  y = Gemm(r, w9) }"
SHAPES = {
    "w1": (4, 3, 1, 1),
    "b1": (4,),
    "w2": (4, 1, 3, 3),
    "w3": (4, 4, 1, 1),
    "b3": (4,),
    "w4": (6, 2, 1, 1),
    "w4b": (2, 4, 3, 3),
    "w5": (5, 6),
    "w5b": (5, 4),
    "b5": (5,),
    "w6": (4, 4, 1, 1),
    "w7": (72, 5),
    "w8": (1, 4, 1, 1),
    "w9": (256, 5),
}


def network(body: str) -> onnx.ModelProto:
    generator = np.random.default_rng(3)
    model = onnx.parser.parse_model(HEAD + body)
    read = {name for node in model.graph.node for name in node.input}
    values = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in values.items() if k in read)
    return model


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (RESIDUAL, [{"a", "r", "c", "s", "m"}, {"d"}, {"g", "e", "p", "f"}]),
        (GATED, [{"a", "r", "q", "m"}, {"c"}, {"n", "f"}]),
        (FLAT, [{"a", "f", "r"}]),
    ],
)
def test_factors_change_nothing_that_the_network_computes(body: str, expected: list[set[str]]) -> None:
    images = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    before = Session(network(body)).run(images)
    model = network(body)
    graph = index(model)
    found = stretches(graph)
    assert [{*each.tensors} for each in found] == expected
    first = np.asarray(graph.value("w1")).copy()
    for position, each in enumerate(found):
        channels = len(np.asarray(graph.value(each.makers[0].input[1])))
        ranges = np.geomspace(0.01 + position, 30, channels)
        equalise(graph, each, {each.tensors[0]: ranges, **({"r": np.repeat(ranges, 64)} if body == FLAT else {})})
    assert np.abs(np.asarray(graph.value("w1")) / first - 1).max() > 0.5
    assert np.allclose(Session(model).run(images), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "body",
    [
        "{ a = Conv(x, w1, b1)  r = HardSwish(a)  c = Conv(r, w6)  n = Conv(c, w6)  g = GlobalAveragePool(n)"
        "  f = Flatten(g)  t = Softmax(f)  y = Gemm<transB=1>(t, w5b) }",  # not homogeneous; a shared weight
        "{ a = Conv(x, w1, b1)  s = Sigmoid(a)  r = Mul(a, s)  g = GlobalAveragePool(r)  f = Flatten(g)"
        "  y = Gemm<transB=1>(f, w5b) }",  # the gate is made of what it scales
        "{ a = Conv(x, w1, b1)  k = Mul(a, a)  g = GlobalAveragePool(k)  f = Flatten(g)  y = Gemm<transB=1>(f, w5b) }",
        "{ a = Conv(x, w1)  o = Add(a, w8)  g = GlobalAveragePool(o)  f = Flatten(g)  y = Gemm<transB=1>(f, w5b) }",
    ],
)
def test_what_is_not_scaled_channel_by_channel_is_left_alone(body: str) -> None:
    assert stretches(index(network(body))) == []
