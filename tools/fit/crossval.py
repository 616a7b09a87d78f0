"""Cross-validation by whole sources, or whole networks and layer kinds, and the intervals that follow from it.

Every source is held out once with all its points, in every mode and precision; the rest is fitted anew. The half width
of the 80% interval is a quantile of the held-out logarithmic residuals, so that it covers people, boards and networks
that the fit has never seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dlaflow.estimate.parameters import Spread
from dlaflow.estimate.width import kind_shares, unseen_kinds, widened
from dlaflow.progress import Progress, silent
from tools.fit.cases import Case
from tools.fit.train import Models, cases_of, predict_with, train

QUANTILE = 0.75
"""Aims between 75 and 90%, of points as of networks of a source."""
_SELDOM = 0.6
"""Half width where networks of too few sources tell: a factor of about 1.8 either way."""
_ENOUGH = 4
_TELLING = 0.05
"""A point tells of a kind that takes at least this share of its time on the DLA."""


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
    cases: Sequence[Case], unseen: Callable[[Case], str] = by_source, progress: Progress = silent
) -> list[HeldOut]:
    """Predict every case by a fit without all those of the same `unseen`; intervals come from the others' residuals."""
    raw: list[tuple[Case, float, dict[str, float]]] = []
    groups = sorted({unseen(case) for case in cases})
    with progress("Cross-validation", len(groups), "fits") as task:
        for group in groups:
            others = [case for case in cases if unseen(case) != group]
            models, _ = train(others)
            told = told_kinds(others, models)
            raw += [
                (case, predict_with(case, models), unseen_kinds(shares_of(case, models), told.get(case.key, ())))
                for case in cases
                if unseen(case) == group
            ]
            task.advance()
    held = []
    for case, predicted, strange in raw:
        pairs = [(other, said) for other, said, _ in raw if unseen(other) != unseen(case)]
        held.append(HeldOut(case, predicted, widened(half_width(pairs, spread_key(case)), strange)))
    return sorted(held, key=lambda one: one.case.index)


def shares_of(case: Case, models: Models) -> dict[str, float]:
    """The share of a case's DLA time by kind; empty for the GPU's."""
    return {} if case.dla is None else kind_shares(case.dla, models.engines[case.key], case.conditions)


def told_kinds(cases: Sequence[Case], models: Models) -> dict[str, set[str]]:
    """The kinds of DLA steps that the fitted cases tell of, by set."""
    told: dict[str, set[str]] = {}
    for key in models.engines:
        shares = [shares_of(case, models) for case in cases_of(key, cases)]
        told[key] = {kind for each in shares for kind, share in each.items() if share >= _TELLING}
    return told


def half_width(pairs: Sequence[tuple[Case, float]], key: tuple[str, str]) -> float:
    """The half width of one kind of case from (case, held-out prediction) pairs; wide where too few tell.

    A quantile of the residuals in which every network of every source counts once, however often it was measured.
    """
    found = [(case, predicted) for case, predicted in pairs if spread_key(case) == key and case.use]
    misses = np.array([abs(float(np.log(predicted / case.measured))) for case, predicted in found])
    count = Counter((case.source, case.subject) for case, _ in found)
    if len(count) < _ENOUGH:
        return max([_SELDOM, *map(float, misses)])
    order = np.argsort(misses)
    weights = np.array([1 / count[case.source, case.subject] for case, _ in found])[order]
    return float(np.interp(QUANTILE, (np.cumsum(weights) - weights / 2) / weights.sum(), misses[order]))


def spread_of(held: Sequence[HeldOut], key: str) -> Spread:
    """The interval of a parameter set, from all held-out points of it."""
    pairs = [(one.case, one.predicted) for one in held]
    network = half_width(pairs, (key, "network"))
    return Spread(network=network, layer=half_width(pairs, (key, "layer")))
