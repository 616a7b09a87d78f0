"""Masks of comparisons and logic on random tensors: the outputs stay, or it refuses with a reason."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.rewrites.base import Bounds, Rewrite, Safety
from dlaflow.rewrites.constant_mask import ConstantMask
from dlaflow.rewrites.fix import fix
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.masks import ComparisonByStep, LogicInFloats, SelectByMask
from dlaflow.rewrites.search import FixConfig
from dlaflow.targets.target import resolve_target

few = settings(deadline=None, max_examples=20)
COMPARISONS = st.sampled_from(["Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"])
LOGIC = st.sampled_from(["And", "Or", "Xor"])
OPERANDS = st.sampled_from(["x", "r", "k", "c"])
SHAPE = (2, 3, 4, 5)
WEIGHTS = {
    "k": np.array(0.25, np.float32),
    "c": np.array([0.0, 0.5, -0.5], np.float32).reshape(1, 3, 1, 1),
    "zero": np.array(0, np.float32),
}
FP16 = resolve_target("agx-orin-64gb", precision="fp16")


@given(compare=COMPARISONS, first=st.sampled_from(["x", "r"]), second=OPERANDS, swap=st.booleans(), rank=st.booleans())
@few
def test_comparisons(build: Callable, compare: str, first: str, second: str, swap: bool, rank: bool) -> None:
    """Equal values on both sides come from Relu, whose zeros meet each other and those of x."""
    if first == second:
        return
    pair = f"{second}, {first}" if swap else f"{first}, {second}"
    lines = ["s = Squeeze(x)"] if rank else []
    text = "\n".join([*lines, "r = Relu(x)", f"m = {compare}({pair})", "y = Cast<to=1>(m)"])
    changed = _changed(build(text, SHAPE, WEIGHTS), ComparisonByStep())
    assert compare not in changed
    assert "Cast" not in changed


@given(logic=LOGIC, first=COMPARISONS, invert=st.booleans(), constant=st.booleans(), again=LOGIC)
@few
def test_logic(rewritten: Callable, logic: str, first: str, invert: bool, constant: bool, again: str) -> None:
    lines = ["r = Relu(x)", f"a = {first}(x, r)", "b = Less(x, k)", f"p = {logic}(a, {'t' if constant else 'b'})"]
    lines += [f"q = {again}(p, b)", "i = Not(q)", f"y = Cast<to=1>({'i' if invert else 'q'})"]
    mask = np.array([True, False, True]).reshape(1, 3, 1, 1)
    outcome = rewritten(LogicInFloats(), "\n".join(lines), SHAPE, {**WEIGHTS, "t": mask})
    assert outcome.error == 0
    assert not {"And", "Or", "Xor", "Not"} & set(outcome.ops)
    assert "DLA270" not in outcome.against()


@given(compare=COMPARISONS, a=OPERANDS, b=st.sampled_from(["x", "s", "k", "zero"]), first=OPERANDS, second=OPERANDS)
@few
def test_where(rewritten: Callable, compare: str, a: str, b: str, first: str, second: str) -> None:
    if {first, second} <= {"k", "c"} or (a == b and first == second):
        return
    lines = ["r = Relu(x)", "s = Sigmoid(x)", f"m = {compare}({first}, {second})", f"y = Where(m, {a}, {b})"]
    outcome = rewritten(SelectByMask(), "\n".join(lines), SHAPE, WEIGHTS)
    assert outcome.error == 0
    assert "Where" not in outcome.ops or outcome.refused or not outcome.changed


@given(
    compare=st.sampled_from(["Greater", "Less", "GreaterOrEqual", "LessOrEqual"]),
    swap=st.booleans(),
    flip=st.booleans(),
)
@few
def test_the_larger_or_smaller_of_two(rewritten: Callable, compare: str, swap: bool, flip: bool) -> None:
    pair, kept = ("l, x" if swap else "x, l"), ("k, x" if flip else "x, k")
    weights = {**WEIGHTS, "l": WEIGHTS["k"].copy()}
    outcome = rewritten(SelectByMask(), f"m = {compare}({pair})\ny = Where(m, {kept})", SHAPE, weights)
    assert outcome.error == 0
    assert outcome.ops in (["Max"], ["Min"])


@pytest.mark.parametrize(
    "text", ["m = Greater(x, zero)\ny = Where(m, x, none)", "m = Less(x, none)\ny = Where(m, zero, x)"]
)
def test_what_lies_above_zero_is_a_relu(rewritten: Callable, text: str) -> None:
    outcome = rewritten(SelectByMask(), text, SHAPE, {**WEIGHTS, "none": np.zeros((1, 1, 1, 1), np.float32)})
    assert outcome.error == 0
    assert outcome.ops == ["Relu"]


@pytest.mark.parametrize("logic", ["And", "Or", "Xor"])
@pytest.mark.parametrize("mode", ["hybrid", "standalone"])
def test_masks_inside_a_network_stay_on_the_dla(build: Callable, logic: str, mode: str) -> None:
    text = f"""
        d = Conv(x, w)
        a = Greater(d, x)
        b = LessOrEqual(x, k)
        m = {logic}(a, b)
        n = Not(m)
        g = Where(n, d, x)
        y = Conv(g, w)
    """
    path = build(text, (1, 3, 4, 5), {**WEIGHTS, "w": np.ones((3, 3, 1, 1), np.float32) / 3})
    target = resolve_target("agx-orin-64gb", precision="fp16", mode=mode)
    report = fix(path, target, FixConfig(allow=Safety.TOLERANCE)).report
    assert (report.before.loadables, report.after.loadables, report.after.switches) == (2, 1, 0)
    assert report.after.standalone_ok
    assert all(each.relative < 1e-5 for each in report.proof)


@pytest.mark.parametrize(
    ("text", "rewrite", "reason"),
    [
        ("m = Greater(x, k)\ny = Cast<to=1>(m)", ComparisonByStep(), "INT8"),
        ("m = Greater(x, k)\ny = Where(m, x, f)", SelectByMask(), "FP16"),
        ("p = ReduceMax<axes=[2,3]>(x)\nm = Greater(x, k)\ny = Where(m, p, zero)", SelectByMask(), ""),
        (
            "p = ReduceMax<axes=[2,3]>(x)\nm = Greater(p, k)\nv = Where(m, p, w)\ny = Add(x, v)",
            SelectByMask(),
            "spreads",
        ),
        ("e = Exp(x)\nv = Sub(e, one)\nm = Greater(x, zero)\ny = Where(m, x, v)", SelectByMask(), "infinity of Exp"),
        ("n = Min(x, one)\ne = Exp(n)\nm = Greater(x, zero)\ny = Where(m, x, e)", SelectByMask(), ""),
        ("l = Log(x)\nm = Greater(x, zero)\ny = Where(m, l, zero)", SelectByMask(), "infinity of Log"),
        ("q = Div(k, x)\nm = Greater(x, zero)\ny = Where(m, q, zero)", SelectByMask(), "infinity of Div"),
        ("q = Pow(x, two)\nm = Greater(x, zero)\ny = Where(m, q, zero)", SelectByMask(), ""),
        ("e = Exp(x)\ny = Where(t, e, zero)", ConstantMask(), "infinity of Exp"),
        ("e = Sigmoid(x)\ny = Where(t, e, zero)", ConstantMask(), ""),
    ],
)
def test_refusals(build: Callable, text: str, rewrite: Rewrite, reason: str) -> None:
    more = {"f": np.array(-1e9, np.float32), "w": np.zeros((1, 1, 4, 5), np.float32), "one": np.array(1, np.float32)}
    more |= {"two": np.array(2, np.float32), "t": np.array([True, False, True]).reshape(1, 3, 1, 1)}
    draft = load_draft(build(text, SHAPE, {**WEIGHTS, **more}), None)[0]
    edits, refused = rewrite.find(draft, Bounds(resolve_target("agx-orin-64gb", precision="int8")))
    assert bool(edits) == (not reason)
    assert all(reason in each for each in refused.values())


def _changed(path, rewrite) -> list[str]:
    """The operators after a rewrite that answers in FP16, whose outputs are compared here."""
    from dlaflow.rewrites.prove import Executable, compare

    first = load_draft(path, None)[0]
    edits, _ = rewrite.find(first, Bounds(FP16))
    draft = first.apply(edits)
    evidence = compare(Executable(path), Executable(draft.proto()), {"x": SHAPE})
    assert max(each.relative for each in evidence) == 0
    return [node.op_type for node in draft.nodes]
