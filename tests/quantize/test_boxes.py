"""Boxes are read, thinned out and paired as slow loops do it, and as the decoder of examples/ does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.quantize.agreement import OutputForm, Tally
from dlaflow.quantize.boxes import PAIRED, Boxes, BoxForm, boxes_in, chosen_boxes, overlap, paired, same_cells

ROOT = Path(__file__).parents[2]
CENTRES, ANCHORED = BoxForm(1, centre=True), BoxForm(2, centre=True, objectness=True)


def decoder():
    spec = importlib.util.spec_from_file_location("decode_yolo", ROOT / "examples" / "decode_yolo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def crowd(seed: int, cells: int = 60, classes: int = 3) -> np.ndarray:
    """(1, cells, 4 + classes): boxes of a centre and a size that overlap a good deal."""
    generator = np.random.default_rng(seed)
    places, sizes = generator.uniform(0, 60, (cells, 2)), generator.uniform(10, 40, (cells, 2))
    return np.concatenate((places, sizes, generator.random((cells, classes))), 1).astype(np.float32)[None]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 80), st.booleans())
def test_boxes_are_those_of_the_example(seed: int, cells: int, objectness: bool) -> None:
    values = crowd(seed, cells, 4 if objectness else 3)
    (found,) = boxes_in(values if objectness else values.transpose(0, 2, 1), ANCHORED if objectness else CENTRES)
    wanted = decoder().best_boxes(values[0], objectness=objectness)
    assert found.classes.tolist() == wanted[:, 5].astype(int).tolist()
    np.testing.assert_allclose(found.corners, wanted[:, :4], rtol=1e-5, atol=1e-4)


def slow_overlap(one: np.ndarray, two: np.ndarray) -> float:
    wide = max(0.0, min(one[2], two[2]) - max(one[0], two[0]))
    high = max(0.0, min(one[3], two[3]) - max(one[1], two[1]))
    whole = (one[2] - one[0]) * (one[3] - one[1]) + (two[2] - two[0]) * (two[3] - two[1]) - wide * high
    return wide * high / whole if whole > 0 else float((one == two).all())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 12), st.integers(0, 12))
def test_pairs_against_a_loop(seed: int, ours: int, theirs: int) -> None:
    generator = np.random.default_rng(seed)

    def some(count: int) -> Boxes:
        low = generator.integers(0, 6, (count, 2))
        corners = np.concatenate((low, low + generator.integers(0, 8, (count, 2))), 1)
        return Boxes(corners.astype(np.float64), generator.integers(0, 2, count))

    one, two = some(ours), some(theirs)
    free, wanted = list(range(theirs)), []
    for place in range(ours):
        near = [
            (slow_overlap(one.corners[place], two.corners[each]), -each)
            for each in free
            if one.classes[place] == two.classes[each]
        ]
        best, partner = max(near, default=(0.0, 0))
        if best >= PAIRED:
            free.remove(-partner)
            wanted.append(best)
    np.testing.assert_allclose(paired(one, two), wanted)
    everywhere = overlap(one.corners[:, None], two.corners[None])
    assert everywhere.shape == (ours, theirs)


def test_the_boxes_of_two_models() -> None:
    """Two of three boxes are found again, one of them a bit beside; the second image has none in either model."""
    reference = np.zeros((2, 7, 3), np.float32)
    reference[0, :4] = np.array([[20, 20, 10, 10], [60, 20, 10, 10], [20, 80, 10, 10]]).T
    reference[0, 4] = 0.9
    other = reference.copy()
    other[0, 0, 1] += 2.5  # overlaps by 0.6
    other[0, 5, 2] = 0.95  # another class
    tally = Tally(OutputForm("y", boxes=CENTRES))
    tally.add(reference, other, 2)
    found = tally.result()
    assert found.same is not None
    assert found.overlap is not None
    assert (found.images, found.same.n, found.what) == (2, 1, "boxes")
    assert found.same.value == pytest.approx(2 * 2 / 6)
    assert found.overlap.value == pytest.approx((0.6 + 1) / 2)
    records = {each.quantity: each for each in found.measurements("int8")}
    assert (records["agreement"].n, records["cosine"].n) == (1, 2)
    assert (records["box_overlap"].value, records["box_overlap"].unit) == (pytest.approx(0.8), "1")


def test_boxes_that_one_model_alone_finds_count_against_it() -> None:
    reference, other = (np.zeros((1, 5, 4), np.float32) for _ in range(2))
    other[0] = np.array([[20, 20, 10, 10, 0.8]] * 4).T
    tally = Tally(OutputForm("y", boxes=CENTRES))
    tally.add(reference, other, 1)
    found = tally.result()
    assert found.same is not None
    assert (found.same.value, found.overlap) == (0.0, None)


def test_no_boxes_are_no_agreement() -> None:
    tally = Tally(OutputForm("y", boxes=CENTRES))
    tally.add(np.zeros((3, 5, 4), np.float32), np.zeros((3, 5, 4), np.float32), 3)
    found = tally.result()
    assert (found.same, found.overlap, found.what) == (None, None, "no boxes")


def picked(scores: list[float], kinds: list[float]) -> np.ndarray:
    corners = np.array([[10 * place, 0, 10 * place + 8, 8] for place in range(len(scores))], np.float32)
    return np.column_stack((corners, scores, kinds)).astype(np.float32)[None]


FALLING = [0.9, 0.8, 0.8, 0.7, 0.5, 0.3, 0.2, 0.1]


def test_what_a_network_picked_itself_is_told_by_its_numbers() -> None:
    values = picked(FALLING, [0, 3, 1, 2, 0, 0, 5, 1])
    assert chosen_boxes(values) == BoxForm(2, chosen=True)
    assert chosen_boxes(values[:, ::-1]) is None  # scores rise
    assert chosen_boxes(picked(FALLING, [0.5] * 8)) is None  # no classes
    assert chosen_boxes(picked([9, *FALLING[1:]], [0] * 8)) is None  # no scores
    assert chosen_boxes(values[..., [2, 1, 0, 3, 4, 5]]) is None  # no corners
    assert chosen_boxes(values[:, :4]) is None  # too few to tell
    tally = Tally(OutputForm("y"))
    tally.add(values, values[:, [1, 0, 2, 3, 4, 5, 6, 7]], 1)
    found = tally.result()
    assert found.same is not None
    assert (found.same.value, found.what) == (1.0, "boxes")
    assert found.cosine.value < 1


def test_a_cell_stays_where_it_is() -> None:
    values = crowd(3)
    assert same_cells(values, values, ANCHORED).all()
    moved = values.copy()
    moved[0, 7, :2] += 5
    assert (~same_cells(values, moved, ANCHORED)).sum() == 1
    # Points of no size are the same where they are equal.
    points = np.zeros((1, 4, 6), np.float32)
    points[0, 1:, 4:] = 0.9
    assert same_cells(points, points, ANCHORED).all()


def test_boxes_that_yolo26_ends_with() -> None:
    """The example's last choice over maps whose boxes have positive sides is told, and read as the example reads it."""
    generator = np.random.default_rng(4)
    maps = [
        values.astype(np.float32)
        for side in (8, 4)
        for values in (generator.uniform(0.5, 3, (2, 4, side, side)), generator.normal(-3, 2, (2, 3, side, side)))
    ]
    example = decoder()
    values = example.best_of(example.decode_v26(maps, (8, 16)))
    form = chosen_boxes(values)
    assert form == BoxForm(2, chosen=True)
    for boxes, each in zip(boxes_in(values, form), values, strict=True):
        kept = each[each[:, 4] >= 0.25]
        assert 0 < len(kept) < len(each)
        np.testing.assert_allclose(boxes.corners, kept[:, :4])
        assert boxes.classes.tolist() == kept[:, 5].tolist()


def test_infinite_places_and_batches_in_one() -> None:
    values = crowd(5, 8)
    values[0, 0, 0] = np.inf
    tally = Tally(OutputForm("y", boxes=BoxForm(2, centre=True)))
    tally.add(values, values, 1)
    assert tally.result().what == "boxes"
    tally = Tally(OutputForm("y", boxes=BoxForm(2, centre=True)))
    tally.add(crowd(5, 8), crowd(5, 8), 3)  # one row for three images: no image has boxes of its own
    assert (tally.result().same, tally.result().what) == (None, "")
