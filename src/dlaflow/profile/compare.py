"""Two or more profiles side by side: what differs, by which factor, and what the log gives as the cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlaflow.errors import UsageError
from dlaflow.profile.names import cause_of
from dlaflow.profile.profile import Profiled
from dlaflow.types import Device, Measurement


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """A quantity over all profiles. `ratios` are to the first profile; None where a profile does not tell."""

    quantity: str
    unit: str
    values: tuple[float | None, ...]
    ratios: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The table, and in words why the first and the last differ (empty when nothing explains it)."""

    names: tuple[str, ...]
    rows: tuple[ComparisonRow, ...]
    factor: float | None
    cause: str


def compare_profiles(profiles: Sequence[Profiled]) -> Comparison:
    """Compare profiles with the first.

    Raises UsageError for fewer than two.
    """
    if len(profiles) < 2:
        raise UsageError("nothing to compare", expected="two profiles or more", received=len(profiles))
    rows = [
        _row("subgraphs", "", [_subgraphs(each) for each in profiles]),
        _row("GPU layers", "", [_gpu_layers(each) for each in profiles]),
    ]
    keys = dict.fromkeys((_label(profile, each), each.unit) for profile in profiles for each in profile.measurements)
    rows += [_row(label, unit, [_value(each, label) for each in profiles]) for label, unit in keys]
    factor = _factor(profiles[0], profiles[-1])
    return Comparison(
        names=_unique([profile.name for profile in profiles]),
        rows=tuple(row for row in rows if sum(value is not None for value in row.values) > 1),
        factor=factor,
        cause=_cause(profiles[0], profiles[-1], factor),
    )


def _unique(names: list[str]) -> tuple[str, ...]:
    """Files of the same name in two folders are told apart by their place."""
    return tuple(name if names.count(name) == 1 else f"{name} #{place}" for place, name in enumerate(names, start=1))


def _row(quantity: str, unit: str, values: list[float | None]) -> ComparisonRow:
    first = values[0]
    ratios = tuple(None if value is None or not first else value / first for value in values)
    return ComparisonRow(quantity, unit, tuple(values), ratios)


def _label(profile: Profiled, measurement: Measurement) -> str:
    """The quantity, with what it is of besides the profile itself (a power rail)."""
    return f"{measurement.quantity}{measurement.subject.removeprefix(profile.name)}"


def _value(profile: Profiled, label: str) -> float | None:
    return next((each.value for each in profile.measurements if _label(profile, each) == label), None)


def _gpu_layers(profile: Profiled) -> float | None:
    names = _on_gpu(profile)
    return None if profile.measured is None else float(len(names))


def _on_gpu(profile: Profiled) -> list[str]:
    layers = profile.measured.layers if profile.measured else ()
    on_gpu = [layer.name for layer in layers if layer.works and layer.device is Device.GPU]
    return [name for name in on_gpu if not name.startswith("Reformatting")]


def _factor(first: Profiled, last: Profiled) -> float | None:
    """How many times faster the last is than the first: by throughput, or else by time."""
    before, after = _value(first, "throughput"), _value(last, "throughput")
    if before and after:
        return after / before
    for quantity in ("compute time", "stream time", "profiled latency"):
        before, after = _value(first, quantity), _value(last, quantity)
        if before and after:
            return before / after
    return None


def _cause(first: Profiled, last: Profiled, factor: float | None) -> str:
    """The operators that only the slower one runs on the GPU, and the subgraphs they cut; else the precision."""
    if factor is None or first.measured is None or last.measured is None:
        return ""
    slow, fast = (first, last) if factor >= 1 else (last, first)
    more = _loadables(slow) - _loadables(fast)
    here, there = _on_gpu(slow), set(_on_gpu(fast))
    only = cause_of(name for name in here if name not in there)
    if only and more > 0:
        return (
            f"{only} runs on the GPU in {slow.name} and cuts the DLA's work into {_loadables(slow)} subgraphs, "
            f"against {_loadables(fast)} in {fast.name}."
        )
    if only:
        return f"{only} runs on the GPU in {slow.name} alone."
    precisions = [_precision(each) for each in (slow, fast)]
    if precisions[0] != precisions[1] and all(precisions):
        return (
            f"The placement is the same; {slow.name} is built for {precisions[0]}, {fast.name} for {precisions[1]}: "
            "to be on the DLA is not to be fast."
        )
    return ""


def _subgraphs(profile: Profiled) -> float | None:
    known = profile.measured is not None and profile.measured.loadables is not None
    return float(_loadables(profile)) if known else None


def _loadables(profile: Profiled) -> int:
    return (profile.measured.loadables or 0) if profile.measured else 0


def _precision(profile: Profiled) -> str:
    options = profile.run.options if profile.run else ()
    return next((option.value for option in options if option.key == "Precision"), "")
