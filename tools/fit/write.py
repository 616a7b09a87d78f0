"""What is stored of a fit: sets of numbers with prior, reason, subjects and interval; energy by power mode."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
import numpy as np

from dlaflow.estimate.energy import EnergyFile, ModeRatio
from dlaflow.estimate.parameters import GPU_SETS, SCHEMA, ParameterSet, Spread
from dlaflow.estimate.parameters import Fitted as Number
from dlaflow.files import write_atomic
from dlaflow.version import __version__
from tools.fit.cases import Case
from tools.fit.points import Ratio
from tools.fit.train import BYTES, MACS_PER_CLOCK, Fitted, cases_of

_DATA = (
    "measured_perf.json, schema measured_perf/1, and the timed builds of evidence/placement: public logs, tables and "
    "MLPerf results; sources stand with each point"
)

Z80 = 1.2816
"""Half width of a normal 80% interval in standard deviations."""


def fitted_set(fit: Fitted, spread: Spread, cases: Sequence[Case], kinds: Collection[str] = ()) -> ParameterSet:
    """The stored form of one fit; `kinds` are those of DLA steps that its points tell of."""
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
    return msgspec.structs.replace(
        found, macs_per_clock=MACS_PER_CLOCK[fit.key], bytes_per_element=width, kinds=tuple(sorted(kinds))
    )


def subjects_of(fit: Fitted, cases: Sequence[Case]) -> list[str]:
    """The models and layer kinds behind a fit."""
    return sorted({case.subject for case in cases_of(fit.key, cases)})


def fit_ratios(ratios: Sequence[Ratio], before: EnergyFile) -> EnergyFile:
    """The energy file with ratios of inferences per joule fitted anew: their mean and spread by power mode.

    Its measured power stays.
    """
    modes = []
    for mode in dict.fromkeys(ratio.power_mode for ratio in ratios):
        logs = np.log([ratio.dla_over_gpu_perf_per_watt for ratio in ratios if ratio.power_mode == mode])
        spread = Z80 * float(logs.std(ddof=1)) * float(np.sqrt(1 + 1 / logs.size))
        modes.append(ModeRatio(mode, round(float(np.exp(logs.mean())), 2), round(spread, 3), int(logs.size)))
    return EnergyFile(before.board, before.source, tuple(modes), before.power)


def write_energy(found: EnergyFile, path: Path) -> None:
    """Write the ratios into the file, keeping its remarks and the measured power."""
    head, rest = path.read_text().split("ratio = [\n", 1)
    rows = "".join(
        f'  {{ mode = "{r.mode}", ratio = {r.ratio}, half_width = {r.half_width}, models = {r.models} }},\n'
        for r in found.ratio
    )
    write_atomic(path, head + "ratio = [\n" + rows + "]\n" + rest.split("]\n", 1)[1])
