"""Turn a fit into the set that is stored: numbers rounded, with prior, reason, subjects and interval."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dlaflow.estimate.parameters import GPU_SETS, SCHEMA, ParameterSet, Spread
from dlaflow.estimate.parameters import Fitted as Number
from dlaflow.version import __version__
from tools.fit.cases import Case
from tools.fit.train import BYTES, MACS_PER_CLOCK, Fitted, cases_of

_DATA = (
    "measured_perf.json, schema measured_perf/1, and the timed builds of evidence/placement: public logs, tables and "
    "MLPerf results; sources stand with each point"
)


def fitted_set(fit: Fitted, spread: Spread, cases: Sequence[Case]) -> ParameterSet:
    """The stored form of one fit."""
    numbers = {
        prior.name: Number(float(value), float(sd), prior.median, prior.sd, prior.why)
        for prior, value, sd in zip(fit.priors, fit.solution.values, fit.solution.sds, strict=True)
    }
    found = ParameterSet(
        SCHEMA, __version__, fit.key, _DATA, fit.points, tuple(subjects_of(fit, cases)), spread, numbers
    )
    if fit.key in GPU_SETS:
        return found
    width = BYTES[fit.key.split("-")[1]]
    return msgspec.structs.replace(found, macs_per_clock=MACS_PER_CLOCK[fit.key], bytes_per_element=width)


def subjects_of(fit: Fitted, cases: Sequence[Case]) -> list[str]:
    """The models and layer kinds behind a fit."""
    return sorted({case.subject for case in cases_of(fit.key, cases)})
