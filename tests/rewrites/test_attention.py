"""Attention in the forms that exporters write: the outputs stay, and the network leaves the DLA once for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.graph.load import load_model
from dlaflow.placement.check import check_model
from dlaflow.rewrites.attention import Attention
from dlaflow.targets.target import resolve_target

BOUND = 2e-5


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def longs(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


DETECTOR = """
    c = Conv(x, wqkv, b)
    h = Reshape(c, heads)
    q, k, v = Split<axis=2>(h, parts)
    t = Transpose<perm=[0,1,3,2]>(q)
    s = MatMul(t, k)
    m = Mul(s, scale)
    p = Softmax<axis=-1>(m)
    u = Transpose<perm=[0,1,3,2]>(p)
    o = MatMul(v, u)
    r = Reshape(o, image)
    vi = Reshape(v, image)
    e = Conv<group={c}, pads=[1,1,1,1]>(vi, we)
    a = Add(r, e)
    y = Conv(a, wo)
"""
"""The attention of YOLO11: one convolution makes Q, K and V, and V goes into a depthwise one as well."""


def detector(n: int, heads: int, d: int, side: int) -> tuple[str, dict[str, np.ndarray]]:
    c, key = heads * d, max(1, d // 2)
    whole = heads * (2 * key + d)
    return DETECTOR.format(c=c), {
        "wqkv": random(whole, c, 1, 1), "b": random(whole), "heads": longs(n, heads, 2 * key + d, side * side),
        "parts": longs(key, key, d), "scale": np.array(key**-0.5, np.float32), "image": longs(n, c, side, side),
        "we": random(c, 1, 3, 3), "wo": random(c, c, 1, 1),
    }  # fmt: skip


@given(n=st.integers(1, 2), heads=st.integers(1, 3), d=st.integers(1, 5), side=st.integers(1, 4))
@settings(deadline=None, max_examples=12)
def test_the_attention_of_a_detector(rewritten: Callable, n: int, heads: int, d: int, side: int) -> None:
    text, weights = detector(n, heads, d, side)
    outcome = rewritten(Attention(), text, (n, heads * d, side, side), weights)
    assert outcome.changed
    assert outcome.error < BOUND
    products = [node for node in outcome.draft.nodes if node.op_type in ("MatMul", "Softmax", "Mul")]
    assert len(products) == 4
    assert all(len(outcome.draft.shape(node.output[0])) == 5 for node in products)


@given(
    n=st.integers(1, 2), heads=st.integers(1, 3), d=st.integers(1, 4), length=st.integers(1, 5),
    before=st.sampled_from(["", "Mul", "Div", "Relu"]), after=st.sampled_from(["", "Mul", "Div"]),
    mask=st.sampled_from(["", "flat", "heads", "where"]), opset=st.sampled_from([12, 17]), half=st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=25)
def test_scales_masks_and_casts_between(
    rewritten: Callable, n: int, heads: int, d: int, length: int,
    before: str, after: str, mask: str, opset: int, half: bool,
) -> None:  # fmt: skip
    lines = ["q = Reshape(x, shape)", "t = Transpose<perm=[0,2,1,3]>(q)", "k = Transpose<perm=[0,2,3,1]>(q)"]
    lines += [f"f = {before}(t)" if before == "Relu" else f"f = {before}(t, two)" if before else "f = Identity(t)"]
    lines += ["s = MatMul(f, k)", f"a = {after}(s, two)" if after else "a = Identity(s)"]
    lines += [
        {"flat": "m = Add(a, flat)", "heads": "m = Add(a, per)", "where": "m = Where(yes, a, low)"}.get(
            mask, "m = Relu(a)"
        )
    ]
    lines += (
        ["g = Cast<to=11>(m)", "h = Softmax<axis=3>(g)", "p = Cast<to=1>(h)"] if half else ["p = Softmax<axis=3>(m)"]
    )
    lines += ["o = MatMul(p, t)", "u = Transpose<perm=[0,2,1,3]>(o)", "y = Reshape(u, rows)"]
    weights = {
        "shape": longs(n, length, heads, d), "rows": longs(n, length, heads * d), "two": np.array(2, np.float32),
        "flat": random(length, length), "per": random(1, heads, length, length), "low": np.array(-9, np.float32),
        "yes": np.tri(length, dtype=bool)[None, None],
    }  # fmt: skip
    outcome = rewritten(Attention(), "\n".join(lines), (n, length, heads * d), weights, opset=opset)
    assert outcome.changed
    assert outcome.error < BOUND


@pytest.mark.parametrize("mode", ["hybrid", "standalone"])
@pytest.mark.parametrize("tensorrt", ["8.5.2", "10.3.0"])
def test_a_network_leaves_the_dla_once(rewritten: Callable, build: Callable, mode: str, tensorrt: str) -> None:
    text, weights = detector(1, 2, 8, 6)
    target = resolve_target("agx-orin-64gb", tensorrt=tensorrt, mode=mode)
    outcome = rewritten(Attention(), text, (1, 16, 6, 6), weights, tensorrt=tensorrt)
    before = check_model(load_model(build(text, (1, 16, 6, 6), weights)), target)
    after = check_model(outcome.draft.model(build(text, (1, 16, 6, 6), weights)), target)
    assert after.summary.switches < before.summary.switches
    assert after.summary.loadables < before.summary.loadables
    assert after.summary.dla_mac_share >= before.summary.dla_mac_share
    if tensorrt == "10.3.0":
        assert (after.summary.loadables, after.summary.switches) == (2, 2)


def test_one_product_alone_stays(rewritten: Callable) -> None:
    text = "t = Transpose<perm=[0,1,3,2]>(x)\nm = MatMul(x, t)\ny = Softmax<axis=-1>(m)"
    assert not rewritten(Attention(), text, (1, 2, 3, 4), {}).changed
