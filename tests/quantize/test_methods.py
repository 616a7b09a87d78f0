"""Each method against its definition, written out slowly."""

from __future__ import annotations

import numpy as np
import pytest

from dlaflow.quantize.histogram import Histogram
from dlaflow.quantize.methods import ENTROPY_BINS, MAGNITUDES, METHODS, entropy, minmax, mse, percentile


def counted(values: np.ndarray) -> Histogram:
    histogram = Histogram("t")
    histogram.add(values.astype(np.float32))
    return histogram


@pytest.fixture
def heavy_tail() -> np.ndarray:
    generator = np.random.default_rng(3)
    return np.concatenate([generator.laplace(0, 1, 60_000), generator.uniform(20, 30, 5)])


def divergence(counts: np.ndarray, edge: int) -> float:
    """KL(P || Q) as the published procedure describes it, one bin at a time."""
    p = counts[:edge].copy()
    p[-1] += counts[edge:].sum()
    q = np.zeros(edge)
    for group in range(MAGNITUDES):
        start, stop = edge * group // MAGNITUDES, edge * (group + 1) // MAGNITUDES
        filled = p[start:stop] > 0
        if filled.any():
            q[start:stop][filled] = counts[start:stop].sum() / filled.sum()
    p, q = p / p.sum(), q / q.sum()
    used = p > 0
    with np.errstate(divide="ignore"):
        return float(np.sum(p[used] * np.log(p[used] / q[used])))


def test_entropy_finds_the_minimum_of_the_published_divergence(heavy_tail: np.ndarray) -> None:
    histogram = counted(heavy_tail)
    counts = histogram.resampled(ENTROPY_BINS)
    counts[0] = counts[1]
    edges = range(MAGNITUDES, ENTROPY_BINS + 1)
    slow = min(edges, key=lambda edge: divergence(counts, edge))
    expected = min(histogram.largest, (slow + 0.5) * histogram.largest / ENTROPY_BINS)
    assert entropy(histogram) == pytest.approx(expected)


def test_entropy_clips_outliers_that_minmax_keeps(heavy_tail: np.ndarray) -> None:
    histogram = counted(heavy_tail)
    assert minmax(histogram) == np.float32(np.abs(heavy_tail).max())
    assert entropy(histogram) < 0.8 * minmax(histogram)


@pytest.mark.parametrize("share", [50.0, 99.0, 99.99])
def test_percentile_is_numpys(heavy_tail: np.ndarray, share: float) -> None:
    histogram = counted(heavy_tail)
    assert percentile(histogram, share) == pytest.approx(
        np.percentile(np.abs(heavy_tail), share), abs=2 * histogram.width
    )


def test_mse_is_the_best_of_its_candidates(heavy_tail: np.ndarray) -> None:
    chosen = mse(counted(heavy_tail))

    def error(threshold: float) -> float:
        scale = threshold / 127
        restored = np.clip(np.rint(heavy_tail / scale), -127, 127) * scale
        return float(np.mean((restored - heavy_tail) ** 2))

    others = np.abs(heavy_tail).max() * np.linspace(1 / 16, 1, 128)
    assert error(chosen) <= min(map(error, others)) * 1.01


@pytest.mark.parametrize("name", METHODS)
def test_no_method_exceeds_the_largest_or_fails_on_constants(name: str) -> None:
    assert METHODS[name](counted(np.zeros(100))) == 0
    constant = METHODS[name](counted(np.full(100, 0.3)))
    assert 0 < constant <= np.float32(0.3)


@pytest.mark.parametrize("smallest", [30, 90, 200])
def test_entropy_keeps_magnitudes_that_do_not_begin_at_zero(smallest: int) -> None:
    """Of bright pixels the smallest alone approximates itself perfectly: kept with all others clipped, it would win."""
    pixels = np.random.default_rng(0).integers(smallest, 256, 60_000) / 255
    assert entropy(counted(pixels)) > 0.9
