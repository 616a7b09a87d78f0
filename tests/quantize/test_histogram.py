"""The growing histogram counts what numpy counts, whatever the order and the range of its data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.errors import InputError
from dlaflow.quantize.histogram import BINS, Histogram


def reference(values: np.ndarray, upper: float) -> np.ndarray:
    scaled = (np.abs(values.astype(np.float32)) * np.float32(BINS / upper)).astype(np.int64)
    return np.bincount(scaled, minlength=BINS)


def test_counts_equal_numpys_for_one_array() -> None:
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    histogram = Histogram("t")
    histogram.add(values.reshape(10, 100, 100))
    assert histogram.range == 8.0 or histogram.range == 4.0
    assert np.array_equal(histogram.counts, reference(values, histogram.range))
    assert histogram.largest == np.abs(values).max()
    assert histogram.signed


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_order_of_batches_does_not_matter(sizes: list[float], random: object) -> None:
    generator = np.random.default_rng(len(sizes))
    batches = [generator.uniform(-size, size, 200).astype(np.float32) for size in sizes]
    forward, backward = Histogram("a"), Histogram("b")
    for batch in batches:
        forward.add(batch)
    for batch in reversed(batches):
        backward.add(batch)
    assert forward.range == backward.range
    assert np.array_equal(forward.counts, backward.counts)
    assert forward.counts.sum() == 200 * len(sizes)


def test_widening_merges_exactly() -> None:
    small, large = np.float32([0.1, 0.5, 0.9]), np.float32([100.0])
    grown, direct = Histogram("a"), Histogram("b")
    grown.add(small)
    grown.add(large)
    direct.add(np.concatenate([large, small]))
    assert np.array_equal(grown.counts, direct.counts)


def test_large_tensors_are_sampled_but_their_largest_is_exact() -> None:
    values = np.random.default_rng(5).standard_normal((3, 100_000)).astype(np.float32)
    values[1, 12_345] = 30.0
    histogram = Histogram("t")
    for image in values:
        histogram.add(image[None])
    assert histogram.largest == 30.0
    assert 3 << 14 > histogram.total == histogram.counts.sum() > 3 << 13
    shares = histogram.counts / histogram.total
    exact = reference(values.ravel(), histogram.range) / values.size
    assert np.abs(np.cumsum(shares) - np.cumsum(exact)).max() < 0.01


def test_zeros_and_then_values() -> None:
    histogram = Histogram("t")
    histogram.add(np.zeros(7, np.float32))
    assert histogram.largest == 0
    histogram.add(np.float32([2.0]))
    assert histogram.counts[0] == 7
    assert histogram.counts.sum() == 8


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_values_that_are_not_finite_name_the_tensor(value: float, word: str) -> None:
    with pytest.raises(InputError, match=f"'conv1'.*{word}"):
        Histogram("conv1").add(np.float32([1.0, value]))


def test_resampling_keeps_the_total() -> None:
    histogram = Histogram("t")
    histogram.add(np.random.default_rng(1).exponential(1.0, 5000).astype(np.float32))
    counts = histogram.resampled(2048)
    assert counts.sum() == pytest.approx(5000)
    assert len(counts) == 2048


@pytest.mark.parametrize("value", [1e-45, 1e-40, 1e-36, 3e-35, 5e-35, 1e-30])
def test_values_that_float32_has_no_scale_for_are_zeros(value: float) -> None:
    histogram = Histogram("x")
    histogram.add(np.array([[value, -value, 0.0, value / 2]], np.float32))
    assert histogram.counts.sum() == histogram.total == 4
    assert histogram.largest in (0.0, np.float32(value))
    assert histogram.largest == 0 or np.float32(histogram.largest / 127) >= np.finfo(np.float32).smallest_normal
