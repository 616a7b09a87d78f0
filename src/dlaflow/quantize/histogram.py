"""A histogram of magnitudes that grows with its data: fixed memory, one pass, no range to be known beforehand.

The bins are uniform over [0, range) and the range is a power of two, so that a larger value merges bins in pairs
exactly instead of redistributing counts. With 8,192 bins over at most twice the largest value, at least 4,096 lie below
that value: twice the resolution of the 2,048 bins that the published entropy procedure asks for.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError

BINS = 8192
_ENOUGH = 1 << 14
"""Values of an image that are counted: of a larger tensor every so-manyth, since neighbours say the same."""

_TINY = 2.0**-114
"""Smaller values count as zeros: float32 holds neither their scale nor how many bins one of them is wide."""

_BLOCK = 1 << 17
"""Values looked at together."""


class Histogram:
    """Counts of |x| for one tensor. Memory: 64 KiB, whatever is added. `total` is the number of values counted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts = np.zeros(BINS, np.int64)
        self.range = 0.0
        self.largest = 0.0
        self.signed = False
        self.total = 0

    def add(self, values: NDArray[np.float32]) -> None:
        """Count an array [n, ...] of n images; a single number (a mean over everything) counts as one image.

        Of large tensors a part is counted, other values of each array; the largest magnitude is taken over all.

        Raises InputError when it holds NaN or an infinity.
        """
        flat = values.reshape(-1)
        if not flat.size:
            return
        step = _step(flat.size // len(values) if values.ndim else 1)
        first, block = self.total % step, step * max(1, _BLOCK // step)
        picked = np.empty(len(range(first, flat.size, step)), np.float32)
        filled = 0
        # Both passes over a block that the cache still holds.
        for start in range(0, flat.size, block):
            piece = flat[start : start + block]
            self._reach(float(piece.min()), float(piece.max()))
            some = piece[first::step]
            picked[filled : filled + some.size] = some
            filled += some.size
        self.total += picked.size
        if self.range == 0:
            self.counts[0] += picked.size
            return
        np.abs(picked, out=picked)
        picked *= np.float32(BINS / self.range)
        self.counts += np.bincount(picked.astype(np.intp), minlength=BINS)

    def _reach(self, low: float, high: float) -> None:
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InputError(
                f"tensor {self.name!r} holds {'NaN' if math.isnan(low + high) else 'an infinity'}",
                expected="finite activations",
                then="Check the images and their normalisation, and that the model does not overflow.",
            )
        self.signed = self.signed or low < 0
        if max(high, -low) >= _TINY:
            self.largest = max(self.largest, high, -low)
        self._widen()

    def _widen(self) -> None:
        """Double the range until the largest value lies inside, merging bins in pairs."""
        if self.largest < self.range or self.largest == 0:
            return
        wanted = math.ldexp(1.0, math.frexp(self.largest)[1])
        if self.range == 0:
            self.range = wanted
            return
        while self.range < wanted:
            self.counts[: BINS // 2] = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[BINS // 2 :] = 0
            self.range *= 2

    @property
    def width(self) -> float:
        """The width of a bin, in units of the tensor."""
        return self.range / BINS

    def resampled(self, bins: int) -> NDArray[np.float64]:
        """The counts over `bins` uniform bins of [0, largest]; a bin that is cut shares its counts by length."""
        if self.largest == 0:
            counts = np.zeros(bins)
            counts[0] = self.total
            return counts
        cumulated = np.concatenate([[0.0], np.cumsum(self.counts, dtype=np.float64)])
        edges = np.linspace(0.0, self.largest / self.width, bins + 1)
        at_edges: NDArray[np.float64] = np.interp(edges, np.arange(BINS + 1.0), cumulated)
        at_edges[-1] = self.total
        return np.diff(at_edges)


def _step(values: int) -> int:
    """Every which value is counted of an image with so many: without a common factor, so that each place has turns."""
    step = max(1, values // _ENOUGH)
    while math.gcd(step, values) > 1:
        step += 1
    return step
