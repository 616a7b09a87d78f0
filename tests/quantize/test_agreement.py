"""Agreement without labels: each measure against numpy, forms from graphs, outputs that cannot be compared."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.errors import InputError
from dlaflow.quantize.agreement import OutputForm, Tally, compare, forms_of
from dlaflow.quantize.feed import Batch, only_array


class Fixed:
    """Puts out the given arrays, cut as the images are; images hold their own numbers."""

    def __init__(self, batch: int | None = None, **outputs: np.ndarray) -> None:
        self.batch = batch
        self.output_names = list(outputs)
        self._outputs = list(outputs.values())

    def run_all(self, batch: Batch) -> list[np.ndarray]:
        places = only_array(batch).astype(int).ravel()
        return [values[places].astype(np.float32) for values in self._outputs]


def images(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32).reshape(count, 1)


RANDOM = np.random.default_rng(8)


@pytest.mark.parametrize("step", [1, 7, 100])
def test_scores_against_numpy(step: int) -> None:
    exact = RANDOM.standard_normal((40, 9)).astype(np.float32)
    other = exact + 0.4 * RANDOM.standard_normal((40, 9)).astype(np.float32)
    (found,) = compare(Fixed(y=exact), [Fixed(y=other)], images(40), {}, step)[0].outputs
    cosines = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(exact, other, strict=True)]
    assert found.images == 40
    assert found.cosine.value == pytest.approx(np.mean(cosines), abs=1e-6)
    assert found.cosine.spread == pytest.approx(1.96 * np.std(cosines, ddof=1) / np.sqrt(40), rel=1e-3)
    assert found.relative_error.value == pytest.approx(np.linalg.norm(exact - other) / np.linalg.norm(exact), abs=1e-6)
    assert found.same is not None
    assert found.same.value == np.mean(exact.argmax(1) == other.argmax(1))
    assert found.five is not None
    best = np.argsort(-other, axis=1)[:, :5]
    assert found.five.value == np.mean([exact[i].argmax() in best[i] for i in range(40)])
    quantities = {record.quantity: record for record in found.measurements("int8", "here")}
    assert set(quantities) == {"cosine", "relative_error", "agreement", "top5_agreement"}
    assert quantities["agreement"].value == pytest.approx(100 * found.same.value)


def test_maps_of_classes_and_masks() -> None:
    exact = RANDOM.standard_normal((6, 3, 4, 5)).astype(np.float32)
    other = -exact
    found = compare(
        Fixed(a=exact, b=exact[:, :1]),
        [Fixed(a=other, b=1 - exact[:, :1])],
        images(6),
        {"b": OutputForm("b", mask=True)},
    )
    classes, mask = found[0].outputs
    assert classes.same is not None
    assert mask.same is not None
    assert (classes.same.value, classes.what) == (0.0, "positions")
    assert mask.same.value == 0.0
    assert classes.five is None


def test_outputs_that_only_have_values() -> None:
    boxes = RANDOM.standard_normal((4, 84, 10)).astype(np.float32)
    (found,) = compare(Fixed(y=boxes), [Fixed(y=boxes)], images(4), {})[0].outputs
    assert (found.same, found.cosine.value, found.relative_error.value) == (None, 1.0, 0.0)
    steps = compare(Fixed(y=boxes), [Fixed(y=boxes[..., ::-1])], images(4), {"y": OutputForm("y", axis=-1)})[0].outputs[
        0
    ]
    assert steps.same is not None
    assert steps.same.value == np.mean(boxes.argmax(-1) == boxes[..., ::-1].argmax(-1))


def test_time_first_and_scalars_count_a_batch_as_one() -> None:
    tally = Tally(OutputForm("y", axis=2))
    scores = RANDOM.standard_normal((7, 2, 11)).astype(np.float32)
    changed = scores.copy()
    changed[0, 0] = np.roll(scores[0, 0], 1)
    tally.add(scores, changed, 2)
    found = tally.result()
    assert found.images == 1
    assert found.same is not None
    assert found.same.value == pytest.approx(13 / 14)
    assert found.same.spread is None
    tally = Tally(OutputForm("s"))
    tally.add(np.float32(2.0), np.float32(2.0), 3)
    assert tally.result().cosine.value == 1


def test_zeros_and_infinities() -> None:
    tally = Tally(OutputForm("y"))
    tally.add(np.zeros((2, 3), np.float32), np.float32([[0, 0, 0], [1, 0, 0]]), 2)
    assert tally.result().cosine.value == 0.5
    masked = np.float32([[1, -np.inf], [2, -np.inf]])
    tally = Tally(OutputForm("y"))
    tally.add(masked, masked, 2)
    assert tally.result().relative_error.value == 0
    with pytest.raises(InputError, match="not finite"):
        tally.add(masked, np.float32([[1, np.nan], [2, -np.inf]]), 2)


def test_what_cannot_be_compared() -> None:
    two = np.ones((2, 3), np.float32)
    with pytest.raises(InputError, match="share no output"):
        compare(Fixed(a=two), [Fixed(b=two, c=two)], images(2), {})
    with pytest.raises(InputError, match="other shapes for all 2 images"):
        compare(Fixed(a=two), [Fixed(b=two[:, :2])], images(2), {})
    with pytest.raises(InputError, match="no images"):
        compare(Fixed(a=two), [Fixed(a=two)], images(0), {})
    assert compare(Fixed(a=two, b=two), [Fixed(b=two)], images(2), {})[0].outputs[0].output == "b"


def test_one_model_with_a_fixed_batch_sets_the_pace() -> None:
    class One(Fixed):
        def run_all(self, batch: Batch) -> list[np.ndarray]:
            assert len(batch) <= 2
            return super().run_all(batch)

    two = np.ones((5, 3), np.float32)
    assert compare(Fixed(a=two), [One(2, a=two)], images(5), {}, 4)[0].images == 5


FORMS = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,4,4] x) => (float[N,3,4,4] p, float[N,3,4,4] m, int64[N,1,4,4] k, float[N,3,4,4] v)
{ p = Softmax<axis=1>(x)  m = Sigmoid(x)  k = ArgMax<axis=1>(x)  r = Relu(x)  v = Identity(r) }
"""


def test_forms_of_a_graph() -> None:
    forms = forms_of(onnx.parser.parse_model(FORMS))
    assert forms == {
        "p": OutputForm("p", axis=1),
        "m": OutputForm("m", mask=True),
        "k": OutputForm("k", chosen=True),
        "v": OutputForm("v", plain=True),
    }


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.lists(st.integers(1, 7), min_size=0, max_size=3), st.integers(0, 99))
def test_a_model_agrees_with_itself(count: int, rest: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal((count, *rest)).astype(np.float32)
    (found,) = compare(Fixed(y=values), [Fixed(y=values)], images(count), {})[0].outputs
    assert (found.cosine.value, found.relative_error.value) == (1.0, 0.0)
    assert found.same is None or found.same.value == 1.0
    assert found.five is None or found.five.value == 1.0


def test_chosen_classes_have_no_distance() -> None:
    """Class 9 for class 0 is as wrong as class 1 for class 0; the measures are those of vectors with a single one."""
    exact, other = np.zeros((4, 5, 2), np.float32), np.zeros((4, 5, 2), np.float32)
    other[:, 0] = 9
    form = {"k": OutputForm("k", chosen=True)}
    (found,) = compare(Fixed(k=exact), [Fixed(k=other)], images(4), form)[0].outputs
    ours, theirs = (np.eye(10)[each.astype(int)].ravel() for each in (exact, other))
    assert found.cosine.value == pytest.approx(ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs))
    assert found.relative_error.value == pytest.approx(np.linalg.norm(ours - theirs) / np.linalg.norm(ours))


def test_a_reshaped_choice_is_one_still() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,3,4,4] x) => (int64[N,4,4] k, float[N,4,4,3] p) <int64[1] one = {1}>
    { c = ArgMax<axis=1>(x)  k = Squeeze(c, one)  s = Softmax<axis=1>(x)  p = Transpose<perm=[0,2,3,1]>(s) }""")
    assert forms_of(model) == {"k": OutputForm("k", chosen=True), "p": OutputForm("p")}


def test_boxes_beside_scores_are_no_classes() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,4] x) => (float[N,4] boxes, float[N,4] scores) { boxes = Relu(x)  scores = Softmax(x) }""")
    exact = RANDOM.standard_normal((4, 4)).astype(np.float32)
    (found,) = compare(Fixed(boxes=exact, scores=exact), [Fixed(boxes=exact, scores=exact)], images(4), forms_of(model))
    assert [(each.output, each.same is None) for each in found.outputs] == [("boxes", True), ("scores", False)]


def test_the_maps_of_a_detector_are_no_classes() -> None:
    """One image of scores holds a class at each position; images of several sizes hold sides of boxes as well."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,8,8,8] x) => (float[N,8,8,8] a, float[N,8,{side},{side}] b)
    {{ a = Relu(x)  b = MaxPool<kernel_shape=[{size},{size}], strides=[{size},{size}]>(x) }}"""
    assert [each.plain for each in forms_of(onnx.parser.parse_model(text.format(side=8, size=1))).values()] == [
        False
    ] * 2
    assert [each.plain for each in forms_of(onnx.parser.parse_model(text.format(side=4, size=2))).values()] == [
        True
    ] * 2
