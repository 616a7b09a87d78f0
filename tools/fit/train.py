"""Fit every set of parameters, in the order in which they lean on each other: GPUs, Orin's DLA, Xavier's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dlaflow.estimate.dla import PARAMETER_NAMES, Array, DlaEngine, DlaParameters
from dlaflow.estimate.gpu import GPU_PARAMETER_NAMES, GpuParameters
from dlaflow.estimate.schedule_flow import beside_itself
from dlaflow.estimate.solve import Prior, Solution, solve
from dlaflow.estimate.split import GpuModel, gpu_only, split_of
from tools.fit.cases import Case
from tools.fit.priors import DLA_PRIORS, GPU_PRIORS, fp16_priors, transferred

MACS_PER_CLOCK = {"v2-int8": 8192.0, "v2-fp16": 256.0, "v1-int8": 2048.0, "v1-fp16": 1024.0}
"""INT8 rates follow from the published TOPS; Orin's FP16 rate is not, 256 is only the unit of `efficiency`."""
BYTES = {"int8": 1, "fp16": 2}
GPU_OF = {"v1": "volta", "v2": "ampere"}


@dataclass(frozen=True, slots=True)
class Models:
    """All fitted sets: engines by `v2-int8`, GPUs by `ampere`."""

    engines: dict[str, DlaEngine]
    gpus: dict[str, GpuParameters]


@dataclass(frozen=True, slots=True)
class Fitted:
    """One set with how it was found."""

    key: str
    priors: tuple[Prior, ...]
    solution: Solution
    points: int


def predict(case: Case, engine: DlaEngine | None, gpu: GpuParameters | None) -> float:
    """What the model says for a case, in the unit of its `measured`."""
    model = GpuModel(gpu, case.clocks.gpu) if gpu is not None and case.clocks.gpu is not None else None
    if case.what == "gpu":
        assert case.gpu is not None
        assert model is not None
        return gpu_only(case.gpu, model, case.precision, graphs=case.graphs)
    assert case.dla is not None
    assert engine is not None
    split = split_of(case.dla, engine, case.conditions, model)
    if case.what == "dla" and case.scope == "profile":
        return split.dla
    if case.what == "dla":
        return split.total if case.conditions.cores < 2 else beside_itself(case.dla, engine, case.conditions, model)
    assert case.gpu is not None
    assert model is not None
    alone = case.batches[1] * 1e3 / gpu_only(case.gpu, model, case.precision, graphs=True)
    return alone + 2 * case.batches[0] * 1e3 / split.total


def predict_with(case: Case, models: Models) -> float:
    """What a full set of models says for a case."""
    return predict(case, models.engines.get(case.key), models.gpus.get(GPU_OF[case.generation]))


def train(cases: Sequence[Case]) -> tuple[Models, list[Fitted]]:
    """Fit everything on the cases that are meant for it. Sets without any case keep their priors."""
    models, fitted = Models({}, {}), []
    for gpu_name in GPU_OF.values():
        own = cases_of(gpu_name, cases)
        found = _fit(own, GPU_PRIORS, lambda values: (None, gpu_parameters(values)))
        models.gpus[gpu_name] = gpu_parameters(found.values)
        fitted.append(Fitted(gpu_name, GPU_PRIORS, found, len(own)))
    for key, macs in MACS_PER_CLOCK.items():
        priors = tuple(sorted(_priors(key, models), key=lambda prior: PARAMETER_NAMES.index(prior.name)))
        own = cases_of(key, cases)
        generation = key.split("-")[0]
        gpu = models.gpus[GPU_OF[generation]]

        def assume(values: Array, key: str = key, macs: float = macs, gpu: GpuParameters = gpu) -> _Pair:
            return engine_of(key, macs, values), gpu

        found = _fit(own, priors, assume)
        models.engines[key] = engine_of(key, macs, found.values)
        fitted.append(Fitted(key, priors, found, len(own)))
    return models, fitted


def cases_of(key: str, cases: Sequence[Case]) -> list[Case]:
    """The cases that a set is fitted on. Xavier's DLA is seen almost only beside its GPU, Orin's by itself."""
    if key in GPU_OF.values():
        return [case for case in cases if case.use and case.what == "gpu" and GPU_OF[case.generation] == key]
    kinds = ("dla",) if key.startswith("v2") else ("dla", "together")
    return [case for case in cases if case.use and case.what in kinds and case.key == key]


def _priors(key: str, models: Models) -> tuple[Prior, ...]:
    generation, precision = key.split("-")
    if generation == "v1":
        return transferred(named(models.engines[f"v2-{precision}"].parameters), precision)
    if precision == "fp16":
        return fp16_priors(named(models.engines["v2-int8"].parameters))
    return DLA_PRIORS[key]


_Pair = tuple[DlaEngine | None, GpuParameters | None]


def _fit(cases: Sequence[Case], priors: Sequence[Prior], assume: Callable[[Array], _Pair]) -> Solution:
    if not cases:
        return Solution(np.array([prior.median for prior in priors]), np.array([prior.sd for prior in priors]))

    def values_of(values: Array) -> Array:
        engine, gpu = assume(values)
        return np.array([predict(case, engine, gpu) for case in cases])

    return solve(values_of, np.array([case.measured for case in cases]), weights_of(cases), priors)


def weights_of(cases: Sequence[Case]) -> Array:
    """Repeats of one subject in other modes and on the other core tell less than new subjects: 1.5 / sqrt(count)."""
    count = Counter((case.source, case.subject, case.scope) for case in cases)
    return np.array([1.5 / np.sqrt(count[case.source, case.subject, case.scope]) for case in cases])


def engine_of(key: str, macs: float, values: Array) -> DlaEngine:
    """An engine from fitted values in the order of PARAMETER_NAMES."""
    generation, precision = key.split("-")
    parameters = DlaParameters(**dict(zip(PARAMETER_NAMES, map(float, values), strict=True)))
    return DlaEngine(generation, precision, macs, BYTES[precision], parameters)


def gpu_parameters(values: Array) -> GpuParameters:
    """GPU parameters from fitted values in the order of GPU_PARAMETER_NAMES."""
    return GpuParameters(**dict(zip(GPU_PARAMETER_NAMES, map(float, values), strict=True)))


def named(parameters: DlaParameters) -> dict[str, float]:
    """The parameters by name."""
    return {name: float(getattr(parameters, name)) for name in PARAMETER_NAMES}
