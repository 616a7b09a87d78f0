"""Intervals as people read them, alike in text and pages: `1.98 to 3.47`, or `± 0.9` where both ends are as far."""

from __future__ import annotations

from typing import Protocol

_WHOLE = 10


class Uncertain(Protocol):
    """A value with the half width of its interval and, where it is lopsided, its ends."""

    @property
    def value(self) -> float: ...
    @property
    def spread(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def ends(found: Uncertain) -> tuple[float, float]:
    """The ends of the interval; the value itself where there is none."""
    half = found.spread or 0.0
    low, high = found.value - half, found.value + half
    return low if found.low is None else found.low, high if found.high is None else found.high


def told(found: Uncertain, number: str = "{:.3g}", half: str = "") -> str:
    """The interval, its ends written as `number`, its half width as `half` (empty: two digits); empty without one."""
    if found.spread is None:
        return ""
    if not _is_lopsided(found):
        half = half or ("{:.0f}" if found.spread >= _WHOLE else "{:.2g}")  # never an exponent for whole numbers
        return f"± {half.format(found.spread)}"
    return f"{number.format(found.low)} to {number.format(found.high)}"


def beside(found: Uncertain, number: str = "{:.3g}", half: str = "") -> str:
    """The same to stand behind the value: ` (1.98 to 3.47)` or ` ± 0.9`."""
    text = told(found, number, half)
    return "" if not text else f" ({text})" if _is_lopsided(found) else f" {text}"


def _is_lopsided(found: Uncertain) -> bool:
    return found.low is not None and found.high is not None


def told_share(found: Uncertain, digits: int = 1) -> str:
    """The interval of a share of 0..1: `68.2 to 70.0%`; empty without one."""
    low, high = (min(max(end, 0.0), 1.0) for end in ends(found))
    return "" if found.spread is None else f"{100 * low:.{digits}f} to {high:.{digits}%}"
