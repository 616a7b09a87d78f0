"""Turn a fit into the set that is stored: numbers rounded, with prior, reason, subjects and interval."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dlaflow.estimate.parameters import GPU_SETS, ParameterSet, Spread, new_set
from dlaflow.estimate.parameters import Fitted as Number
from tools.fit.cases import Case
from tools.fit.train import BYTES, MACS_PER_CLOCK, Fitted, cases_of

_DATA = (
    "measured_perf.json, schema measured_perf/1, and the timed builds of evidence/placement: public logs, tables and "
    "MLPerf results; sources stand with each point"
)


def fitted_set(fit: Fitted, spread: Spread, cases: Sequence[Case]) -> ParameterSet:
    """The stored form of one fit."""
    base = new_set(fit.key, _DATA, subjects_of(fit, cases), fit.points, spread)
    numbers = {
        prior.name: Number(float(value), float(sd), prior.median, prior.sd, prior.why)
        for prior, value, sd in zip(fit.priors, fit.solution.values, fit.solution.sds, strict=True)
    }
    if fit.key in GPU_SETS:
        return msgspec.structs.replace(base, parameters=numbers)
    precision = fit.key.split("-")[1]
    return msgspec.structs.replace(
        base, parameters=numbers, macs_per_clock=MACS_PER_CLOCK[fit.key], bytes_per_element=BYTES[precision]
    )


def subjects_of(fit: Fitted, cases: Sequence[Case]) -> list[str]:
    """The models and layer kinds behind a fit."""
    return sorted({case.subject for case in cases_of(fit.key, cases)})
