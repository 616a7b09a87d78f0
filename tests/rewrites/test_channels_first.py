"""Networks in (N, H, W, C) with each operator that a transpose passes: the outputs stay, the transposes cancel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.graph.load import load_model
from dlaflow.placement.check import check_model
from dlaflow.rewrites.channels_first import ChannelsFirst
from dlaflow.rewrites.fully_connected import FullyConnected
from dlaflow.rewrites.search import score_of
from dlaflow.targets.target import resolve_target

BOUND = 2e-5
HALF_BOUND = 2e-3
"""Behind a Cast to FP16: a value between two of its numbers may fall to either."""
few = settings(deadline=None, max_examples=25)
C, H, W = 4, 6, 5


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def longs(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


WEIGHTS = {
    "k": random(C), "kh": random(H, 1, 1), "one": np.array(0.5, np.float32), "full": random(1, H, W, C),
    "s": longs(1, 0), "e": longs(5, 3), "a": longs(1, -1), "t": longs(2, 1), "p": longs(0, 1, 0, 2, 0, 0, 1, 0),
    "n": longs(1, 1, 2, 3), "i": longs(2, 0, 1), "parts": longs(1, 3), "m": longs(3),
    "scales": np.array([1, 2, 3, 1], np.float32), "slope": np.abs(random(1, 1, C)),
    "scale": np.array(0.05, np.float32), "zero": np.array(0, np.int8), "vs": np.abs(random(C)) + 0.1,
    "sizes": longs(1, 12, 10, C),
    "vz": np.zeros(C, np.int8), "lo": np.array(-0.5, np.float32), "hi": np.array(0.75, np.float32),
}  # fmt: skip
"""Constants in the order N, H, W, C."""
STEPS = (
    "{y} = Relu({x})",
    "{y} = Clip({x}, lo, hi)",
    "{y} = Mul({x}, k)",
    "{y} = Add(kh, {x})",
    "{y} = Sub({x}, one)",
    "{y} = Add({x}, full)",
    "{y} = PRelu({x}, slope)",
    "g{y} = ReduceMean<axes=[1,2]>({x})\nh{y} = Sigmoid(g{y})\n{y} = Mul({x}, h{y})",
    "g{y} = ReduceMean<axes=[1,2], keepdims=0>({x})\nh{y} = Reshape(g{y}, gate)\n{y} = Mul(h{y}, {x})",
    "g{y} = Tanh({x})\n{y} = Concat<axis=3>({x}, g{y})",
    "f{y}, g{y} = Split<axis=-1>({x}, parts)\n{y} = Concat<axis=-1>(g{y}, f{y}, g{y})",
    "{y} = Slice({x}, s, e, a, t)",
    "{y} = Pad({x}, p)",
    "{y} = Tile({x}, n)",
    "{y} = Gather<axis=2>({x}, i)",
    '{y} = Resize<mode="nearest">({x}, , scales)',
    '{y} = Resize<mode="linear">({x}, , , sizes)',
    "{y} = Softmax<axis=-1>({x})",
    "{y} = Softmax<axis=1>({x})",
    "{y} = ReduceSum({x}, m)",
    "g{y} = QuantizeLinear({x}, scale, zero)\n{y} = DequantizeLinear(g{y}, scale, zero)",
    "g{y} = QuantizeLinear<axis=3>({x}, vs, vz)\n{y} = DequantizeLinear<axis=3>(g{y}, vs, vz)",
    "g{y} = Greater({x}, k)\n{y} = Where(g{y}, {x}, one)",
    "c{y} = Cast<to=10>({x})\nr{y} = Relu(c{y})\n{y} = Cast<to=1>(r{y})",
)
ENDS = (
    "y = Transpose<perm=[0,3,1,2]>({x})",
    "y = ReduceMean<axes=[1,2], keepdims=0>({x})",
    "y = ReduceMax<axes=[1,2,3], keepdims=0>({x})",
    "g = ReduceMean<axes=[1,2], keepdims=1>({x})\ny = Squeeze(g, sq)",
    "g = ReduceMean<axes=[1,2], keepdims=1>({x})\ny = Flatten(g)",
    "g = ReduceMean<axes=[1], keepdims=0>({x})\ny = Transpose<perm=[0,2,1]>(g)",
)


@given(steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=4), end=st.sampled_from(ENDS), up=st.booleans())
@settings(deadline=None, max_examples=40)
def test_everything_between_two_transposes(rewritten: Callable, steps: list[str], end: str, up: bool) -> None:
    lines = [] if up else ["b = Transpose<perm=[0,2,3,1]>(x)"]
    last, fits = "x" if up else "b", True
    for number, step in enumerate(steps):
        # constants fit the first shape alone, so that what changes the shape comes last
        lines.append(step.format(x=last, y=f"v{number}"))
        last = f"v{number}"
        fits = fits and not any(
            op in step for op in ("Concat", "Slice", "Pad", "Tile", "Gather", "Resize", "ReduceSum")
        )
        if not fits:
            break
    lines.append(end.format(x=last))
    weights = WEIGHTS | {"gate": longs(-1, 1, 1, C), "sq": longs(1, 2)}
    shape = (2, H, W, C) if up else (2, C, H, W)
    if "sizes" in "".join(lines):
        shape = (1, *shape[1:])
    outcome = rewritten(ChannelsFirst(), "\n".join(lines), shape, weights, outputs=("y",))
    assert outcome.error < (HALF_BOUND if any("Cast<to=10>" in line for line in lines) else BOUND)
    if "sq)" not in end and "Transpose<perm=[0,2,1]" not in end and (not up or "perm=[0,3,1,2]" in end):
        assert outcome.ops.count("Transpose") == int(up), lines


NETWORK = """
    s = Mul(x, pixel)
    z = Sub(s, mean)
    q = Pad(z, p)
    t0 = Transpose<perm=[0,3,1,2]>(q)
    c0 = Conv<strides=[2,2]>(t0, w0)
    n0 = Transpose<perm=[0,2,3,1]>(c0)
    b0 = Add(n0, k)
    r0 = Relu(b0)
    t1 = Transpose<perm=[0,3,1,2]>(r0)
    c1 = Conv<pads=[1,1,1,1]>(t1, w1)
    n1 = Transpose<perm=[0,2,3,1]>(c1)
    g1 = ReduceMean<axes=[1,2]>(n1)
    t2 = Transpose<perm=[0,3,1,2]>(g1)
    c2 = Conv(t2, w2)
    n2 = Transpose<perm=[0,2,3,1]>(c2)
    h2 = Sigmoid(n2)
    m2 = Mul(n1, h2)
    a2 = Add(m2, r0)
    o2 = Concat<axis=3>(a2, r0)
    l2 = Relu(o2)
    f = Reshape(l2, rows)
    y = MatMul(f, wf)
"""
"""As tf2onnx writes a small Keras network: every convolution between two transposes."""


def network(batch: int) -> dict[str, np.ndarray]:
    return {
        "pixel": np.array(1 / 127.5, np.float32), "mean": random(3), "p": longs(0, 0, 0, 0, 0, 1, 1, 0), "k": random(8),
        "w0": random(8, 3, 3, 3), "w1": random(8, 8, 3, 3), "w2": random(8, 8, 1, 1), "rows": longs(batch, -1),
        "wf": random(4 * 4 * 16, 5),
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["hybrid", "standalone"])
@pytest.mark.parametrize(("tensorrt", "batch"), [("8.2.1", 1), ("8.5.2", 1), ("8.5.2", 2), ("10.3.0", 1)])
def test_a_network_of_keras_becomes_one_of_pytorch(
    rewritten: Callable, build: Callable, mode: str, tensorrt: str, batch: int
) -> None:
    weights, shape = network(batch), (batch, 8, 8, 3)
    target = resolve_target("agx-orin-64gb", tensorrt=tensorrt, mode=mode, batch=batch)
    outcome = rewritten(ChannelsFirst(), NETWORK, shape, weights, tensorrt=tensorrt)
    assert outcome.error < BOUND
    assert outcome.ops.count("Transpose") == 2  # at the input, and in front of the reshape
    path = build(NETWORK, shape, weights)
    before, after = check_model(load_model(path), target), check_model(outcome.draft.model(path), target)
    assert score_of(after) < score_of(before)
    with_product = rewritten(FullyConnected(), NETWORK, shape, weights, tensorrt=tensorrt)
    assert with_product.error < BOUND


@given(
    h=st.integers(1, 4), w=st.integers(1, 4), c=st.integers(1, 4), perm=st.permutations([1, 2, 3]),
    op=st.sampled_from(["MatMul(f, w)", "Gemm(f, w, b)", "Gemm<transB=1>(f, v, b)"]), batch=st.integers(1, 2),
)  # fmt: skip
@few
def test_a_transpose_before_a_product_becomes_the_order_of_its_weights(
    rewritten: Callable, h: int, w: int, c: int, perm: list[int], op: str, batch: int
) -> None:
    text = f"t = Transpose<perm={[0, *perm]}>(x)\nf = Reshape(t, rows)\ny = {op}"
    weights = {"rows": longs(batch, -1), "w": random(h * w * c, 5), "v": random(5, h * w * c), "b": random(5)}
    outcome = rewritten(FullyConnected(), text, (batch, c, h, w), weights)
    assert outcome.ops == ["Conv", "Reshape"]
    assert outcome.error < BOUND


def test_transposes_that_meet_no_inverse_stay(rewritten: Callable) -> None:
    text = "t = Transpose<perm=[0,2,3,1]>(x)\nr = Relu(t)\nf = Reshape(r, rows)\ny = Softmax<axis=1>(f)"
    outcome = rewritten(ChannelsFirst(), text, (1, 3, 4, 4), {"rows": longs(1, -1)})
    assert not outcome.changed
    assert "inverse" in next(iter(outcome.refused.values()))
