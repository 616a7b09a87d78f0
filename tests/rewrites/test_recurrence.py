"""GRU, LSTM and RNN of few steps, with random attributes: the outputs stay, or it refuses with a reason."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from dlaflow.rewrites.base import Bounds
from dlaflow.rewrites.fix import fix
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.prove import Executable
from dlaflow.rewrites.recurrence import Unrolling
from dlaflow.rewrites.search import FixConfig
from dlaflow.targets.target import resolve_target

GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
ACTIVATIONS = {"GRU": ["Sigmoid", "Relu"], "LSTM": ["Relu", "Tanh", "Sigmoid"], "RNN": ["Relu"]}
HIDDEN, WIDTH = 3, 4
BOUND = 1e-5


def weights(op: str, directions: int, hidden: int = HIDDEN) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {
        "w": (directions, GATES[op] * hidden, WIDTH),
        "r": (directions, GATES[op] * hidden, hidden),
        "b": (directions, 2 * GATES[op] * hidden),
        "p": (directions, 3 * hidden),
    }
    return {name: generator.standard_normal(shape).astype(np.float32) / 2 for name, shape in shapes.items()}


@given(
    op=st.sampled_from(["GRU", "LSTM", "RNN"]), steps=st.integers(1, 4), batch=st.integers(1, 3),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]), layout=st.integers(0, 1), bias=st.booleans(),
    state=st.sampled_from(["", "computed", "zero", "constant"]), linear=st.integers(0, 1), peepholes=st.booleans(),
    own=st.booleans(), hidden=st.integers(1, 3), clip=st.sampled_from([0.0, 0.4]), lengths=st.booleans(),
    output=st.integers(0, 2),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_the_outputs_stay(
    rewritten: Callable, op: str, steps: int, batch: int, direction: str, layout: int, bias: bool, state: str,
    hidden: int, linear: int, peepholes: bool, own: bool, clip: float, lengths: bool, output: int,
) -> None:  # fmt: skip
    count = 2 if direction == "bidirectional" else 1
    given_weights = weights(op, count, hidden)
    text = [f'direction="{direction}"', f"hidden_size={hidden}", f"layout={layout}"]
    text += [f"linear_before_reset={linear}"] if op == "GRU" else []
    text += [f"clip={clip}"] if clip else []
    text += ["activations=[" + ",".join(f'"{name}"' for name in ACTIVATIONS[op] * count) + "]"] if own else []
    states = (batch, count, hidden) if layout else (count, batch, hidden)
    given_weights["k"] = np.full(states, 0.25 if state == "constant" else 0, np.float32)
    given_weights["n"] = np.full(batch, steps, np.int32)
    given_weights |= {"zero": np.array(0, np.int64), "many": np.array(states, np.int64)}
    lines = ["m = ReduceMean<keepdims=0>(x)", "h = Expand(m, many)"] if state == "computed" else []
    first = {"": "", "computed": "h", "zero": "k", "constant": "k"}[state]
    inputs = ["x", "w", "r", "b" if bias else "", "n" if lengths else "", first]
    inputs += [first if op == "LSTM" and output < 2 else "", "p" if peepholes else ""] if op == "LSTM" else []
    while not inputs[-1]:
        inputs.pop()
    places = ["", "", ""][: 3 if op == "LSTM" else 2]
    output = min(output, len(places) - 1)
    places[output] = "y"
    while not places[-1]:
        places.pop()
    lines += [f"{', '.join(places)} = {op}<{', '.join(text)}>({', '.join(inputs)})"]
    shape = (batch, steps, WIDTH) if layout else (steps, batch, WIDTH)
    made = states if output else (batch, steps, count, hidden) if layout else (steps, count, batch, hidden)
    outcome = rewritten(Unrolling(4), "\n".join(lines), shape, given_weights, outputs={"y": made})
    assert outcome.changed, outcome.refused
    assert outcome.error < BOUND
    assert op not in outcome.ops


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("y = RNN<hidden_size=3>(x, w, r, , n)", "lengths of their own"),
        ('y = RNN<hidden_size=3, activations=["Softsign"]>(x, w, r)', "only Sigmoid, Tanh, Relu"),
        ("v = Mul(w, s)\ny = RNN<hidden_size=3>(x, v, r)", "at most 4"),
        ("q = ReduceMean<keepdims=0>(x)\nv = Mul(w, q)\ny = RNN<hidden_size=3>(x, v, r)", "weights are computed"),
        ("q = ReduceMean<keepdims=0>(x)\nv = Mul(b, q)\ny = RNN<hidden_size=3>(x, w, r, v)", "biases are computed"),
        ("y = RNN<hidden_size=3>(x, w, r, b, , k)", "differs within the batch"),
        ("y = RNN<hidden_size=3>(x, r, r)", "other sizes"),
        ("y = RNN<hidden_size=3>(x, w, s)", "other sizes"),
        ("y = RNN<hidden_size=3>(x, w, r, b, , x)", "other sizes"),
    ],
)
def test_refusals(build: Callable, text: str, reason: str) -> None:
    more = {"n": np.array([5, 4], np.int32), "s": np.float32(1), "k": np.arange(6, dtype=np.float32).reshape(1, 2, 3)}
    draft = load_draft(build(text, (5, 2, WIDTH), {**weights("RNN", 1), **more}), None)[0]
    most = 4 if "at most" in reason else 16
    edits, refused = Unrolling(most).find(draft, Bounds(resolve_target("agx-orin-64gb")))
    assert not edits
    assert reason in next(iter(refused.values()))


@pytest.mark.parametrize(("op", "layout"), [("GRU", 1), ("LSTM", 0), ("RNN", 1)])
def test_a_recurrence_becomes_one_loadable_when_asked(build: Callable, op: str, layout: int) -> None:
    text = f"{'h, ' if op != 'RNN' else ', '}y = {op}<hidden_size=3, layout={layout}>(x, w, r, b)"
    path = build(text, (2, 2, WIDTH), weights(op, 1), outputs={"y": (2, 1, HIDDEN) if layout else (1, 2, HIDDEN)})
    target = resolve_target("agx-orin-64gb")
    kept = fix(path, target, FixConfig()).report
    assert kept.after.loadables == kept.before.loadables
    unrolled = fix(path, target, FixConfig(unroll=2)).report
    assert [each.rewrite for each in unrolled.applied] == ["unrolling"]
    assert (unrolled.after.loadables, unrolled.after.switches) == (1, 2)
    assert all(each.relative < BOUND for each in unrolled.proof)


def test_a_text_line_reader_keeps_its_transposes_off_the_gpu(build: Callable) -> None:
    """Features (N, C, 1, W) read along W by an LSTM: the author's Squeeze and Transpose and ours cancel."""
    text = """
        c = Conv(x, k)
        s = Squeeze(c, two)
        t = Transpose<perm=[2,0,1]>(s)
        y = LSTM<hidden_size=3, direction="bidirectional">(t, w, r, b)
    """
    more = {"k": np.ones((WIDTH, 3, 4, 1), np.float32) / 12, "two": np.array([2], np.int64)}
    path = build(text, (2, 3, 4, 6), {**weights("LSTM", 2), **more})
    report = fix(path, resolve_target("agx-orin-64gb"), FixConfig(unroll=6)).report
    assert (report.after.loadables, report.after.switches) == (1, 1)


def test_a_long_sequence_of_wide_states_is_joined_in_two_parts(rewritten: Callable) -> None:
    """3 steps of 2 x 1500 channels are more than the 8192 that a tensor on the DLA has."""
    generator = np.random.default_rng(0)
    wide = {"w": generator.standard_normal((2, 1500, 2)), "r": generator.standard_normal((2, 1500, 1500)) / 1500}
    text = 'y = RNN<direction="bidirectional", hidden_size=1500>(x, w, r)'
    floats = {name: value.astype(np.float32) for name, value in wide.items()}
    outcome = rewritten(Unrolling(4), text, (3, 1, 2), floats, outputs={"y": (3, 2, 1, 1500)})
    assert outcome.error < BOUND
    assert outcome.ops.count("Concat") == 3
    assert sum(value.size == 1500 * 1500 for value in outcome.draft.weights.values()) == 2
    assert "DLA102" not in outcome.against()


def test_onnx_own_examples(tmp_path: Path) -> None:
    """The expected outputs of ONNX's own tests, with what they feed beside the sequence as constants."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the expected outputs of others divide by zero on purpose
        own = ("test_gru_", "test_lstm_", "test_simple_rnn_", "test_rnn_")
        cases = [case for case in collect_testcases(None) if case.name.startswith(own)]
    unrolled = 0
    for case in cases:
        model = onnx.ModelProto.FromString(case.model.SerializeToString())
        inputs, expected = case.data_sets[0]
        names = [value.name for value in model.graph.input]
        del model.graph.input[1:]
        model.graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in zip(names[1:], inputs[1:], strict=True)
        )
        onnx.save(model, tmp_path / "model.onnx")
        first = load_draft(tmp_path / "model.onnx", None)[0]
        edits, refused = Unrolling(16).find(first, Bounds(resolve_target("agx-orin-64gb")))
        assert edits or "lengths" in next(iter(refused.values())), case.name
        made = Executable(first.apply(edits).proto()).run({names[0]: inputs[0]}) if edits else {}
        for value, one in zip(made.values(), expected, strict=bool(edits)):
            np.testing.assert_allclose(value, one, rtol=1e-4, atol=1e-5)
        unrolled += len(edits)
    assert unrolled > 12
