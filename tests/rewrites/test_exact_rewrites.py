"""Every exact rewrite on random shapes and attributes: the outputs stay, or it refuses with a reason."""

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
from dlaflow.rewrites.hard_activations import ClipByElements, HardActivation, LeakyByElements
from dlaflow.rewrites.pooling_windows import PoolingWindows
from dlaflow.rewrites.reductions import ChannelReduction, MeanPooling
from dlaflow.rewrites.registry import REWRITES
from dlaflow.rewrites.resize import ResizeByScales
from dlaflow.rewrites.transposed_convolution import TransposedConvolution

BOUND = 2e-5
SIDES = st.integers(1, 24)
few = settings(deadline=None, max_examples=12)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def longs(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_every_rewrite_has_an_id_and_a_line_of_its_own() -> None:
    assert len({rewrite.id for rewrite in REWRITES}) == len(REWRITES)
    assert all(rewrite.answers and rewrite.operators and rewrite().title for rewrite in REWRITES)


@given(n=st.integers(1, 3), c=st.integers(1, 5), h=SIDES, w=SIDES)
@few
def test_global_average_pool(rewritten: Callable, n: int, c: int, h: int, w: int) -> None:
    outcome = rewritten(MeanPooling(), "y = GlobalAveragePool(x)", (n, c, h, w))
    assert outcome.error < BOUND
    assert "GlobalAveragePool" not in outcome.ops
    for node in outcome.draft.nodes:
        if node.op_type == "AveragePool":
            assert max(node.attribute[0].ints) <= 8


@given(h=SIDES, w=SIDES, axes=st.sampled_from([(2, 3), (-1,), (2,), (-2, -1)]), keep=st.booleans())
@few
def test_mean_over_h_and_w(rewritten: Callable, h: int, w: int, axes: tuple[int, ...], keep: bool) -> None:
    text = f"y = ReduceMean<axes=[{','.join(map(str, axes))}], keepdims={int(keep)}>(x)"
    outcome = rewritten(MeanPooling(), text, (2, 3, h, w))
    assert outcome.changed
    assert outcome.error < BOUND


def test_a_mean_beyond_every_window_is_refused(rewritten: Callable) -> None:
    outcome = rewritten(MeanPooling(), "y = GlobalAveragePool(x)", (1, 2, 37, 4))
    assert not outcome.changed
    assert "37x4" in next(iter(outcome.refused.values()))


@given(h=st.integers(1, 6), w=st.integers(1, 6), k=st.integers(1, 9), alpha=st.floats(0.5, 2), flip=st.booleans())
@few
def test_flatten_and_gemm(rewritten: Callable, h: int, w: int, k: int, alpha: float, flip: bool) -> None:
    features = 3 * h * w
    weight = random(k, features) if flip else random(features, k)
    text = f"f = Flatten(x)\ny = Gemm<alpha={alpha:.3f}, beta=0.5, transB={int(flip)}>(f, w, b)"
    outcome = rewritten(FullyConnected(), text, (2, 3, h, w), {"w": weight, "b": random(k)})
    assert outcome.ops == ["Conv", "Reshape"]
    assert outcome.error < BOUND


def test_the_reshape_moves_to_the_output(rewritten: Callable) -> None:
    text = """
        f = Flatten(x)
        a = Gemm(f, w1, b1)
        h = HardSwish(a)
        s = Mul(h, factor)
        m = MatMul(s, w2)
        z = Add(m, b2)
        y = Softmax<axis=-1>(z)
    """
    weights = {"w1": random(32, 6), "b1": random(6), "factor": random(6), "w2": random(6, 5), "b2": random(1, 5)}
    outcome = rewritten(FullyConnected(), text, (2, 2, 4, 4), weights)
    assert outcome.ops == ["Conv", "HardSwish", "Mul", "Conv", "Add", "Softmax", "Reshape"]
    assert outcome.error < BOUND


def test_a_gate_through_linear_layers_needs_no_reshape(rewritten: Callable) -> None:
    text = """
        p = AveragePool<kernel_shape=[4,4]>(x)
        f = Flatten(p)
        a = Gemm(f, w1, b1)
        r = Relu(a)
        u = Gemm(r, w2, b2)
        g = Sigmoid(u)
        s = Reshape(g, shape)
        y = Mul(x, s)
    """
    weights = {"w1": random(8, 3), "b1": random(3), "w2": random(3, 8), "b2": random(8), "shape": longs(2, 8, 1, 1)}
    outcome = rewritten(FullyConnected(), text, (2, 8, 4, 4), weights)
    assert "Reshape" not in outcome.ops
    assert "Flatten" not in outcome.ops
    assert outcome.error < BOUND


def test_products_on_the_last_axis_lose_their_transposes(rewritten: Callable) -> None:
    text = """
        t = Transpose<perm=[0,2,3,1]>(x)
        m = MatMul(t, w1)
        a = Add(m, b1)
        r = Relu(a)
        z = MatMul(r, w2)
        y = Transpose<perm=[0,3,1,2]>(z)
    """
    outcome = rewritten(FullyConnected(), text, (2, 3, 4, 5), {"w1": random(3, 6), "b1": random(6), "w2": random(6, 3)})
    assert outcome.error < BOUND
    assert outcome.ops.count("Transpose") <= 2


@given(op=st.sampled_from(["HardSwish", "HardSigmoid", "HardSigmoid<alpha=0.16, beta=0.6>"]), h=SIDES)
@few
def test_hard_activations(rewritten: Callable, op: str, h: int) -> None:
    name, _, rest = op.partition("<")
    text = f"y = {name}{'<' + rest if rest else ''}(x)"
    for opset in (14, 17):
        outcome = rewritten(HardActivation(), text, (1, 3, h, 4), opset=opset)
        assert name not in outcome.ops
        assert outcome.error < BOUND


@given(low=st.sampled_from([None, -4.0, 0.0, 0.5]), high=st.sampled_from([None, 0.75, 6.0, 200.0]))
@few
def test_clip(rewritten: Callable, low: float | None, high: float | None) -> None:
    weights = {name: np.array(value, np.float32) for name, value in (("lo", low), ("hi", high)) if value is not None}
    text = f"y = Clip(x, {'lo' if low is not None else ''}{', hi' if high is not None else ''})"
    if low is None:
        return
    outcome = rewritten(ClipByElements(), text, (1, 3, 4, 4), weights)
    assert outcome.error < BOUND
    assert ("Clip" in outcome.ops) == (low == 0.0 and high == 6.0)


@given(alpha=st.floats(-0.5, 1.5))
@few
def test_leaky_relu_before_tensorrt_8(rewritten: Callable, alpha: float) -> None:
    outcome = rewritten(LeakyByElements(), f"y = LeakyRelu<alpha={alpha:.4f}>(x)", tensorrt="7.1.3")
    assert outcome.error < BOUND
    assert outcome.changed == (0 <= round(alpha, 4) <= 1)
    assert outcome.changed != bool(outcome.refused)


@pytest.mark.parametrize(
    ("text", "op"),
    [
        ("y = Div(x, c)", "Div"),
        ("y = Neg(x)", "Neg"),
        ("y = Pow(x, two)", "Pow"),
        ("y = Pow(x, three)", "Pow"),
        ("y = Sub(c, x)", "Sub"),
        ("y = Mean(x, x)", "Mean"),
    ],
)
def test_arithmetic(rewritten: Callable, text: str, op: str) -> None:
    weights = {"c": random(1, 4, 1, 1) + 4, "two": np.array(2, np.float32), "three": np.array(3, np.float32)}
    outcome = rewritten(Arithmetic(), text, (1, 4, 8, 8), weights)
    assert op not in outcome.ops
    assert outcome.error < BOUND
    for node in outcome.draft.nodes:
        assert len(set(node.input)) == len(node.input)


@pytest.mark.parametrize("text", ["y = Mul(x, x)", "y = Add(x, x)"])
def test_the_same_tensor_twice(rewritten: Callable, text: str) -> None:
    outcome = rewritten(Arithmetic(), text)
    assert outcome.changed
    assert outcome.error < BOUND
    assert all(node.input[0] != node.input[1] for node in outcome.draft.nodes)


@pytest.mark.parametrize(("text", "reason"), [("y = Div(x, z)", "zero"), ("y = Pow(x, half)", "0.5")])
def test_arithmetic_refuses(build: Callable, text: str, reason: str) -> None:
    from dlaflow.rewrites.base import Bounds
    from dlaflow.rewrites.load import load_draft
    from dlaflow.targets.target import resolve_target

    weights = {"z": np.zeros((1,), np.float32), "half": np.array(0.5, np.float32)}
    draft = load_draft(build(text, (1, 4, 8, 8), weights), None)[0]
    edits, refused = Arithmetic().find(draft, Bounds(resolve_target("agx-orin-64gb")))
    assert not edits
    assert reason in next(iter(refused.values()))


@given(k=st.integers(2, 20), stride=st.integers(1, 3), side=st.integers(20, 28), data=st.data())
@few
def test_large_maximum_pools(rewritten: Callable, k: int, stride: int, side: int, data: st.DataObject) -> None:
    pads = [data.draw(st.integers(0, k // 2)) for _ in range(4)]
    text = f"y = MaxPool<kernel_shape=[{k},{k}], strides=[{stride},{stride}], pads={pads}>(x)"
    outcome = rewritten(PoolingWindows(), text, (1, 2, side, side))
    assert outcome.error == 0
    assert outcome.changed == (k > 8)
    for node in outcome.draft.nodes:
        found = {each.name: list(each.ints) for each in node.attribute}
        assert max(found["kernel_shape"]) <= 8
        assert all(pad < size for pad, size in zip(found["pads"], found["kernel_shape"] * 2, strict=True))


@given(k=st.integers(9, 16), stride=st.integers(1, 4), pad=st.integers(0, 3))
@few
def test_large_average_pools(rewritten: Callable, k: int, stride: int, pad: int) -> None:
    text = f"y = AveragePool<kernel_shape=[{k},{k}], strides=[{stride},{stride}], pads=[{pad},{pad},{pad},{pad}], "
    outcome = rewritten(PoolingWindows(), text + "count_include_pad=1>(x)", (1, 2, 20, 20))
    assert outcome.changed
    assert outcome.error < BOUND
    refused = rewritten(PoolingWindows(), text + "count_include_pad=0>(x)", (1, 2, 20, 20))
    assert refused.changed == (pad == 0)


@given(
    op=st.sampled_from(["AveragePool", "MaxPool"]), h=st.integers(1, 12), w=st.integers(1, 12),
    kernel=st.tuples(st.integers(1, 30), st.integers(1, 30)), count=st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=30)
def test_a_window_that_hangs_over_sees_the_image_alone(
    rewritten: Callable, op: str, h: int, w: int, kernel: tuple[int, int], count: bool
) -> None:
    more = ", count_include_pad=1" if count and op == "AveragePool" else ""
    text = f"y = {op}<kernel_shape={list(kernel)}, strides={list(kernel)}, ceil_mode=1{more}>(x)"
    outcome = rewritten(PoolingWindows(), text, (1, 2, h, w))
    assert outcome.error < BOUND
    if max(kernel) > 8 and kernel[0] >= h and kernel[1] >= w and max(h, w) <= 8:
        assert outcome.ops == [op]


@given(groups=st.integers(1, 4), each=st.integers(1, 4), h=st.integers(1, 6), w=st.integers(1, 6))
@few
def test_channel_shuffle(rewritten: Callable, groups: int, each: int, h: int, w: int) -> None:
    c = groups * each
    text = "a = Relu(x)\nr = Reshape(a, s)\nt = Transpose<perm=[0,2,1,3,4]>(r)\nz = Reshape(t, e)\ny = Relu(z)"
    outcome = rewritten(DataMovement(), text, (2, c, h, w), {"s": longs(2, groups, each, h, w), "e": longs(2, c, h, w)})
    assert outcome.error == 0
    if min(groups, each) > 1:
        assert outcome.ops == ["Relu", "Conv", "Relu"]


@given(b=st.integers(2, 4), c=st.integers(1, 3), h=st.integers(1, 4), mode=st.sampled_from(["DCR", "CRD"]))
@few
def test_depth_to_space_and_back(rewritten: Callable, b: int, c: int, h: int, mode: str) -> None:
    deep = rewritten(
        DataMovement(), f'z = DepthToSpace<blocksize={b}, mode="{mode}">(x)\ny = Relu(z)', (2, c * b * b, h, 3)
    )
    assert deep.ops == ["ConvTranspose", "Relu"]
    wide = rewritten(DataMovement(), f"z = SpaceToDepth<blocksize={b}>(x)\ny = Relu(z)", (2, c, h * b, 3 * b))
    assert wide.ops == ["Conv", "Relu"]
    assert deep.error == wide.error == 0


def test_pixel_shuffle_written_out(rewritten: Callable) -> None:
    text = "r = Reshape(x, s)\nt = Transpose<perm=[0,1,4,2,5,3]>(r)\nz = Reshape(t, e)\ny = Relu(z)"
    outcome = rewritten(DataMovement(), text, (1, 12, 5, 4), {"s": longs(1, 3, 2, 2, 5, 4), "e": longs(1, 3, 10, 8)})
    assert outcome.ops == ["ConvTranspose", "Relu"]
    assert outcome.error == 0


@given(k=st.integers(1, 5), s=st.integers(1, 4), d=st.integers(1, 2), groups=st.integers(1, 3), data=st.data())
@few
def test_transposed_convolutions(rewritten: Callable, k: int, s: int, d: int, groups: int, data: st.DataObject) -> None:
    extra = data.draw(st.integers(0, s - 1))
    reach = d * (k - 1)
    pads = [data.draw(st.integers(0, reach)) for _ in range(4)]
    options = f"strides=[{s},{s}], dilations=[{d},{d}], group={groups}, pads={pads}, output_padding=[{extra},{extra}]"
    if any((6 - 1) * s + reach + 1 - pads[a] - pads[a + 2] + extra < 1 for a in (0, 1)):
        return
    weights = {"w": random(groups * 2, 3, k, k), "b": random(groups * 3)}
    for tensorrt in ("10.3.0", "8.2.1"):
        outcome = rewritten(
            TransposedConvolution(), f"y = ConvTranspose<{options}>(x, w, b)", (1, groups * 2, 6, 6), weights,
            tensorrt=tensorrt,
        )  # fmt: skip
        assert outcome.error < BOUND
        assert outcome.changed == (any(pads) or extra > 0 or d > 1 or groups > 1)


@given(
    factor=st.integers(1, 4), side=st.integers(1, 6),
    mode=st.sampled_from(["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"]),
    rounding=st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]),
)  # fmt: skip
@settings(deadline=None, max_examples=30)
def test_nearest_resize_by_size(rewritten: Callable, factor: int, side: int, mode: str, rounding: str) -> None:
    text = f'y = Resize<mode="nearest", coordinate_transformation_mode="{mode}", nearest_mode="{rounding}">(x, , , n)'
    weights = {"n": longs(1, 3, side * factor, 4 * factor)}
    for tensorrt in ("10.3.0", "7.1.3"):
        outcome = rewritten(ResizeByScales(), text, (1, 3, side, 4), weights, tensorrt=tensorrt)
        assert outcome.error == 0
        assert outcome.changed != bool(outcome.refused)
        if outcome.changed:
            assert outcome.ops == ["Resize" if tensorrt == "10.3.0" else "ConvTranspose"]


def test_a_linear_resize_by_no_whole_factor_is_refused(rewritten: Callable) -> None:
    text = 'y = Resize<mode="linear", coordinate_transformation_mode="pytorch_half_pixel">(x, , , n)'
    odd = rewritten(ResizeByScales(), text, (1, 3, 4, 5), {"n": longs(1, 3, 7, 10)})
    assert "whole factor" in next(iter(odd.refused.values()))


def test_a_convolution_beyond_the_buffer(rewritten: Callable) -> None:
    text = "y = Conv<pads=[1,1,1,1]>(x, w, b)"
    outcome = rewritten(ConvolutionParts(), text, (1, 512, 4, 512), {"w": random(2, 512, 3, 3), "b": random(2)})
    assert outcome.ops.count("Conv") >= 2
    assert outcome.error < BOUND
    small = rewritten(ConvolutionParts(), text, (1, 8, 4, 16), {"w": random(2, 8, 3, 3), "b": random(2)})
    assert not small.changed


@given(axes=st.sampled_from([(1,), (2, 3), (1, 2, 3), (-1,)]), op=st.sampled_from(["Sum", "Mean"]), keep=st.booleans())
@few
def test_channel_reductions(rewritten: Callable, axes: tuple[int, ...], op: str, keep: bool) -> None:
    given_axes = op == "Sum"
    inner = "(x, a)" if given_axes else "(x)"
    options = f"keepdims={int(keep)}" + ("" if given_axes else f", axes=[{','.join(map(str, axes))}]")
    outcome = rewritten(
        ChannelReduction(),
        f"y = Reduce{op}<{options}>{inner}",
        (2, 5, 4, 3),
        {"a": longs(*axes)} if given_axes else None,
    )
    assert outcome.error < BOUND
    assert outcome.changed == (op == "Sum" or 1 in axes)


def test_an_expand_that_a_softmax_reads_is_refused(rewritten: Callable) -> None:
    text = "p = AveragePool<kernel_shape=[8,8]>(x)\ne = Expand(p, n)\ny = Softmax(e)"
    kept = rewritten(Expansion(), text, (1, 4, 8, 8), {"n": longs(1, 4, 8, 8)})
    assert kept.refused


def test_tensors_without_elements_are_left_alone(rewritten: Callable) -> None:
    """A slice may come out empty: nothing of it can be a convolution."""
    bounds = {name: np.array([value], np.int64) for name, value in (("low", 8), ("high", 8), ("axis", 3))}
    outcome = rewritten(DataMovement(), "y = Slice(x, low, high, axis)", (1, 4, 8, 8), bounds)
    assert (outcome.changed, outcome.ops) == (False, ["Slice"])
