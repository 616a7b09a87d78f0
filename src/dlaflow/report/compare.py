"""Several runs side by side, and what got worse from the first to the last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from dlaflow.errors import InputError, UsageError, unknown_name
from dlaflow.profile.compare import TIMES
from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.tradeoff import latency_of
from dlaflow.report.units import percent
from dlaflow.report.verdict import PRECISIONS, number, opening


class Worse(str, Enum):
    """What counts as a regression."""

    SWITCHES = "switches"
    LOADABLES = "loadables"
    ACCURACY = "accuracy"
    SLOWER = "slower"


@dataclass(frozen=True, slots=True)
class Limit:
    """One `--fail-on`. `allowed` is in points of accuracy or percent of latency; None takes the 95% intervals or 0."""

    kind: Worse
    allowed: float | None = None


@dataclass(frozen=True, slots=True)
class Regression:
    """One thing that is worse in `variant` than it was: what, before and after, as text."""

    variant: str
    what: str
    before: str
    after: str


def parse_limit(text: str) -> Limit:
    """`switches`, `loadables`, `accuracy`, `accuracy=0.5` (points), `slower=5%`.

    Raises UsageError.
    """
    name, _, amount = text.partition("=")
    kinds = [kind.value for kind in Worse]
    if name not in kinds:
        raise unknown_name("regression", name, kinds)
    if not amount:
        return Limit(Worse(name))
    try:
        allowed = float(amount.removesuffix("%"))
    except ValueError:
        allowed = math.nan
    if name not in {"accuracy", "slower"} or not 0 <= allowed < math.inf:
        raise UsageError("wrong --fail-on", expected="such as accuracy=0.5 (points) or slower=5%", received=repr(text))
    return Limit(Worse(name), allowed)


def merge(runs: Sequence[RunRecord], created: str) -> RunRecord:
    """All runs as one, for one report; a variant is then named RUN/VARIANT, or RUN where both are called the same.

    Runs of one name get a number.
    """
    names = [run.name for run in runs]
    labels = [name if names.count(name) == 1 else f"{name}#{at + 1}" for at, name in enumerate(names)]
    variants = [
        replace(variant, name=label if variant.name in {run.name, label} else f"{label}/{variant.name}")
        for label, run in zip(labels, runs, strict=True)
        for variant in run.variants
    ]
    return RunRecord(
        " vs ".join(labels),
        created,
        " / ".join(dict.fromkeys(run.data for run in runs if run.data)),
        list(dict.fromkeys(notice for run in runs for notice in run.notices)),
        list(dict.fromkeys(line for run in runs for line in run.environment)),
        variants,
    )


def regressions(before: RunRecord, after: RunRecord, limits: Sequence[Limit]) -> list[Regression]:
    """What is worse in `after`, variant by variant (matched by name, or one against one).

    Raises InputError when a limit asks for something that cannot be compared: silence would read as "no regression".
    """
    return [
        found for old, new in pairs(before, after) for limit in limits for found in _CHECKS[limit.kind](old, new, limit)
    ]


def pairs(before: RunRecord, after: RunRecord) -> list[tuple[Variant, Variant]]:
    """The variants of both runs that belong together.

    Raises InputError when a variant of `before` has no partner.
    """
    if len(before.variants) == len(after.variants) == 1:
        return [(before.variants[0], after.variants[0])]
    named = {variant.name: variant for variant in after.variants}
    missing = [variant.name for variant in before.variants if variant.name not in named]
    if missing:
        raise InputError(
            f"{after.name} cannot be compared with {before.name}", expected=missing[0], received=", ".join(named)
        )
    return [(variant, named[variant.name]) for variant in before.variants]


def _more(old: Variant, new: Variant, limit: Limit) -> list[Regression]:
    for each in (old, new):
        if each.placement and (found := opening(each.placement)):
            raise InputError(
                f"{limit.kind.value} cannot be compared: {each.name}: {found.received}", expected=found.expected
            )
    before, after = (_count_of(each, limit.kind.value) for each in (old, new))
    if before is None or after is None:
        raise _incomparable(limit.kind.value, old if before is None else new)
    return [Regression(new.name, f"more {limit.kind.value}", str(before), str(after))] if after > before else []


def _count_of(variant: Variant, kind: str) -> int | None:
    """The switches or loadables of a variant: predicted, or as its log tells them."""
    if variant.placement is not None:
        return int(getattr(variant.placement.summary, kind))
    return next((round(each.value) for each in variant.measurements if each.quantity == kind), None)


def _less_accurate(old: Variant, new: Variant, limit: Limit) -> list[Regression]:
    found, compared = [], False
    for precision in PRECISIONS:
        before, after = (number(each, "top1", precision) for each in (old, new))
        if before is None or after is None:
            continue
        compared = True
        noise = math.hypot(before.spread or 0.0, after.spread or 0.0)
        allowed = noise if limit.allowed is None else limit.allowed / 100
        if before.value - after.value > allowed + 1e-12:
            texts = percent(before.value), percent(after.value)
            found.append(Regression(new.name, f"lower {precision} accuracy", *texts))
    if not compared:
        raise _incomparable("accuracy", new)
    return found


def _slower(old: Variant, new: Variant, limit: Limit) -> list[Regression]:
    before, after = latency_of(old), latency_of(new)
    for quantity in TIMES if before is None or after is None else ():
        shared = [next((m for m in each.measurements if m.quantity == quantity), None) for each in (old, new)]
        if all(shared):
            before, after = shared
            break
    if before is None or after is None or before.unit != after.unit:
        raise _incomparable("latency", old if before is None else new)
    if after.value <= before.value * (1 + (limit.allowed or 0.0) / 100):
        return []
    return [Regression(new.name, "slower", f"{before.value:.3g} {before.unit}", f"{after.value:.3g} {after.unit}")]


def _incomparable(what: str, variant: Variant) -> InputError:
    return InputError(
        f"{what} cannot be compared", expected=f"both runs to tell it of {variant.name}", received="no number"
    )


_CHECKS = {Worse.SWITCHES: _more, Worse.LOADABLES: _more, Worse.ACCURACY: _less_accurate, Worse.SLOWER: _slower}
