"""Packing against loops that count bytes one by one, the descriptors that a real board printed, and rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.errors import InputError
from dlaflow.runtime.cudla import Tensor
from dlaflow.runtime.layouts import from_elements, layout_of, to_elements

GOLDEN_INPUT = Tensor("input'", 1966080, (1, 4, 512, 960), 2, 4, 0, 12, 0, (1, 3840, 0, 0, 0, 0, 0, 0))
GOLDEN_OUTPUT = Tensor("M0_519'", 131072, (1, 64, 32, 60), 1, 4, 3, 0, 0, (1, 64, 2048, 2048, 0, 0, 0, 0))
"""Printed on a DRIVE Orin: github.com/NVIDIA/cuda-samples issue 192."""


def test_the_descriptors_of_a_real_board():
    fed, made = layout_of(GOLDEN_INPUT), layout_of(GOLDEN_OUTPUT)
    assert (fed.name, fed.strides) == ("dla_hwc4", (1966080, 3840, 4, 1))
    assert (made.name, made.strides) == ("dla_linear", (131072, 2048, 64, 1))
    image = np.random.default_rng(0).integers(-128, 128, (1, 3, 512, 960), np.int8)
    data = fed.pack(image)
    assert data[100 * 3840 + 7 * 4 + 2] == int(image[0, 2, 100, 7]) % 256
    assert not any(data[3::4]), "the fourth channel is padding"


def described(layout, dims, kind, xavier=False):
    """A descriptor, its sizes computed here step by step, and where an element lies: a function of n, c, h, w."""
    n, c, h, w = dims
    size = 1 if kind == 4 else 2
    if layout == "linear":
        row = w * size
        while row % 64:
            row += 1
        strides, total = (size, row, row * h), row * h * c
        return Tensor("x", n * total, dims, 1, kind, 3, 0, 0, (*strides, 0, 0, 0, 0, 0)), (
            lambda i, j, k, m: i * total + j * row * h + k * row + m * size
        )
    if layout == "hwc4":
        channels = 1 if c == 1 else 4
        row = w * channels * size
        while row % (32 if xavier else 64):
            row += 1
        pixel = {(1, 4): 0, (1, 2): 5, (4, 4): 12, (4, 2): 8}[channels, kind]
        return Tensor("x", n * row * h, dims, 2, kind, 0, pixel, 0, (size, row, 0, 0, 0, 0, 0, 0)), (
            lambda i, j, k, m: i * row * h + k * row + (m * channels + j) * size
        )
    vector = 32 if kind == 4 else 16
    groups = 0
    while groups * vector < c:
        groups += 1
    plane = w * 32 * h
    return Tensor("x", n * groups * plane, dims, 3, kind, 2, 36, 0, (size, w * 32, plane, 0, 0, 0, 0, 0)), (
        lambda i, j, k, m: ((i * groups + j // vector) * h + k) * w * 32 + m * 32 + j % vector * size
    )


@st.composite
def cases(draw):
    layout, kind = draw(st.sampled_from(["linear", "hwc4", "feature"])), draw(st.sampled_from([2, 4]))
    c = draw(st.sampled_from([1, 2, 3, 4]) if layout == "hwc4" else st.integers(1, 70))
    dims = draw(st.integers(1, 3)), c, draw(st.integers(1, 4)), draw(st.integers(1, 70))
    return layout, dims, kind, draw(st.booleans()), draw(st.integers(0, 2**32 - 1))


@settings(deadline=None)
@given(cases())
def test_packing_is_what_a_loop_does(case):
    layout, dims, kind, xavier, seed = case
    tensor, place = described(layout, dims, kind, xavier)
    dtype = np.int8 if kind == 4 else np.float16
    values = np.random.default_rng(seed).integers(-128, 128, dims).astype(dtype)
    expected = bytearray(tensor.size)
    for index in np.ndindex(*dims):
        start = place(*index)
        expected[start : start + values.itemsize] = values[index].tobytes()
    found = layout_of(tensor)
    assert found.pack(values) == bytes(expected)
    assert (found.unpack(bytes(expected)) == values).all()
    noise = np.random.default_rng(seed).integers(0, 256, tensor.size, np.uint8)
    for index in np.ndindex(*dims):
        start = place(*index)
        noise[start : start + values.itemsize] = np.frombuffer(values[index].tobytes(), np.uint8)
    assert (found.unpack(noise.tobytes()) == values).all(), "what stands in the padding does not matter"


@pytest.mark.parametrize(
    "change",
    [
        {"strides": (1, 60, 1920, 1920, 0, 0, 0, 0)},
        {"strides": (1, 128, 4096, 4096, 0, 0, 0, 0)},
        {"strides": (1, 64, 1024, 1024, 0, 0, 0, 0)},
        {"strides": (1, 64, 0, 0, 0, 0, 0, 0)},
        {"strides": (2, 64, 2048, 2048, 0, 0, 0, 0)},
        {"strides": (1, 4294967295, 2048, 2048, 0, 0, 0, 0)},
        {"size": 131071},
        {"dims": (2, 64, 32, 60)},
        {"dims": (2, 64, 32, 60), "size": 300000},
        {"pixel_mapping": 1},
        {"format": 0},
        {"category": 0},
        {"format": 2, "category": 0},
        {"format": 3, "type": 1, "strides": (4, 64, 2048, 2048, 0, 0, 0, 0)},
    ],
)
def test_what_contradicts_the_documents_is_not_packed(change):
    with pytest.raises(InputError, match="not known") as caught:
        layout_of(GOLDEN_OUTPUT._replace(**change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("half-away", [1, 2, 3, -1, -3, 127, -128]),
        ("half-even", [0, 2, 2, 0, -2, 127, -128]),
        ("truncate", [0, 1, 2, 0, -2, 127, -128]),
    ],
)
def test_rounding(rounding, expected):
    layout = layout_of(described("linear", (1, 1, 1, 7), 4)[0])
    steps = np.array([0.5, 1.5, 2.5, -0.5, -2.5, 999, -999], np.float32)
    found = to_elements(steps.reshape(1, 1, 1, 7) * 0.25, layout, 0.25, rounding)
    assert found.ravel().tolist() == expected
    assert from_elements(found, layout, 0.25).ravel().tolist() == [value * 0.25 for value in expected]


@settings(deadline=None)
@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=40), st.sampled_from(["half-away", "half-even"]))
def test_quantising_is_off_by_half_a_step_at_most(values, rounding):
    layout = layout_of(described("linear", (1, 1, 1, len(values)), 4)[0])
    given_values = np.array(values, np.float32).reshape(1, 1, 1, -1)
    back = from_elements(to_elements(given_values, layout, 3 / 127, rounding), layout, 3 / 127)
    assert np.abs(back - given_values).max() <= 3 / 254 * (1 + 1e-6)


def test_values_that_no_tensor_takes():
    whole, half = (layout_of(described("linear", (1, 1, 1, 2), kind)[0]) for kind in (4, 2))
    values = np.array([[[[1.0, np.nan]]]], np.float32)
    for layout in (whole, half):
        with pytest.raises(InputError, match="no finite numbers"):
            to_elements(values, layout, 1.0, "half-away")
    with pytest.raises(InputError, match=r"has no scale.*--cache"):
        to_elements(np.ones((1, 1, 1, 2)), whole, None, "half-away")
    below = np.nextafter(np.full((1, 1, 1, 2), 0.5), 0)
    assert to_elements(below, whole, 1.0, "half-away").tolist() == [[[[0, 0]]]], "0.5 more would be 1"
    assert to_elements(np.full((1, 1, 1, 2), 1e9), half, None, "half-away").tolist() == [[[[65504, 65504]]]]
    with pytest.raises(InputError, match="do not fit"):
        whole.pack(np.zeros((1, 2, 1, 1), np.int8))
    with pytest.raises(InputError, match="not whole"):
        whole.unpack(b"")
    own = np.array([[[[1, -1]]]], np.int8)
    assert to_elements(own, whole, None, "half-away") is own
