"""From a histogram to a threshold: the magnitude that INT8's 127 stands for. Scale = threshold / 127.

All methods read the same histogram, so one pass over the images serves every one of them.

Sources: entropy is the relative-entropy procedure that NVIDIA published (S. Migacz, "8-bit inference with TensorRT",
GTC 2017): 2,048 bins, 128 levels. The others are the usual ones of the calibration literature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import UsageError
from dlaflow.quantize.histogram import Histogram

ENTROPY_BINS = 2048
MAGNITUDES = 128
"""Magnitudes of symmetric INT8: 0..127."""

_MSE_CANDIDATES = 128

_LEAST_KEPT = 0.99
"""Entropy clips at most one value in a hundred. The published procedure has no such bound and needs none where
magnitudes begin at zero: Laplace's tails keep 0.9999, Cauchy's 0.995. Where they do not (bright images, steps of 8
bits), the few below the threshold, with all others clipped to it, are their own best approximation: divergence 0."""


def minmax(histogram: Histogram) -> float:
    """The largest magnitude seen: nothing is clipped."""
    return histogram.largest


def percentile(histogram: Histogram, share: float = 99.99) -> float:
    """The magnitude below which `share` percent of all values lie."""
    if not 0 < share <= 100:
        raise UsageError("percentile out of range", expected="above 0, at most 100", received=share)
    if histogram.largest == 0:
        return 0.0
    cumulated = np.cumsum(histogram.counts)
    bin_index = int(np.searchsorted(cumulated, histogram.total * share / 100))
    return min(histogram.largest, (bin_index + 1) * histogram.width)


def mse(histogram: Histogram) -> float:
    """The threshold with the least mean squared error of rounding and clipping the values themselves."""
    if histogram.largest == 0:
        return 0.0
    used = int(np.flatnonzero(histogram.counts)[-1]) + 1
    counts = histogram.counts[:used].astype(np.float64)
    centres = (np.arange(used, dtype=np.float64) + 0.5) * histogram.width
    # Bin zero mostly holds exact zeros (ReLU): they cost nothing at any threshold.
    centres[0] = 0.0
    candidates: NDArray[np.float64] = histogram.largest * np.linspace(1 / 16, 1.0, _MSE_CANDIDATES)
    errors = [_squared_error(centres, counts, candidate / (MAGNITUDES - 1)) for candidate in candidates]
    return float(candidates[int(np.argmin(errors))])


def _squared_error(centres: NDArray[np.float64], counts: NDArray[np.float64], scale: float) -> float:
    restored = np.minimum(np.rint(centres / scale), MAGNITUDES - 1) * scale
    return float(np.dot(counts, (centres - restored) ** 2))


def entropy(histogram: Histogram) -> float:
    """The threshold whose 128-level version loses the least information (relative entropy) against the clipped one."""
    if histogram.largest == 0:
        return 0.0
    counts = histogram.resampled(ENTROPY_BINS)
    # The first bin holds the exact zeros of ReLU, which any scale represents; the published procedure leaves them out.
    counts[0] = counts[1]
    edges = np.arange(MAGNITUDES, ENTROPY_BINS + 1)
    divergence = _divergences(counts, edges)
    best = int(edges[int(np.argmin(divergence))])
    return min(histogram.largest, (best + 0.5) * histogram.largest / ENTROPY_BINS)


def _divergences(counts: NDArray[np.float64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """KL(P || Q) for each number of kept bins in `edges`, all at once from prefix sums.

    P is `counts[:edge]` with all clipped counts put into its last bin; Q spreads the sum of each of 128 groups of
    `counts[:edge]` evenly over the bins where P is not empty. Within a group Q is constant, therefore
    sum(P log Q) needs one logarithm a group instead of one a bin.
    """
    total = counts.sum()
    sums = np.concatenate([[0.0], np.cumsum(counts)])
    filled = np.concatenate([[0], np.cumsum(counts > 0)])
    self_information = np.concatenate([[0.0], np.cumsum(_x_log_x(counts))])

    last = counts[edges - 1]
    outliers = total - sums[edges]
    bounds = (edges[:, None] * np.arange(MAGNITUDES + 1)[None, :]) // MAGNITUDES
    mass = np.diff(sums[bounds], axis=1)
    occupied = np.diff(filled[bounds], axis=1).astype(np.float64)
    occupied[:, -1] += (last == 0) & (outliers > 0)
    reference = mass.copy()
    reference[:, -1] += outliers

    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(reference > 0, reference * np.log(mass / occupied), 0.0).sum(axis=1)
    p_log_p = self_information[edges] - _x_log_x(last) + _x_log_x(last + outliers)
    kept = sums[edges]
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = (p_log_p - spread) / total - np.log(total) + np.log(kept)
    divergence[~np.isfinite(divergence) | (kept < _LEAST_KEPT * total)] = np.inf
    return np.asarray(divergence)


def _x_log_x(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values * np.log(np.where(values > 0, values, 1.0))


Method = Callable[[Histogram], float]
METHODS: Mapping[str, Method] = {"entropy": entropy, "percentile": percentile, "minmax": minmax, "mse": mse}
"""Every method with the same signature."""

AUTO = "auto"
"""Chooses among them for each tensor: see `dlaflow.quantize.auto`."""
