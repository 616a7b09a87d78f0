"""Pads in front of every kind of window, and alone: the outputs stay, or it refuses with a reason."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dlaflow.graph.load import load_model
from dlaflow.placement.check import check_model
from dlaflow.rewrites.padding import Padding
from dlaflow.rewrites.prove import Executable
from dlaflow.rewrites.search import score_of
from dlaflow.targets.target import resolve_target

BOUND = 2e-5
few = settings(deadline=None, max_examples=25)
AMOUNT = st.integers(0, 3)
RELEASES = st.sampled_from(["10.3.0", "8.5.2", "8.2.1", "7.1.3"])


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def longs(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def spatial(sides: tuple[int, int, int, int]) -> np.ndarray:
    return longs(0, 0, sides[0], sides[1], 0, 0, sides[2], sides[3])


@given(
    sides=st.tuples(AMOUNT, AMOUNT, AMOUNT, AMOUNT), own=st.tuples(AMOUNT, AMOUNT, AMOUNT, AMOUNT),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)), step=st.integers(1, 3), dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]), auto=st.sampled_from(["", "SAME_UPPER", "SAME_LOWER", "VALID"]), tensorrt=RELEASES,
)  # fmt: skip
@few
def test_a_pad_goes_into_the_convolution(
    rewritten: Callable,
    sides: tuple[int, int, int, int],
    own: tuple[int, int, int, int],
    kernel: tuple[int, int],
    step: int,
    dilation: int,
    groups: int,
    auto: str,
    tensorrt: str,
) -> None:
    assume(any(sides) and not (auto.startswith("SAME") and dilation > 1))  # onnxruntime takes no SAME with dilation
    padding = f'auto_pad="{auto}"' if auto else f"pads={list(own)}"
    text = f"p = Pad(x, a)\ny = Conv<{padding}, strides=[{step},{step}], "
    text += f"dilations=[{dilation},{dilation}], group={groups}>(p, w)"
    weights = {"a": spatial(sides), "w": random(4, 4 // groups, *kernel)}
    outcome = rewritten(Padding(), text, (2, 4, 9, 11), weights, tensorrt=tensorrt)
    assert outcome.error < BOUND
    assert "Pad" not in outcome.ops
    if auto in ("", "VALID") and max(a + b for a, b in zip(sides, (0,) * 4 if auto else own, strict=True)) < min(
        kernel
    ):
        assert outcome.ops == ["Conv"]


@given(
    sides=st.tuples(AMOUNT, AMOUNT, AMOUNT, AMOUNT), own=st.integers(0, 1), kernel=st.integers(2, 5),
    step=st.integers(1, 3), value=st.sampled_from([0.0, -1.0, 0.5, float("-inf")]),
    before=st.sampled_from(["Identity", "Relu", "Sigmoid", "Tanh"]), ceil=st.integers(0, 1),
)  # fmt: skip
@few
def test_a_pad_goes_into_the_maximum_where_it_cannot_win(
    rewritten: Callable,
    sides: tuple[int, int, int, int],
    own: int,
    kernel: int,
    step: int,
    value: float,
    before: str,
    ceil: int,
) -> None:
    assume(any(sides) and ((max(sides) + own < kernel and not ceil) or np.isfinite(value)))
    text = f"r = {before}(x)\np = Pad(r, a, v)\n"
    text += (
        f"y = MaxPool<kernel_shape=[{kernel},{kernel}], strides=[{step},{step}], pads={[own] * 4}, ceil_mode={ceil}>(p)"
    )
    weights = {"a": spatial(sides), "v": np.array(value, np.float32)}
    outcome = rewritten(Padding(), text, (1, 3, 8, 7), weights)
    assert outcome.error < BOUND
    assert outcome.changed or outcome.refused
    wins = value > {"Relu": 0, "Sigmoid": 0, "Tanh": -1}.get(before, -np.inf)
    if wins:
        assert "Pad" in outcome.ops or "Conv" in outcome.ops
    elif not ceil and max(sides) + own < kernel:
        assert "Pad" not in outcome.ops
        assert "Conv" not in outcome.ops


@given(
    sides=st.tuples(AMOUNT, AMOUNT, AMOUNT, AMOUNT), own=st.integers(0, 1), kernel=st.integers(2, 5),
    step=st.integers(1, 3), include=st.integers(0, 1), tensorrt=RELEASES,
)  # fmt: skip
@few
def test_a_pad_goes_into_the_average_that_counts_it(
    rewritten: Callable,
    sides: tuple[int, int, int, int],
    own: int,
    kernel: int,
    step: int,
    include: int,
    tensorrt: str,
) -> None:
    assume(any(sides))
    text = f"p = Pad(x, a)\ny = AveragePool<kernel_shape=[{kernel},{kernel}], strides=[{step},{step}], "
    text += f"pads={[own] * 4}, count_include_pad={include}>(p)"
    outcome = rewritten(Padding(), text, (1, 3, 8, 7), {"a": spatial(sides)}, tensorrt=tensorrt)
    assert outcome.error < BOUND
    assert "Pad" not in outcome.ops


@given(
    top=st.integers(-2, 3), left=st.integers(-2, 3), bottom=st.integers(-2, 3), right=st.integers(-2, 3),
    channels=st.tuples(AMOUNT, AMOUNT), opset=st.sampled_from([10, 13, 17]), tensorrt=RELEASES,
)  # fmt: skip
@few
def test_a_pad_alone_is_a_convolution(
    rewritten: Callable,
    top: int,
    left: int,
    bottom: int,
    right: int,
    channels: tuple[int, int],
    opset: int,
    tensorrt: str,
) -> None:
    amounts = [0, channels[0], top, left, 0, channels[1], bottom, right]
    assume(any(amounts))
    weights = {"a": longs(*amounts)} if opset > 10 else {}
    text = ("p = Pad(x, a)" if opset > 10 else f"p = Pad<pads={amounts}>(x)") + "\ny = Relu(p)"
    outcome = rewritten(Padding(), text, (2, 3, 6, 5), weights, opset=opset, tensorrt=tensorrt)
    assert outcome.error == 0
    assert "Pad" not in outcome.ops


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('p = Pad<mode="reflect">(x, a)', "reflect"),
        ("p = Pad(x, n)", "batch"),
        ("p = Pad(x, a, one)", "pads with 1"),
        ("p = Pad(x, big)", "allowed"),
    ],
)
def test_what_has_no_form_is_refused(rewritten: Callable, text: str, reason: str) -> None:
    weights = {"a": spatial((1, 1, 1, 1)), "n": longs(1, 0, 0, 0, 0, 0, 0, 0), "one": np.array(1, np.float32)}
    weights["big"] = spatial((40, 0, 0, 0))
    outcome = rewritten(Padding(), text + "\ny = Relu(p)", (1, 2, 5, 5), weights)
    assert not outcome.changed
    assert reason in next(iter(outcome.refused.values()))


def test_one_pad_of_two_readers_goes_into_both_or_neither(rewritten: Callable) -> None:
    text = "p = Pad(x, a)\nc = Conv(p, w)\nd = Conv<strides=[2,2]>(p, w)\ne = MaxPool<kernel_shape=[3,3]>(p)"
    weights = {"a": spatial((1, 1, 1, 1)), "w": random(2, 2, 3, 3)}
    both = rewritten(Padding(), text + "\ny = Relu(c)\nz = Relu(d)", (1, 2, 7, 7), weights, outputs=("y", "z"))
    assert both.ops.count("Conv") == 2
    assert both.error < BOUND
    mixed = rewritten(Padding(), text + "\ny = Relu(c)\nz = Relu(e)", (1, 2, 7, 7), weights, outputs=("y", "z"))
    assert "Pad" not in mixed.ops
    assert mixed.error < BOUND


@pytest.mark.parametrize("mode", ["hybrid", "standalone"])
@pytest.mark.parametrize("tensorrt", ["8.5.2", "10.3.0"])
def test_nothing_gets_worse(rewritten: Callable, build: Callable, mode: str, tensorrt: str) -> None:
    text = """
        p = Pad(x, a)
        c = Conv<strides=[2,2]>(p, w)
        r = Relu(c)
        q = Pad(r, b)
        m = MaxPool<kernel_shape=[3,3], strides=[2,2]>(q)
        s = Pad(m, k)
        y = Relu(s)
    """
    weights = {"a": spatial((2, 2, 3, 3)), "b": spatial((0, 0, 1, 1)), "w": random(8, 4, 7, 7)}
    weights["k"] = longs(0, 4, 0, 0, 0, 4, 0, 0)
    target = resolve_target("agx-orin-64gb", tensorrt=tensorrt, mode=mode)
    outcome = rewritten(Padding(), text, (1, 4, 24, 24), weights, tensorrt=tensorrt)
    path = build(text, (1, 4, 24, 24), weights)
    before, after = check_model(load_model(path), target), check_model(outcome.draft.model(path), target)
    assert outcome.error < BOUND
    assert score_of(after) < score_of(before)
    assert (after.summary.loadables, after.summary.switches, after.summary.standalone_ok) == (1, 0, True)


@given(
    steps=st.lists(st.sampled_from(
        ["{y} = Relu({x})", "{y} = Clip({x}, low, high)", "{y} = Tanh({x})",
         "q{y} = QuantizeLinear({x}, s, z)\n{y} = DequantizeLinear(q{y}, s, z)",
         "q{y} = QuantizeLinear<axis=1>({x}, sc, zc)\n{y} = DequantizeLinear<axis=1>(q{y}, sc, zc)"]
    ), min_size=1, max_size=3), reader=st.sampled_from(["Conv(v, w)", "MaxPool<kernel_shape=[3,3]>(v)"]),
)  # fmt: skip
@few
def test_what_leaves_zeros_zero_may_stand_between(rewritten: Callable, steps: list[str], reader: str) -> None:
    lines, last = ["p = Pad(x, a)"], "p"
    for number, step in enumerate(steps):
        lines.append(step.format(x=last, y="v" if number == len(steps) - 1 else f"v{number}"))
        last = f"v{number}"
    weights = {
        "a": spatial((1, 0, 1, 2)), "w": random(2, 2, 3, 3), "low": np.array(-0.5, np.float32),
        "high": np.array(1, np.float32), "s": np.array(0.02, np.float32), "z": np.array(0, np.int8),
        "sc": np.array([0.02, 0.05], np.float32), "zc": np.zeros(2, np.int8),
    }  # fmt: skip
    outcome = rewritten(Padding(), "\n".join([*lines, f"y = {reader}"]), (1, 2, 7, 7), weights)
    assert outcome.error < BOUND
    assert "Pad" not in outcome.ops
    if "Conv" in reader:
        assert outcome.ops.count("Conv") == 1


def test_a_zero_that_becomes_another_number_stays_outside(rewritten: Callable) -> None:
    weights = {"a": spatial((1, 1, 1, 1)), "w": random(2, 2, 3, 3), "s": np.array(0.1, np.float32)}
    weights["z"] = np.array(7, np.uint8)
    for middle in ("v = Sigmoid(p)", "q = QuantizeLinear(p, s, z)\nv = DequantizeLinear(q, s, z)", "v = Add(p, s)"):
        outcome = rewritten(Padding(), f"p = Pad(x, a)\n{middle}\ny = Conv(v, w)", (1, 2, 7, 7), weights)
        assert outcome.ops.count("Conv") == 2
        assert outcome.error < BOUND


@pytest.mark.parametrize(
    "text", ["p = Pad(x, a, v)", "m = Expand(v, n)\np = Min(x, m)", "t = Tile(r, n)\np = Min(x, t)"]
)
def test_the_number_that_fills_in_is_no_size(build: Callable, text: str) -> None:
    """The smallest float in front of a MaxPool, and masks of -1e9, are no amounts: the model can be run."""
    weights = {
        "a": spatial((1, 1, 1, 1)), "v": np.array(np.finfo(np.float32).min), "n": longs(1, 2, 7, 7),
        "r": np.full((1, 1, 1, 1), -1e9, np.float32),
    }  # fmt: skip
    path = build(f"{text}\ny = MaxPool<kernel_shape=[3,3]>(p)", (1, 2, 7, 7), weights)
    Executable(path)
