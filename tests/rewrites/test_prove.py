"""The proof: what can be compared is, and what cannot is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from dlaflow.errors import InputError
from dlaflow.graph.load import load_model
from dlaflow.rewrites.base import Safety
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.prove import BOUNDS, Executable, bound_of, compare, holds
from dlaflow.rewrites.records import Bound, Evidence

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
TAKEN_APART = "net (float[4] x) => (seq(float[M]) y) <int64 two = {2}> { y = SplitToSequence(x, two) }"
FIRST = "net (float[1,{length}] x) => (float[1,K] y) <int64[2] keep = {{1, {keep}}}> {{ y = Expand(x, keep) }}"


def network(text: str) -> Executable:
    return Executable(onnx.parser.parse_model(HEADER + text))


SHAPE = {"x": (1, 4)}


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., list[Evidence]]:
    """Compare two graphs whose nodes are given as text, the rewritten one second."""

    def run(before: str, after: str, outputs: str = "float[1,4] y", weights: str = "") -> list[Evidence]:
        sides = []
        for name, text in (("before", before), ("after", after)):
            path = tmp_path / f"{name}.onnx"
            onnx.save(
                onnx.parser.parse_model(f"{HEADER}net (float[1,4] x) => ({outputs}) {weights} {{ {text} }}"), path
            )
            sides.append(Executable.of(load_draft(load_model(path), None)[0], path if name == "before" else None))
        return compare(sides[0], sides[1], SHAPE)

    return run


Pair = Callable[..., list[Evidence]]
LOW = "<float low = {-40.0}, float step = {0.01}, float big = {640.0}, float off = {640.03}>"


def test_a_sigmoid_that_says_nothing_is_judged_by_what_it_reads(pair: Pair) -> None:
    """At -40 it is 0 whatever comes in: what comes in decides, and a shift of 0.03 is found there."""
    same = pair("a = Add(x, low) y = Sigmoid(a)", "a = Add(low, x) y = Sigmoid(a)", weights=LOW)
    assert holds(same)
    assert "y sits at the ends of its function" in same[0].passed_over
    assert same[0].output == "y before Sigmoid"
    wrong = pair("a = Add(x, low) y = Sigmoid(a)", "b = Add(x, low) a = Sub(b, step) y = Sigmoid(a)", weights=LOW)
    assert not holds(wrong)
    assert wrong[0].absolute == pytest.approx(0.01, rel=0.01)


def test_rounding_where_a_sigmoid_vanishes_is_no_error(pair: Pair) -> None:
    """A share of the largest output has no meaning where that is 1e-13; the floor is in units of the function."""
    weights = "<float low = {-30.0}, float c = {1.000001}>"
    assert holds(
        pair("a = Add(x, low) y = Sigmoid(a)", "b = Add(x, low) a = Mul(b, c) y = Sigmoid(a)", weights=weights)
    )


def test_an_output_that_sits_at_its_ends_everywhere_is_tried_at_other_scales(pair: Pair) -> None:
    """Where nothing before the function is left to compare, the inputs grow until something can be told."""
    weights = "<float low = {-60.0}, float one = {1.0}>"
    after = "a = Add(x, low) n = Neg(a) e = Exp(n) d = Add(e, one) y = Reciprocal(d)"
    found = pair("a = Add(x, low) y = Sigmoid(a)", after, weights=weights)
    assert [each.inputs for each in found][3:] == ["random, scale 0.01", "random, scale 100"]
    assert holds(found)
    assert "y before Sigmoid is not in the rewritten model" in found[0].passed_over
    assert found[-1].output == "y"


def test_each_part_of_an_output_has_its_own_floor(pair: Pair) -> None:
    """Boxes in pixels do not hide an error of 0.01 in the scores that stand beside them."""
    outputs, before = "float[1,8] y", "b = Mul(x, big) s = Sigmoid(x) y = Concat<axis=1>(b, s)"
    after = "b = Mul(x, big) t = Sigmoid(x) s = Sub(t, step) y = Concat<axis=1>(b, s)"
    found = pair(before, after, outputs, LOW)
    assert not holds(found)
    assert {each.output for each in found} == {"y[1]"}
    assert holds(pair(before, before, outputs, LOW))


def test_the_parts_are_found_behind_what_moves_them(pair: Pair) -> None:
    shape = "<float big = {640.0}, float step = {0.01}, int64[2] back = {2, 4}>"
    tail = "c = Concat<axis=0>(b, s) t = Transpose<perm=[1,0]>(c) r = Reshape(t, back) y = Transpose<perm=[1,0]>(r)"
    before = f"b = Mul(x, big) s = Sigmoid(x) {tail}"
    found = pair(before, f"b = Mul(x, big) o = Sigmoid(x) s = Sub(o, step) {tail}", "float[4,2] y", shape)
    assert {each.output for each in found} == {"y[1]"}


def test_values_out_of_nothing_are_found(pair: Pair) -> None:
    """An output that vanishes before and does not after is no rounding."""
    weights = "<float low = {-1000.0}, float step = {0.001}>"
    found = pair("a = Add(x, low) y = Relu(a)", "a = Add(x, low) b = Relu(a) y = Add(b, step)", weights=weights)
    assert not holds(found)


def test_inputs_that_the_model_itself_cannot_take_are_passed_over() -> None:
    """A number from a table of four: at scale 10 there is no such place."""
    text = """net (float[1,3] x) => (float[1,3] y) <float[4] table = {1.0, 2.0, 3.0, 4.0}> {
        a = Abs(x) i = Cast<to=7>(a) y = Gather(table, i) }"""
    found = compare(network(text), network(text), {"x": (1, 3)})
    assert [each.inputs for each in found] == ["random, scale 0.1", "random, scale 1"]
    broken = text.replace("{1.0, 2.0, 3.0, 4.0}", "{}").replace("float[4]", "float[0]")
    with pytest.raises(InputError, match="cannot be run on its own inputs"):
        compare(network(broken), network(broken), {"x": (1, 3)})


def test_a_scalar_input_is_fed() -> None:
    text = (
        "net (float[1,3] x, float low, int64 k) => (float[1,3] y) { c = Clip(x, low) f = Cast<to=1>(k) y = Add(c, f) }"
    )
    shapes = {"x": (1, 3), "low": (), "k": ()}
    assert holds(compare(network(text), network(text), shapes))


def test_a_scalar_output_is_compared(pair: Pair) -> None:
    weights = "<float step = {0.01}>"
    assert holds(pair("y = ReduceSum<keepdims=0>(x)", "y = ReduceSum<keepdims=0>(x)", "float y"))
    assert not holds(
        pair("y = ReduceSum<keepdims=0>(x)", "a = ReduceSum<keepdims=0>(x) y = Add(a, step)", "float y", weights)
    )


def test_what_is_no_number_must_stay_none(pair: Pair) -> None:
    """The root of a negative number is compared by being none, the others by their value."""
    weights = "<float step = {0.01}, float nil = {0.0}, float far = {-1000000.0}>"
    same = pair("y = Sqrt(x)", "y = Sqrt(x)")
    assert holds(same)
    assert same[0].output == "y"
    assert not holds(pair("y = Sqrt(x)", "a = Sqrt(x) y = Add(a, step)", weights=weights))
    assert not holds(pair("y = Sqrt(x)", "a = Max(x, nil) y = Sqrt(a)", weights=weights))
    with pytest.raises(InputError, match="not finite on any input"):
        pair("a = Add(x, far) y = Sqrt(a)", "a = Add(x, far) y = Sqrt(a)", weights=weights)


@pytest.mark.parametrize(
    ("output", "tail"), [("int64[1,1] y", "y = ArgMax<axis=1>(a)"), ("bool[1,4] y", "y = Less(a, one)")]
)
def test_a_decision_is_judged_by_what_it_reads(pair: Pair, output: str, tail: str) -> None:
    """Nearly equal scores may turn an ArgMax; what it reads decides, where the same nodes follow in both models."""
    weights = "<float tiny = {3e-8}, float[1,4] off = {0.0, 0.0, 0.1, 0.0}, float one = {1.0}, float nil = {0.0}>"
    same = "z = Mul(x, tiny) a = Add(z, one)"
    turned = "z = Mul(x, nil) a = Add(z, one)"
    found = pair(f"{same} {tail}", f"{turned} {tail}", output, weights)
    assert holds(found)
    assert {each.output.partition(" ")[0] for each in found} <= {"a", "y"}
    notes = [note for each in found for note in each.passed_over]
    assert any("y follows from what its decisions read; " in note for note in notes)
    assert not holds(pair(f"{same} {tail}", f"z = Mul(x, nil) b = Add(z, one) a = Add(b, off) {tail}", output, weights))


def test_a_decision_that_is_made_otherwise_must_give_the_same(pair: Pair) -> None:
    """The nodes behind differ, so that the outputs themselves decide."""
    weights = "<float k = {0.5}>"
    assert holds(pair("y = Less(x, k)", "y = Greater(k, x)", "bool[1,4] y", weights))
    assert not holds(pair("y = Less(x, k)", "y = Greater(x, k)", "bool[1,4] y", weights))


@pytest.mark.parametrize(("value", "decided"), [(100.0, "relative"), (0.001, "floor")])
def test_which_term_decides_is_told(value: float, decided: str) -> None:
    """At a large value the relative term, beside it the floor."""
    texts = [
        f"net (float[1,2] x) => (float[1,2] y) <float[1,2] k = {{{first}, 100.0}}> {{ z = Sub(x, x) y = Add(z, k) }}"
        for first in (value, value * (1 + 5e-5) if decided == "relative" else value + 5e-4)
    ]
    found = compare(network(texts[0]), network(texts[1]), {"x": (1, 2)})
    assert {each.decided for each in found} == {decided}
    assert holds(found)


def test_a_steep_network_is_allowed_its_own_rounding(pair: Pair) -> None:
    """sin(600 x) turns the last bit of x into 5e-4; an error of 0.01 is none of it."""
    weights = "<float k = {600.0}, float next = {600.00006}, float far = {0.01}>"
    found = pair("a = Mul(x, k) y = Sin(a)", "a = Mul(x, next) y = Sin(a)", weights=weights)
    assert holds(found)
    assert "rounding" in {each.decided for each in found}
    assert not holds(pair("a = Mul(x, k) y = Sin(a)", "a = Mul(x, k) s = Sin(a) y = Add(s, far)", weights=weights))
    assert not holds(pair("y = Mul(x, k)", "b = Mul(x, k) y = Add(b, k)", weights=weights))


def test_a_network_in_float16_has_the_floor_of_its_precision(tmp_path: Path) -> None:
    text = "net (float16[1,4] x) => (float16[1,4] y) <float16[1] k = {13653}> { y = Mul(x, k) }"
    onnx.save(onnx.parser.parse_model(HEADER + text), tmp_path / "half.onnx")
    draft = load_draft(load_model(tmp_path / "half.onnx"), None)[0]
    assert bound_of(Safety.EXACT, draft) == Bound(2e-2, 1e-2)
    assert bound_of(Safety.TOLERANCE, draft) == BOUNDS[Safety.TOLERANCE]


def test_outputs_that_are_no_tensors_are_told() -> None:
    with pytest.raises(InputError, match=r"cannot be compared.*seq\(tensor\(float\)\).*--dry-run"):
        network(TAKEN_APART)


def test_an_output_without_values_is_equal_to_itself() -> None:
    """A detector that found nothing; the class of no value is no class."""
    text = "net (float[1,3] x) => (float[K,3] y) <bool[1] none = {0}> { y = Compress<axis=0>(x, none) }"
    found = compare(network(text), network(text), {"x": (1, 3)})
    assert [(each.relative, each.agreement) for each in found] == [(0.0, None)] * 3


def test_another_number_of_values_is_a_difference() -> None:
    before, after = network(FIRST.format(length=1, keep=3)), network(FIRST.format(length=1, keep=4))
    assert all(each.relative == np.inf for each in compare(before, after, {"x": (1, 1)}))


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "uint32", "uint64"])
def test_integer_inputs_are_fed(kind: str) -> None:
    text = f"net ({kind}[1,5] x) => (float[1,5] y) {{ y = Cast<to=1>(x) }}"
    assert all(each.relative == 0 for each in compare(network(text), network(text), {"x": (1, 5)}))


def test_a_scale_may_be_a_list_of_one_number(build: Callable) -> None:
    """onnxruntime's integer kernels refuse it, its float ones take it as ONNX does."""
    text = "q = QuantizeLinear(x, s, z)\nd = DequantizeLinear(q, s, z)\np = AveragePool<kernel_shape=[2,2]>(d)\n"
    text += "r = QuantizeLinear(p, s, z)\ny = DequantizeLinear(r, s, z)"
    path = build(text, (1, 2, 4, 4), {"s": np.array([0.05], np.float32), "z": np.array([0], np.int8)})
    x = np.full((1, 2, 4, 4), 0.5, np.float32)
    assert np.allclose(Executable(path).run({"x": x})["y"], 0.5)


def test_what_enters_a_sigmoid_is_compared_in_the_order_of_the_output(build: Callable) -> None:
    """A transpose behind the Concat in one model, in front of it in the other: the same values."""
    weights = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
    before = build("a = MatMul(x, w)\nt = Transpose<perm=[0,2,1]>(a)\nu = Transpose<perm=[0,2,1]>(x)\n"
                   "s = Sigmoid(t)\ny = Concat<axis=1>(u, s)", (2, 5, 3), weights)  # fmt: skip
    first = Executable.of(load_draft(before, None)[0])
    after = build("a = MatMul(x, w)\ns = Sigmoid(a)\nc = Concat<axis=2>(x, s)\ny = Transpose<perm=[0,2,1]>(c)",
                  (2, 5, 3), weights)  # fmt: skip
    found = compare(first, Executable.of(load_draft(after, None)[0]), {"x": (2, 5, 3)})
    assert holds(found)
    assert not any("rewritten model" in note for each in found for note in each.passed_over)
