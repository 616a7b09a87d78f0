"""The runner in the DLA's integers: each kind of layer beside slow loops in Python's whole numbers, and refusals."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from dlaflow.errors import InputError
from dlaflow.runtime.dla import DlaRunner
from dlaflow.runtime.ort import OrtRunner

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
one (float[N,{channels},{size},{size}] x) => (float[N,a,b,c] y)
<float s = {{ {step} }}, float t = {{ {out} }}, int8 z = {{0}}, int8[{many}] zs = {{ {zeros} }}>
{{
    q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    w = DequantizeLinear<axis=0>(w8, ws, zs)
    {body}
    o = QuantizeLinear(r, t, z)
    y = DequantizeLinear(o, t, z)
}}
"""


def parsed(
    body: str, channels: int = 2, size: int = 5, step: float = 0.5, out: float = 0.5, many: int = 4, **tensors
) -> onnx.ModelProto:
    zeros = ", ".join("0" for _ in range(many))
    text = TEXT.format(body=body, channels=channels, size=size, step=step, out=out, many=many, zeros=zeros)
    model = onnx.parser.parse_model(text)
    for name, value in {"w8": np.ones((many, 1, 1, 1), np.int8), "ws": np.ones(many, np.float32), **tensors}.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


def half_away(value: Fraction) -> int:
    whole = math.floor(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


def requantised(total: int, factor: float, shift: int) -> int:
    multiplier = math.floor(Fraction(float(np.float32(factor))) * 2**shift)
    return max(-128, min(127, half_away(Fraction(total * multiplier, 2**shift))))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2]),
    st.sampled_from([0, 1]),
    st.floats(2.0**-6, 4, width=32),
)
def test_a_convolution_is_the_loop_over_whole_numbers(seed, groups, stride, pad, out):
    random = np.random.default_rng(seed)
    weights = random.integers(-128, 128, (4, 2 // groups, 3, 3)).astype(np.int8)
    scales = random.uniform(0.001, 0.02, 4).astype(np.float32)
    bias = random.uniform(-3, 3, 4).astype(np.float32)
    attributes = f"group={groups}, strides=[{stride},{stride}], pads=[{pad},{pad},{pad},{pad}]"
    model = parsed(f"c = Conv<{attributes}>(d, w, b)\n r = Relu(c)", out=out, w8=weights, ws=scales, b=bias)
    images = random.integers(-140, 141, (2, 2, 5, 5))
    found = DlaRunner(model).run(images.astype(np.float32) / 2)

    steps = np.pad(np.clip(images, -128, 127), ((0, 0), (0, 0), (pad, pad), (pad, pad))).tolist()
    factors = [0.5 * float(scale) / float(np.float32(out)) for scale in scales]
    shift = 15 - (math.frexp(float(np.float32(max(factors))))[1])
    for n, c, i, j in product(*map(range, found.shape)):
        total = math.floor(float(np.float32(bias[c] / np.float32(0.5 * np.float64(scales[c])) + np.float32(0.5))))
        for k, u, v in product(range(2 // groups), range(3), range(3)):
            channel = k + (c // (4 // groups)) * (2 // groups)
            total += steps[n][channel][i * stride + u][j * stride + v] * int(weights[c, k, u, v])
        expected = max(0, requantised(total, factors[c], shift))
        assert found[n, c, i, j] == np.float32(expected * np.float32(out))


def test_sums_beyond_two_to_the_24_stay_exact():
    weights = np.full((4, 2048, 1, 1), 127, np.int8)
    weights[1:, ::2] = -128
    images = np.full((1, 2048, 5, 5), 63.5, np.float32)
    images[:, 1::2] = 1.5
    model = parsed("r = Conv(d, w)", 2048, out=1e6, w8=weights, ws=np.ones(4, np.float32))
    sums = [127 * 1024 * 130, 127 * 3 * 1024 - 128 * 127 * 1024]
    # 2^24 steps of 0.5 are 8 steps of a million.
    expected = [
        half_away(Fraction(total * math.floor(Fraction(float(np.float32(0.5e-6))) * 2**35), 2**35)) for total in sums
    ]
    found = DlaRunner(model).run(images)[0, :2, 0, 0] / 1e6
    assert found.tolist() == expected


def test_halves_leave_zero_where_onnxruntime_goes_to_even():
    model = parsed("r = MaxPool<kernel_shape=[1,1]>(d)", out=1.0)
    images = np.array([1, 2, 3, -1, -3, 5], np.float32).reshape(1, 1, 1, 6).repeat(2, 1).repeat(5, 2)[..., :5] / 2
    assert DlaRunner(model).run(images)[0, 0, 0].tolist() == [1, 1, 2, -1, -2]
    assert OrtRunner(model).run(images)[0, 0, 0].tolist() == [0, 1, 2, 0, -2]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("r = Add(d, d)", lambda x: 2 * x),
        ("r = Mul(d, d)", lambda x: x * x),
        ("r = Concat<axis=1>(d, d)", lambda x: np.concatenate([x, x], 1)),
        ("r = Transpose<perm=[0,1,3,2]>(d)", lambda x: x.swapaxes(2, 3)),
        ("r = GlobalAveragePool(d)", lambda x: x.mean(axis=(2, 3), keepdims=True)),
        (
            "r = AveragePool<kernel_shape=[2,2]>(d)",
            lambda x: (x[..., 1:, 1:] + x[..., :-1, 1:] + x[..., 1:, :-1] + x[..., :-1, :-1]) / 4,
        ),
        ("r = Sigmoid(d)", lambda x: 1 / (1 + np.exp(-x))),
        ("l = float[1] {0}\n h = Relu(d)\n r = MaxPool<kernel_shape=[1,1]>(h)", lambda x: np.maximum(x, 0)),
    ],
)
def test_layers_are_computed_in_integers_and_mean_what_they_should(body, expected):
    images = (np.random.default_rng(3).integers(-20, 21, (3, 2, 5, 5)) / 2).astype(np.float32)
    if body.startswith("l ="):
        body = body.split("\n ", 1)[1]
    runner = DlaRunner(parsed(body, out=0.75))
    found = runner.run(images)
    # Two roundings at most: of an average in the input's steps, and of the result.
    assert np.max(np.abs(found - np.clip(expected(images), -96, 95.25))) <= 0.375 + 0.51
    assert not runner.layers.floating
    assert runner.layers.integer or runner.layers.table


def test_what_has_no_integer_form_is_listed():
    runner = DlaRunner(parsed("r = HardSwish(d)"))
    images = np.random.default_rng(3).normal(size=(2, 2, 5, 5)).astype(np.float32)
    assert np.array_equal(runner.run(images), OrtRunner(parsed("r = HardSwish(d)")).run(images))
    assert list(runner.layers.floating.values()) == ["HardSwish: HardSwish has no integer form here"]


def test_models_without_scales_and_with_control_flow_are_refused():
    plain = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }'
    )
    with pytest.raises(InputError, match="expected a model with Q/DQ"):
        DlaRunner(plain)


def test_sums_of_the_high_bits_alone_are_held_against_the_bound_too():
    weights = np.full((4, 20_000, 1, 1), -128, np.int8)  # the low bits of -128 are zero
    images = np.full((1, 20_000, 5, 5), -64.0, np.float32)
    runner = DlaRunner(parsed("r = Conv(d, w)", 20_000, out=1e6, w8=weights, ws=np.ones(4, np.float32)))
    runner.run(images)
    assert list(runner.layers.floating.values()) == ["Conv: its sums are too long to be exact here"]
