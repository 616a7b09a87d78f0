"""Which DLA core to take, from what `remote BOARD bench` measured on the board: the one that keeps most of its rate."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dlaflow.errors import InputError
from dlaflow.types import Measurement

_SUBJECT = re.compile(r"dla(\d{1,3})( \(together\))?")
_NO_DIFFERENCE = 0.03
"""Rates closer than this share are the same: repeated public runs spread by that much."""


@dataclass(frozen=True, slots=True)
class CoreChoice:
    """`core` is None where the measurements give no reason to prefer one; `notes` say what was measured."""

    core: int | None
    notes: tuple[str, ...]


def choose_core(measurements: Sequence[Measurement], origin: object, engine: str) -> CoreChoice:
    """The core with the highest rate beside the others, or alone where they were not measured together.

    `engine` is the sha256 of the engine that they should be of. Raises InputError for measurements of another one, of
    no DLA core, or of several boards.
    """
    alone, together = _rates(measurements, together=False), _rates(measurements, together=True)
    if not alone:
        several = any(" dla" in one.subject for one in measurements if one.quantity == "throughput")
        raise InputError(
            f"{origin} measured {'several boards' if several else 'no DLA core'}",
            expected="`dlaflow remote BOARD bench --dla ENGINE --core 0 --core 1 --json FILE` of one board",
        )
    measured = {one.sha256 for one in measurements if _SUBJECT.fullmatch(one.subject)} - {""}
    if measured - {engine}:
        raise InputError(
            f"{origin} measured another engine than the one that is put to work",
            expected=f"sha256 {engine[:12]}...",
            received=", ".join(f"{each[:12]}..." for each in sorted(measured)),
            then="Measure this engine with `dlaflow remote BOARD bench --dla`, or name the core with --core.",
        )
    notes = [] if measured else ["The measurements do not tell which engine they are of: an older dlaflow made them."]
    notes += [
        f"Measured on core {core}: {rate:,.1f} batches/s alone"
        + (f", {together[core]:,.1f} beside the others" if core in together else "")
        for core, rate in sorted(alone.items())
    ]
    decisive = together if together.keys() == alone.keys() else alone
    best = max(decisive, key=lambda core: (decisive[core], -core))
    others = [rate for core, rate in decisive.items() if core != best]
    if not others:
        return CoreChoice(best, (*notes, f"Only core {best} was measured."))
    if max(others) >= decisive[best] * (1 - _NO_DIFFERENCE):
        return CoreChoice(None, (*notes, *_about_both(alone, together), "The cores do not differ: take the idle one."))
    return CoreChoice(best, (*notes, *_about_both(alone, together), f"Core {best} keeps the highest rate."))


def _about_both(alone: Mapping[int, float], together: Mapping[int, float]) -> tuple[str, ...]:
    if together.keys() != alone.keys():
        return ()
    both, one = sum(together.values()), max(alone.values())
    if both > one * (1 + _NO_DIFFERENCE):
        return (f"All cores together give {both / one:.2f} times the rate of the best one alone.",)
    return ("All cores together give no more than the best one alone: leave the others idle.",)


def _rates(measurements: Sequence[Measurement], *, together: bool) -> dict[int, float]:
    found = {}
    for one in measurements:
        match = _SUBJECT.fullmatch(one.subject)
        usable = one.quantity == "throughput" and math.isfinite(one.value) and one.value > 0
        if match and usable and bool(match[2]) == together:
            found[int(match[1])] = one.value
    return found
