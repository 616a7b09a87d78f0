"""How wide the 80% interval of an estimate is: that of networks nobody fitted, and more for kinds that no point shows.

The half widths of a set are quantiles of held-out logarithmic residuals, whole sources held out together. They speak
for networks made of what the points contain; time in other kinds of layers is a guess, and widens.
"""

from __future__ import annotations

from collections.abc import Collection
from math import hypot

from dlaflow.estimate.dla import Conditions, DlaEngine, step_times
from dlaflow.estimate.parameters import ParameterSet
from dlaflow.estimate.split import Workload
from dlaflow.types import Device

FEW_STEPS = 3
"""Up to so many steps it is an engine of a layer, and that kind of interval holds."""
_UNSEEN = 0.8
"""What a full share of kinds that no point contains adds to the half width: a factor of two either way."""


def kind_shares(work: Workload, engine: DlaEngine, conditions: Conditions) -> dict[str, float]:
    """The share of the time inside loadables that each kind of step takes; empty without such steps."""
    steps = [step for step in work.program.steps if step.assignment.device is Device.DLA]
    times = step_times(work.dla, engine, conditions).total
    shares: dict[str, float] = {}
    for step, time in zip(steps, times, strict=True):
        shares[step.kind] = shares.get(step.kind, 0.0) + float(time / times.sum())
    return shares


def unseen_kinds(shares: dict[str, float], told: Collection[str]) -> dict[str, float]:
    """The kinds, with their shares of the time, that no point behind the set tells of."""
    return {kind: share for kind, share in shares.items() if kind not in told}


def half_width(source: ParameterSet, work: Workload, engine: DlaEngine, conditions: Conditions) -> float:
    """The half width on the logarithm for a workload, by the set that its estimate rests on."""
    base = source.spread.layer if len(work.program.steps) <= FEW_STEPS else source.spread.network
    return widened(base, unseen_kinds(kind_shares(work, engine, conditions), source.kinds))


def widened(base: float, unseen: dict[str, float]) -> float:
    """A half width with what unseen kinds add."""
    return hypot(base, _UNSEEN * sum(unseen.values()))
