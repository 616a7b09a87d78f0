"""Mean and spread of numbers that stream by, without keeping them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_Z95 = 1.959963984540054
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""The 97.5% quantile of the normal distribution, and of Student's t for 1 to 10 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Spread:
    """`n` numbers: their mean, standard deviation and extremes, in the unit of the numbers."""

    n: int
    mean: float
    deviation: float
    smallest: float
    largest: float

    @property
    def interval(self) -> float | None:
        """Half the width of the mean's 95% interval; None for a single number."""
        return _quantile(self.n - 1) * self.deviation / math.sqrt(self.n) if self.n > 1 else None


def _quantile(freedom: int) -> float:
    """Student's t at 97.5%: a table where it matters, then its expansion around the normal quantile."""
    if freedom <= len(_T95):
        return _T95[freedom - 1]
    return _Z95 + (_Z95**3 + _Z95) / (4 * freedom)


class Running:
    """Welford's running mean and variance."""

    __slots__ = ("_largest", "_mean", "_n", "_smallest", "_squares")

    def __init__(self) -> None:
        self._n = 0
        self._mean = 0.0
        self._squares = 0.0
        self._smallest = math.inf
        self._largest = -math.inf

    def add(self, value: float) -> None:
        """Take one number in."""
        self._n += 1
        step = value - self._mean
        self._mean += step / self._n
        self._squares += step * (value - self._mean)
        self._smallest = min(self._smallest, value)
        self._largest = max(self._largest, value)

    def finish(self) -> Spread | None:
        """What was seen, or None when nothing was."""
        if not self._n:
            return None
        deviation = math.sqrt(self._squares / (self._n - 1)) if self._n > 1 else 0.0
        return Spread(self._n, self._mean, deviation, self._smallest, self._largest)


def spread_of(values: Iterable[float]) -> Spread | None:
    """Mean and spread of numbers; None without any."""
    running = Running()
    for value in values:
        running.add(value)
    return running.finish()
