"""Numbers as people read them."""

from __future__ import annotations

import math

_PLURALS = {"switch": "switches"}


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 0..1 as text; only a whole 0 or 1 reads 0% or 100%, and None reads unknown."""
    if share is None:
        return "unknown"
    if share in {0, 1}:
        return f"{share:.0%}"
    step = 10.0 ** -(digits + 2)
    return f"{min(max(share, step), 1 - step):.{digits}%}"


def count(amount: int, noun: str) -> str:
    """`1 switch`, `2 switches`, `0 layers`."""
    plural = _PLURALS.get(noun, f"{noun}s")
    return f"{amount:,} {noun if amount == 1 else plural}"


def plain(value: float, digits: int = 4) -> str:
    """So many digits that tell, and never an exponent for large numbers: `0.03142`, `30,520`."""
    return f"{value:,.0f}" if 10**digits <= abs(value) < math.inf else f"{value:.{digits}g}"


def si(amount: float) -> str:
    """Three digits and a prefix with a space before it: `1.57 G`, `320 k`, `12 `."""
    for limit, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if amount >= limit * 0.9995:
            return f"{amount / limit:.3g} {prefix}"
    return f"{amount:.3g} "


def nice_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10, ... (times a power of ten) of which at most `most` fit into `span`."""
    raw = max(span, 1e-12) / most
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def byte_size(amount: float) -> str:
    """Binary units: `64 KiB`."""
    for limit, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if amount >= limit:
            return f"{amount / limit:.3g} {unit}"
    return f"{amount:.0f} B"
