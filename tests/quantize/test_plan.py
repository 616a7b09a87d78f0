"""Which tensors are observed, follow another, or share a scale."""

from __future__ import annotations

import onnx

from dlaflow.quantize.model import index
from dlaflow.quantize.plan import plan

RESIDUAL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,4,8,8] x) => (float[1,8,4,4] y)
<float[4,4,1,1] w = {}, float[4] one = {1,1,1,1}, int64[1] axes = {1}>
{
    a = Conv(x, w)
    ar = Relu(a)
    b = Conv(ar, w)
    n = BatchNormalization(b, one, one, one, one)
    s = Add(n, ar)
    r = Relu(s)
    p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
    q = AveragePool<kernel_shape=[2,2], strides=[2,2]>(r)
    c = Concat<axis=1>(p, q)
    y = Identity(c)
}
"""


def planned(text: str) -> tuple[dict[str, str], list[set[str]], tuple[str, ...]]:
    weights = "{" + ",".join(["0.5"] * 16) + "}"
    found = plan(index(onnx.parser.parse_model(text.replace("w = {}", f"w = {weights}"))))
    return dict(found.leader), [set(group) for group in found.tied], found.observed


def test_relations_over_a_residual_block() -> None:
    leader, tied, observed = planned(RESIDUAL)
    assert leader["a"] == "ar"
    assert leader["b"] == "n"
    assert leader["s"] == "r"
    assert leader["p"] == leader["q"] == "r"
    assert leader["y"] == "c"
    assert observed == ("x", "ar", "n", "r", "c")
    assert {"n", "ar"} in tied
    assert {"r", "c"} in tied


def test_a_tensor_that_something_else_reads_is_observed() -> None:
    text = RESIDUAL.replace("b = Conv(ar, w)", "b = Conv(a, w)")
    leader, _, observed = planned(text)
    assert "a" in observed
    assert "a" not in leader


def test_ties_are_solved_over_the_graph() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1,4] x) => (float[1,4] y)
    { a = Sigmoid(x)  b = Tanh(x)  c = Sigmoid(b)  s = Add(a, b)  t = Add(b, c)  u = Mul(s, t)  y = Tanh(u) }
    """
    _, tied, _ = planned(text)
    assert tied == [{"a", "b", "c"}]


def test_relu6_fuses_and_a_clip_elsewhere_does_not() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1,4,2,2] x) => (float[1,4,2,2] y)
    <float[4,4,1,1] w = {}, float low = {LOW}, float high = {6}>
    { a = Conv(x, w)  y = Clip(a, low, high) }
    """
    assert planned(text.replace("LOW", "0"))[0] == {"a": "y"}
    assert planned(text.replace("LOW", "-1"))[0] == {}
