"""Splits, focus, buffers, element-wise forms and copies on random shapes: the outputs stay, or it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.rewrites.arithmetic import Arithmetic
from dlaflow.rewrites.broadcasting import Expansion
from dlaflow.rewrites.convolution_parts import ConvolutionParts
from dlaflow.rewrites.data_movement import DataMovement
from dlaflow.rewrites.fully_connected import FullyConnected
from dlaflow.rewrites.resize import ResizeByScales

BOUND = 2e-5
few = settings(deadline=None, max_examples=10)
RELEASES = st.sampled_from(["10.3.0", "8.2.1", "7.1.3"])


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def longs(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@given(
    n=st.integers(1, 2), c=st.integers(1, 4), h=st.integers(1, 5), tensorrt=RELEASES,
    text=st.sampled_from(
        ["y = Div(x, k)", "y = Neg(x)", "y = Pow(x, two)", "y = Sub(k, x)", "y = Sub(x, k)", "y = Mean(x, x)",
         "y = Mul(x, x)", "y = Add(x, x)", "r = Relu(x)\ny = Sub(x, r)", "y = Abs(x)"]
    ),
)  # fmt: skip
@few
def test_element_wise_forms(rewritten: Callable, n: int, c: int, h: int, tensorrt: str, text: str) -> None:
    weights = {"k": random(1, c, 1, 1) + 4, "two": np.array(2, np.float32)}
    outcome = rewritten(Arithmetic(), text, (n, c, h, 3), weights, tensorrt=tensorrt)
    assert outcome.error < BOUND
    for node in outcome.draft.nodes:
        assert len(set(node.input)) == len(node.input)


@given(
    parts=st.lists(st.integers(1, 4), min_size=2, max_size=4), c=st.integers(1, 3), k=st.sampled_from([1, 3]),
    act=st.sampled_from(["", "Relu", "Sigmoid", "SiLU"]), bias=st.booleans(),
)  # fmt: skip
@few
def test_splits_behind_a_convolution(
    rewritten: Callable, parts: list[int], c: int, k: int, act: str, bias: bool
) -> None:
    names = [f"p{index}" for index in range(len(parts))]
    lines = [f"c = Conv<pads=[{k // 2},{k // 2},{k // 2},{k // 2}]>(x, w{', b' if bias else ''})"]
    lines += ["g = Sigmoid(c)", "a = Mul(c, g)"] if act == "SiLU" else [f"a = {act}(c)"] if act else []
    lines += [f"{', '.join(names)} = Split<axis=1>({'a' if act else 'c'}, n)"]
    lines += [f"y = Concat<axis=1>({', '.join(f'{name}' for name in [*reversed(names), names[0]])})"]
    weights = {"w": random(sum(parts), c, k, k), "b": random(sum(parts)), "n": longs(*parts)}
    outcome = rewritten(DataMovement(), "\n".join(lines), (2, c, 5, 4), weights)
    assert outcome.error < BOUND
    assert "Split" not in outcome.ops


@given(c=st.integers(1, 4), h=st.integers(1, 5), w=st.integers(1, 5), order=st.permutations(range(4)))
@few
def test_focus_in_any_order(rewritten: Callable, c: int, h: int, w: int, order: list[int]) -> None:
    lines = []
    for index, number in enumerate(order):
        lines.append(f"r{index} = Slice(x, s{number // 2}, e, h, two)")
        lines.append(f"c{index} = Slice(r{index}, s{number % 2}, e, w, two)")
    lines += ["f = Concat<axis=1>(c0, c1, c2, c3)", "y = Relu(f)"]
    weights = {"s0": longs(0), "s1": longs(1), "e": longs(99), "h": longs(2), "w": longs(3), "two": longs(2)}
    outcome = rewritten(DataMovement(), "\n".join(lines), (1, c, 2 * h, 2 * w), weights)
    assert outcome.ops == ["Conv", "Relu"]
    assert outcome.error == 0


@given(channels=st.lists(st.integers(0, 5), min_size=1, max_size=8), start=st.integers(0, 2), step=st.integers(1, 2))
@few
def test_gathers_and_slices_of_channels(rewritten: Callable, channels: list[int], start: int, step: int) -> None:
    text = "g = Gather<axis=1>(x, i)\nr = Relu(g)\nz = Slice(r, s, e, one, t)\ny = Relu(z)"
    if start >= len(channels):
        return
    weights = {"i": longs(*channels), "s": longs(start), "e": longs(9), "one": longs(1), "t": longs(step)}
    outcome = rewritten(DataMovement(), text, (2, 6, 3, 4), weights)
    assert outcome.error == 0
    assert not {"Gather", "Slice"} & set(outcome.ops)


@given(c=st.integers(1, 4), factors=st.tuples(st.integers(1, 5), st.integers(1, 5)), split=st.booleans())
@few
def test_repeats_by_expand(rewritten: Callable, c: int, factors: tuple[int, int], split: bool) -> None:
    """Expand of one pixel, and of a map whose rows and columns a Reshape took apart (an upsampling by hand)."""
    h, w = (3, 4) if split else (1, 1)
    high, wide = factors
    text = "a = Reshape(x, apart)\nb = Expand(a, n)\nr = Reshape(b, shape)\ny = Relu(r)"
    weights = {"apart": longs(2, c, h, 1, w, 1), "n": longs(1, 1, 1, high, 1, wide), "shape": longs(2, c, h * high, -1)}
    if not split:
        text, weights = "b = Expand(x, n)\ny = Relu(b)", {"n": longs(1, 1, high, wide)}
    for tensorrt in ("10.3.0", "8.0.1"):
        outcome = rewritten(DataMovement(), text, (2, c, h, w), weights, tensorrt=tensorrt)
        assert outcome.error == 0
        assert set(outcome.ops) <= {"Resize" if tensorrt == "10.3.0" else "ConvTranspose", "Relu"}


@given(times=st.integers(1, 4), places=st.lists(st.integers(-3, 2), min_size=1, max_size=5))
@few
def test_tiles_and_elements_of_channels(rewritten: Callable, times: int, places: list[int]) -> None:
    elements = np.ones((2, len(places), 4, 5), np.int64) * np.array(places).reshape(1, -1, 1, 1)
    text = "r = Relu(x)\nt = Tile(r, n)\ns = Sigmoid(t)\ng = GatherElements<axis=1>(s, i)\ny = Relu(g)"
    outcome = rewritten(DataMovement(), text, (2, 3, 4, 5), {"n": longs(1, times, 1, 1), "i": elements})
    assert outcome.error == 0
    assert not {"GatherElements", "Tile"} & set(outcome.ops)


@given(
    c=st.sampled_from([300, 512, 700]), w=st.sampled_from([256, 400, 600]), k=st.sampled_from([1, 3, 5]),
    tensorrt=st.sampled_from(["10.3.0", "8.2.1"]), groups=st.sampled_from([1, 1, 2]),
)  # fmt: skip
@settings(deadline=None, max_examples=8)
def test_convolutions_and_the_buffer(rewritten: Callable, c: int, w: int, k: int, tensorrt: str, groups: int) -> None:
    text = f"y = Conv<pads=[{k // 2},{k // 2},{k // 2},{k // 2}], group={groups}>(x, w, b)"
    weights = {"w": random(2, c // groups, k, k), "b": random(2)}
    outcome = rewritten(ConvolutionParts(), text, (1, c, k, w), weights, tensorrt=tensorrt)
    assert outcome.error < BOUND
    if outcome.changed:
        assert ("Slice" in outcome.ops) == (tensorrt == "10.3.0")


def test_without_slice_ones_and_zeros_take_the_channels(rewritten: Callable) -> None:
    text = "y = Conv<pads=[1,1,1,1]>(x, w)"
    outcome = rewritten(ConvolutionParts(), text, (1, 512, 4, 512), {"w": random(2, 512, 3, 3)}, tensorrt="8.2.1")
    assert outcome.ops.count("Conv") >= 4
    assert "Slice" not in outcome.ops
    grouped = text.replace("pads", "group=2, pads")
    refused = rewritten(ConvolutionParts(), grouped, (1, 1024, 4, 512), {"w": random(2, 512, 3, 3)})
    assert "grouped" in next(iter(refused.refused.values()))


@given(c=st.integers(1, 4), h=st.integers(1, 6), w=st.integers(2, 6), op=st.sampled_from(["Mul", "Add", "Max"]))
@few
def test_expand_before_element_wise(rewritten: Callable, c: int, h: int, w: int, op: str) -> None:
    text = f"p = ReduceMean<axes=[2,3]>(x)\ne = Expand(p, n)\ny = {op}(e, x)"
    outcome = rewritten(Expansion(), text, (2, c, h, w), {"n": longs(1, 1, h, w)})
    assert outcome.ops == ["ReduceMean", op]
    assert outcome.error == 0


@given(
    factor=st.tuples(st.integers(1, 4), st.integers(1, 4)), side=st.integers(1, 6),
    mode=st.sampled_from(["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]),
)  # fmt: skip
@few
def test_linear_resize_by_size(rewritten: Callable, factor: tuple[int, int], side: int, mode: str) -> None:
    text = f'y = Resize<mode="linear", coordinate_transformation_mode="{mode}">(x, , , n)'
    outcome = rewritten(ResizeByScales(), text, (1, 3, side, 5), {"n": longs(1, 3, side * factor[0], 5 * factor[1])})
    assert outcome.changed
    assert outcome.error < BOUND


@given(n=st.integers(1, 2), h=st.integers(1, 4), w=st.integers(1, 4), layers=st.integers(1, 3), act=st.booleans())
@few
def test_products_on_the_last_axis(rewritten: Callable, n: int, h: int, w: int, layers: int, act: bool) -> None:
    lines = ["t0 = Transpose<perm=[0,2,3,1]>(x)"]
    for index in range(layers):
        lines += [f"m{index} = MatMul(t{index}, w)", f"t{index + 1} = {'Relu' if act else 'Tanh'}(m{index})"]
    lines += [f"y = Transpose<perm=[0,3,1,2]>(t{layers})"]
    outcome = rewritten(FullyConnected(), "\n".join(lines), (n, 5, h, w), {"w": random(5, 5)})
    assert outcome.error < BOUND
    assert outcome.ops.count("Conv") == layers
    assert "MatMul" not in outcome.ops


@pytest.mark.parametrize("side", [23, 29])
def test_a_focus_that_leaves_pixels_out_is_exact_too(rewritten: Callable, side: int) -> None:
    text = "z = Slice(x, s, e, h, two)\ny = Relu(z)"
    weights = {"s": longs(1), "e": longs(99), "h": longs(2), "two": longs(2)}
    outcome = rewritten(DataMovement(), text, (1, 2, side, 6), weights)
    assert outcome.error == 0
