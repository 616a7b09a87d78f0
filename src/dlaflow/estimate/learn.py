"""Learn from a user's own measurements: the same fit with the numbers in use as the prior, stored apart.

Each measurement moves the parameters as far as it can vouch for them; what it says nothing about stays. Learning
goes on from what was learned before, and a file that was learned once is not counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, sqrt

import msgspec
import numpy as np

from dlaflow.errors import InputError, UsageError
from dlaflow.estimate.clocks import clocks_of
from dlaflow.estimate.dla import PARAMETER_NAMES, Array, Conditions, DlaEngine, DlaParameters
from dlaflow.estimate.parameters import DlaSet, Fitted, ParameterSet, Spread, dla_set, learned_path, write_set
from dlaflow.estimate.program import assemble, assignments_of, with_helpers
from dlaflow.estimate.setting import conditions_of, gpu_model
from dlaflow.estimate.solve import Prior, solve
from dlaflow.estimate.split import GpuModel, Workload, split_of
from dlaflow.graph.layer import Network
from dlaflow.targets.target import Target
from dlaflow.types import Placement

_LOOSENED = 0.12
"""A board may differ from the public ones by this much (sd of the logarithm), however sure the public fit is."""
_TRUST = 4.0
"""The user's own board weighs as much as so many public points."""
_NARROWEST = 0.6
"""Learning from many models narrows the shipped interval to this share at most."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of the user's: `total_ms` of an inference, `dla_ms` inside loadables when a profile tells.

    `digest` identifies the file it comes from.
    """

    name: str
    digest: str
    total_ms: float
    dla_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Learned:
    """What learning did: where it is stored, and the error of each measurement before and after (0.1 is 10%)."""

    stored: str
    samples: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


def learn(
    network: Network, placement: Placement, target: Target, power_mode: str | None, samples: Sequence[Sample]
) -> Learned:
    """Refit the board's parameters from measurements of one placed network and store them for that board.

    Raises InputError when nothing new was measured or a time is not positive, and UsageError when the board, its
    clock or the placement leaves nothing to learn.
    """
    current = dla_set(target.dla or "v2", target.precision, target.board.id)
    fresh = [sample for sample in samples if f"{sample.name}@{sample.digest}" not in current.source.subjects]
    if not fresh:
        raise InputError("nothing new to learn", expected="a measurement that was not learned before", received="none")
    for sample in fresh:
        if not 0 < sample.total_ms < inf or not 0 <= (sample.dla_ms or 0.0) < inf:
            raise InputError(
                f"{sample.name} holds no time", expected="more than 0 ms", received=f"{sample.total_ms} ms"
            )
    clocks = clocks_of(target.board, target.version, power_mode)
    if target.dla is None or clocks.dla_mhz is None:
        raise UsageError(f"{target.board.name} has no DLA clock to learn for", then="Choose a board with a DLA.")
    work = Workload.of(assemble(with_helpers(network, placement), assignments_of(placement)))
    if not work.program.loadables:
        raise UsageError("no layer of the model runs on the DLA", then="See `dlaflow check`.")
    conditions, gpu = conditions_of(target, clocks), gpu_model(clocks)
    priors = [
        Prior(name, number.median, max(number.log_sd, _LOOSENED), number.why)
        for name, number in ((name, current.source.parameters[name]) for name in PARAMETER_NAMES)
    ]
    measured = np.array([ms for sample in fresh for ms in (sample.total_ms, sample.dla_ms) if ms])

    def predict(values: Array) -> Array:
        split = split_of(work, _engine(current, values), conditions, gpu)
        inside = split.dla + split.launch
        return np.array([ms for sample in fresh for ms, seen in ((split.total, 1.0), (inside, sample.dla_ms)) if seen])

    found = solve(predict, measured, np.full(measured.size, _TRUST), priors)
    after = _total(work, _engine(current, found.values), conditions, gpu)
    before = _total(work, current.engine, conditions, gpu)
    misses = [abs(float(np.log(after / sample.total_ms))) for sample in fresh]
    numbers = {
        prior.name: Fitted(float(value), float(sd), prior.median, prior.sd, prior.why)
        for prior, value, sd in zip(priors, found.values, found.sds, strict=True)
    }
    path = learned_path(target.board.id, current.source.key)
    write_set(_stored(current.source, fresh, numbers, max(misses)), path)
    return Learned(
        str(path),
        tuple(sample.name for sample in fresh),
        tuple(before / sample.total_ms - 1 for sample in fresh),
        tuple(after / sample.total_ms - 1 for sample in fresh),
    )


def _engine(current: DlaSet, values: Array) -> DlaEngine:
    parameters = DlaParameters(**dict(zip(PARAMETER_NAMES, map(float, values), strict=True)))
    return replace(current.engine, parameters=parameters)


def _total(work: Workload, engine: DlaEngine, conditions: Conditions, gpu: GpuModel | None) -> float:
    return split_of(work, engine, conditions, gpu).total


def _stored(before: ParameterSet, fresh: Sequence[Sample], numbers: dict[str, Fitted], miss: float) -> ParameterSet:
    """The user's set: how much narrower its interval is depends on how many models it has seen, and on its misses."""
    own = before.subjects if before.learned else ()
    subjects = (*own, *(f"{sample.name}@{sample.digest}" for sample in fresh))
    miss = ceil(miss * 1e3) / 1e3  # three digits are stored: rounded up, it still holds the worst one
    narrower = max(_NARROWEST, 1 / sqrt(1 + len({subject.split("@")[0] for subject in subjects}) / 4))
    shipped = before.spread if not before.learned else dla_set(*_halves(before.key)).source.spread
    return msgspec.structs.replace(
        before,
        data="learned from your own measurements on this board, with the public fit as the prior",
        points=(before.points if before.learned else 0) + len(fresh),
        subjects=subjects,
        parameters=numbers,
        spread=Spread(max(shipped.network * narrower, miss), max(shipped.layer * narrower, miss)),
    )


def _halves(key: str) -> tuple[str, str]:
    generation, precision = key.split("-")
    return generation, precision
