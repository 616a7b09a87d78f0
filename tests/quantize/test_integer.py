"""The DLA's integer arithmetic beside the same in Python's unbounded whole numbers and fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dlaflow.quantize import integer

SUMS = st.integers(-(2**31), 2**31 - 1)


def half_away(value: Fraction) -> int:
    """The nearest whole number, halves away from zero."""
    whole = math.floor(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


@given(SUMS, st.integers(-32767, 32767), st.integers(0, 40))
@example(1, 1, 1)
@example(-1, 1, 1)
@example(5, 1, 1)
def test_dropped_bits_round_half_away_from_zero(value, multiplier, shift):
    (found,) = integer.shift_right(np.array([value * multiplier]), shift)
    assert found == half_away(Fraction(value * multiplier, 2**shift))


@given(st.floats(2.0**-30, 2.0**15, exclude_max=True, width=32))
def test_a_factor_keeps_its_fifteen_highest_bits(factor):
    shift = integer.shift_for(factor)
    (multiplier,) = integer.multiplied([factor], shift)
    assert 2**14 <= multiplier < 2**15
    assert multiplier == math.floor(Fraction(factor) * 2**shift)


@given(st.lists(st.floats(2.0**-20, 100, width=32), min_size=2, max_size=5))
def test_channels_share_the_shift_of_the_largest(factors):
    shift = integer.shift_for(max(factors))
    expected = [math.floor(Fraction(factor) * 2**shift) for factor in factors]
    assert integer.multiplied(factors, shift).tolist() == expected


@pytest.mark.parametrize("factor", [2.0**15, math.inf, math.nan, 2.0**-50])
def test_a_factor_that_has_no_multiplier_is_refused(factor):
    with pytest.raises(ValueError):
        integer.shift_for(factor)


@given(st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=4), st.floats(2.0**-13, 1, width=32))
def test_biases_have_sixteen_bits_and_one_shift(bias, step):
    found = integer.rounded_bias(bias, step)
    whole = [math.floor(float(np.float32(np.float32(each) / np.float32(step)) + np.float32(0.5))) for each in bias]
    bits = 0
    while max(map(abs, whole)) > 2 ** (bits + 15):
        bits += 1
    assert all(value % 2**bits == 0 for value in found.tolist())
    assert all(
        abs(value - exact) < 2**bits or abs(exact) >= 2**15 * 2**bits for value, exact in zip(found, whole, strict=True)
    )


@given(SUMS.map(lambda value: value // 512), st.integers(1, 32), st.integers(1, 32))
def test_an_average_is_two_products_with_reciprocals_of_sixteen_bits(total, width, height):
    expected = total
    for size in (width, height):
        expected = half_away(Fraction(expected * (65536 // size), 65536))
    assert integer.average(np.array([total]), width, height).tolist() == [expected]


@pytest.mark.parametrize(
    ("operator", "exact", "bound"),
    [("Sigmoid", lambda x: 1 / (1 + np.exp(-x)), 2e-3), ("Tanh", np.tanh, 2e-3)],
)
def test_tables_meet_their_function_at_the_entries_and_stay_near_between(operator, exact, bound):
    start, density = integer.TABLES[operator]
    entries = (start + np.arange(257) / density).astype(np.float32)
    found = integer.from_table(operator, entries)
    assert found.tolist() == exact(entries.astype(np.float64)).astype(np.float16).astype(np.float32).tolist()
    between = np.linspace(2 * start, -2 * start, 10001).astype(np.float16).astype(np.float32)
    assert np.max(np.abs(integer.from_table(operator, between) - exact(between.astype(np.float64)))) < bound
    assert integer.from_table(operator, [1e4, -1e4]).tolist() == [found[-1], found[0]]
