"""What is known of a tensor's values holds for every input, and clamps that it makes idle go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.quantize.session import SessionOptions, open_session
from dlaflow.rewrites.hard_activations import HardActivation, IdleClamp
from dlaflow.rewrites.known_range import known_range
from dlaflow.rewrites.load import load_draft

WEIGHTS = {
    "low": np.array(-1, np.float32), "high": np.array(2, np.float32), "k": np.array([[[[0.5]], [[-2]]]], np.float32),
    "kc": np.linspace(-3, 1, 6, dtype=np.float32).reshape(1, 2, 1, 3),
}  # fmt: skip
STEPS = (
    "{y} = Relu({x})", "{y} = Sigmoid({x})", "{y} = Tanh({x})", "{y} = Clip({x}, low, high)", "{y} = Clip({x}, , high)",
    "{y} = Add({x}, k)", "{y} = Mul({x}, k)", "{y} = Max({x}, k)", "{y} = Min({x}, k)", "{y} = HardSwish({x})",
    "{y} = Concat<axis=2>({x}, kc)", "{y} = MaxPool<kernel_shape=[1,1]>({x})", "{y} = Abs({x})", "{y} = Neg({x})",
    "{y} = Transpose<perm=[0,1,3,2]>({x})", "{y} = HardSigmoid<alpha=0.5, beta=0.2>({x})", "{y} = Exp({x})",
    "s{y} = Sigmoid({x})\n{y} = Mul({x}, s{y})", "r{y} = Relu({x})\n{y} = Add(r{y}, {x})", "{y} = Softmax<axis=1>({x})",
)  # fmt: skip


@given(steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=6), last=st.sampled_from(STEPS[:4] + STEPS[7:9]))
@settings(deadline=None, max_examples=60)
def test_every_value_lies_within(rewritten: Callable, build: Callable, steps: list[str], last: str) -> None:
    lines, x, width = [], "x", 1
    for number, step in enumerate([*steps, last]):
        if "Concat" in step and width > 1:
            continue
        width += "Concat" in step
        lines.append(step.format(x=x, y=f"v{number}"))
        x = f"v{number}"
        if "Exp" in step:  # once is large enough
            lines.append(f"w{number} = Tanh({x})")
            x = f"w{number}"
    text = "\n".join([*lines, f"y = Identity({x})"])
    path = build(text, (1, 2, 3, 3), WEIGHTS)
    draft, _ = load_draft(path, None)
    low, high = known_range(draft, "y")
    session = open_session(path, SessionOptions())
    for scale in (0.1, 1, 10):
        shape = draft.shape("x")
        found = session.run(["y"], {"x": (np.random.default_rng(1).standard_normal(shape) * scale).astype(np.float32)})[
            0
        ]
        assert low - 1e-5 <= found.min()
        assert found.max() <= high + 1e-5
    outcome = rewritten(IdleClamp(), text, draft.shape("x"), WEIGHTS)
    assert outcome.error < 1e-6


@pytest.mark.parametrize(
    ("text", "ops"),
    [
        ("s = Sigmoid(x)\nr = Relu(s)\ny = Mul(r, x)", ["Sigmoid", "Mul"]),
        ("r = Relu(x)\nc = Clip(r, low, )\ny = Mul(c, x)", ["Relu", "Mul"]),
        ("r = Tanh(x)\nm = Min(r, high)\ny = Mul(m, x)", ["Tanh", "Mul"]),
        ("r = Tanh(x)\nm = Relu(r)\ny = Mul(m, x)", ["Tanh", "Relu", "Mul"]),
        ("m = Max(x, low)\ny = Mul(m, x)", ["Max", "Mul"]),
    ],
)
def test_clamps_that_do_nothing_go(rewritten: Callable, text: str, ops: list[str]) -> None:
    outcome = rewritten(IdleClamp(), text, (1, 2, 3, 3), WEIGHTS)
    assert outcome.ops == ops
    assert outcome.error == 0


def test_a_hard_sigmoid_that_never_saturates_is_linear(rewritten: Callable) -> None:
    text = "t = Tanh(x)\ny = HardSigmoid<alpha=0.25, beta=0.5>(t)"
    assert rewritten(HardActivation(), text, (1, 2, 3, 3)).ops == ["Tanh", "Mul", "Add"]
    assert rewritten(HardActivation(), "y = HardSigmoid(x)", (1, 2, 3, 3)).ops == ["Mul", "Add", "Clip"]
