"""Cross-validation by whole models and whole layer kinds, and the intervals that follow from it.

Every subject is held out once with all its points, in every mode and precision; the rest is fitted anew. The half
width of the 80% interval is a quantile of the held-out logarithmic residuals, so that it covers what the fit has never
seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dlaflow.estimate.parameters import Spread
from dlaflow.progress import Progress, silent
from tools.fit.cases import Case
from tools.fit.train import predict_with, train

QUANTILE = 0.88
"""Aims between 75 and 90% on points of the same kind."""
_SELDOM = 0.6
"""Half width where fewer than eight held-out points tell: a factor of about 1.8 either way."""
_ENOUGH = 8


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A case and what the fit without its subject says; `half_width` is that of its interval, on the logarithm."""

    case: Case
    predicted: float
    half_width: float

    @property
    def error(self) -> float:
        """Relative error, 0.1 for 10%."""
        return abs(self.predicted / self.case.measured - 1)

    @property
    def covered(self) -> bool:
        """Whether the measurement lies in the interval."""
        return abs(float(np.log(self.predicted / self.case.measured))) <= self.half_width


def spread_key(case: Case) -> tuple[str, str]:
    """Which interval a case belongs to: the parameter set and the scope."""
    if case.what == "gpu":
        return ("volta" if case.generation == "v1" else "ampere"), "network"
    if case.what == "together":
        return f"{case.key} with GPU", "network"
    return case.key, "network" if case.scope == "network" else "layer"


def by_subject(case: Case) -> str:
    """The network or layer kind: what would a fit say that has not seen this network?"""
    return case.subject


def by_source(case: Case) -> str:
    """The repository: what would a fit say to people whose measurements it has not seen?"""
    return case.source


def hold_out(
    cases: Sequence[Case], unseen: Callable[[Case], str] = by_subject, progress: Progress = silent
) -> list[HeldOut]:
    """Predict every case by a fit without all those of the same `unseen`; intervals come from the others' residuals."""
    raw: list[tuple[Case, float]] = []
    groups = sorted({unseen(case) for case in cases})
    with progress("Cross-validation", len(groups), "fits") as task:
        for group in groups:
            models, _ = train([case for case in cases if unseen(case) != group])
            raw += [(case, predict_with(case, models)) for case in cases if unseen(case) == group]
            task.advance()
    held = []
    for case, predicted in raw:
        others = [pair for pair in raw if unseen(pair[0]) != unseen(case)]
        held.append(HeldOut(case, predicted, half_width(others, spread_key(case))))
    return sorted(held, key=lambda one: one.case.index)


def half_width(pairs: Sequence[tuple[Case, float]], key: tuple[str, str]) -> float:
    """The half width of one kind of case from (case, held-out prediction) pairs; wide where too few tell."""
    found = [
        abs(float(np.log(predicted / case.measured)))
        for case, predicted in pairs
        if spread_key(case) == key and case.use
    ]
    if len(found) < _ENOUGH:
        return max([_SELDOM, *found])
    return float(np.quantile(found, QUANTILE))


def spread_of(held: Sequence[HeldOut], key: str) -> Spread:
    """The interval of a parameter set, from all held-out points of it."""
    pairs = [(one.case, one.predicted) for one in held]
    network = half_width(pairs, (key, "network"))
    return Spread(network=network, layer=half_width(pairs, (key, "layer")))
