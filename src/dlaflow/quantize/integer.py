"""The DLA's integer arithmetic: rounding, the multiplier and shift of 16 bits, biases, averages, and the two tables.

KNOWN is what NVIDIA published for the first DLA (nvdla.org; its C model of the hardware, nvdlav1, and its compiler and
firmware in nvdla/sw): half away from zero and saturation wherever bits are dropped, a 15-bit multiplier with the shift
that keeps its highest bit, one shift for all channels of a layer, biases of 16 bits with a common shift to the left,
averages by a reciprocal of 1.16 bits in each direction, and tables of 257 entries in FP16 for sigmoid and tanh.

INFERRED is that the closed compiler and the hardware of Xavier and Orin do the same; that two addends of different
scales share one shift and are rounded together; and reciprocals of windows beyond 8, which the firmware does not list.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

INT8 = (-128, 127)
_INT16 = (-(2**15), 2**15 - 1)
INT32 = (-(2**31), 2**31 - 1)
MULTIPLIER_BITS = 15
"""Bits of a multiplier beside its sign."""
MOST_SHIFT = 63
_BIAS_SHIFT = 31
_RECIPROCAL_BITS = 16
_TABLE = 256
"""Intervals of a table; it has one entry more."""
TABLES = {"Sigmoid": (-16.0, 8.0), "Tanh": (-4.0, 32.0)}
"""Where each table starts, and its entries for a difference of one."""


def shift_right(values: Integers, shift: int) -> Integers:
    """Divide by two to the power of `shift`, rounded half away from zero."""
    if shift <= 0:
        return values << -shift
    half = np.int64(1) << (shift - 1)
    rounded: Integers = np.sign(values) * ((np.abs(values) + half) >> shift)
    return rounded


def saturate(values: Integers, bounds: tuple[int, int] = INT8) -> Integers:
    """Cut to a range, of INT8 by default."""
    return np.clip(values, *bounds)


def shift_for(largest: float) -> int:
    """The shift for all multipliers of a layer: it keeps the highest bit of the largest factor in 15 bits.

    Raises ValueError for a factor that is not finite, is 2^15 or more, or needs a shift of more than 63.
    """
    if not np.isfinite(largest):
        raise ValueError("a scale is not finite")
    shift = MULTIPLIER_BITS - int(np.frexp(np.float32(largest))[1]) if largest else 1
    if not 0 <= shift <= MOST_SHIFT:
        raise ValueError(f"a factor of {largest:g} cannot be written as a multiplier of 15 bits and a shift of 0 to 63")
    return shift


def multiplied(factors: ArrayLike, shift: int) -> Integers:
    """The multipliers of `factors` (any shape) for a shift; what is left of a bit is dropped, not rounded."""
    return np.trunc(np.asarray(factors, np.float32).astype(np.float64) * 2.0**shift).astype(np.int64)


def rounded_bias(bias: ArrayLike, step: ArrayLike) -> Integers:
    """A bias in steps of the accumulator: 16 bits, and beyond them a shift to the left that all channels share."""
    steps = np.floor(np.asarray(bias, np.float32) / np.asarray(step, np.float32) + np.float32(0.5)).astype(np.float64)
    whole = np.clip(steps, *INT32).astype(np.int64)
    largest = int(np.max(np.abs(whole), initial=0))
    bits = int(np.ceil(np.log2(largest))) + 1 if largest else 0
    shift = min(_BIAS_SHIFT, max(0, bits - 16))
    return saturate(whole >> shift, _INT16) << shift


def average(sums: Integers, width: int, height: int) -> Integers:
    """The averages of windows of `width` x `height` from their sums: by two reciprocals, rounded after each."""
    for size in (width, height):
        sums = shift_right(sums * ((1 << _RECIPROCAL_BITS) // size), _RECIPROCAL_BITS)
    return sums


def from_table(operator: str, values: ArrayLike) -> NDArray[np.float32]:
    """Sigmoid or Tanh as the DLA looks it up: FP16 in and out, linear between entries, constant beyond both ends."""
    start, density = TABLES[operator]
    at = start + np.arange(_TABLE + 1) / density
    exact = 1 / (1 + np.exp(-at)) if operator == "Sigmoid" else np.tanh(at)
    table = exact.astype(np.float16).astype(np.float32)
    halves = np.asarray(values, np.float32).astype(np.float16).astype(np.float32)
    found = np.interp(halves, at.astype(np.float32), table)
    return found.astype(np.float16).astype(np.float32)
