"""What a bench of one's own board says: how long a network takes alone on each core, and how the cores share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dlaflow.errors import InputError
from dlaflow.estimate.dla import Array
from dlaflow.estimate.schedule import scaled
from dlaflow.estimate.schedule_flow import GPU, SHARING_NAMES, Sharing, flows, schedule_file
from dlaflow.estimate.schedule_pieces import Option
from dlaflow.estimate.solve import Prior, solve
from dlaflow.types import Measurement

_TOGETHER = " (together)"
_UNITS = {"gpu": GPU, "dla0": "DLA 0", "dla1": "DLA 1"}
_TRUST = 4.0
"""A board of one's own weighs as much as so many public points."""
MEASURED_WIDTH = 0.05
"""Half width of the time of what was measured itself: runs of a board with locked clocks differ by that much."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Milliseconds of a batch by core, alone and with all cores at once."""

    alone: Mapping[str, float]
    together: Mapping[str, float]


def bench_of(rows: list[Measurement], source: str) -> Bench:
    """The times in what `dlaflow remote BOARD bench --json` wrote.

    Raises InputError for measurements that are not a bench's.
    """
    rates = {row.subject: row.value for row in rows if row.quantity == "throughput" and row.unit == "batches/s"}
    alone = {core: 1e3 / rates[unit] for unit, core in _UNITS.items() if rates.get(unit, 0.0) > 0}
    beside = {
        core: 1e3 / rates[unit + _TOGETHER] for unit, core in _UNITS.items() if rates.get(unit + _TOGETHER, 0.0) > 0
    }
    if not alone:
        raise InputError(
            f"{source} holds no bench",
            expected="rates of gpu, dla0 or dla1, as `dlaflow remote BOARD bench --json` writes them",
            received=", ".join(sorted({row.quantity for row in rows})) or "nothing",
        )
    return Bench(alone, beside)


def factors_of(options: tuple[Option, ...], bench: Bench) -> tuple[float, float]:
    """How many times the estimate a network takes on the GPU and on the DLA; 1 where the bench does not tell."""
    whole = {each.pieces[0].on_gpu: each.pieces[0].stream.alone_ms for each in options if len(each.pieces) == 1}
    times = {True: [bench.alone[GPU]] if GPU in bench.alone else [], False: _on_dla(bench)}
    gpu, dla = (
        sum(times[on_gpu]) / len(times[on_gpu]) / whole[on_gpu] if on_gpu in whole and times[on_gpu] else 1.0
        for on_gpu in (True, False)
    )
    return gpu, dla


def adjusted(options: tuple[Option, ...], bench: Bench) -> tuple[Option, ...]:
    """The ways of a network with its times scaled to those measured; whole ones are then known as well as measured."""
    known = {True: GPU in bench.alone, False: bool(_on_dla(bench))}
    found = []
    for option in options:
        one = scaled(option, *factors_of(options, bench))
        first = one.pieces[0]
        if len(one.pieces) == 1 and known[first.on_gpu]:
            one = replace(one, pieces=(replace(first, width=MEASURED_WIDTH),))
        found.append(one)
    return tuple(found)


def _on_dla(bench: Bench) -> list[float]:
    return [time for core, time in bench.alone.items() if core != GPU]


def learned_sharing(options: tuple[Option, ...], bench: Bench, sharing: Sharing) -> Sharing:
    """How the cores share, refitted on the rates together; `options` are adjusted to the bench.

    What the bench says nothing of stays: two DLA cores without the GPU tell of none of these numbers.
    """
    whole = {each.pieces[0].on_gpu: each.pieces[0].stream for each in options if len(each.pieces) == 1}
    cores = [core for core in bench.together if (core == GPU) in whole]
    streams = [replace(whole[core == GPU], core=core) for core in cores]
    if GPU not in cores or len(cores) < 2:
        return sharing
    shipped = schedule_file().parameters
    priors = [
        Prior(name, getattr(sharing, name), max(0.3, shipped[name].log_sd), "the numbers in use")
        for name in SHARING_NAMES
    ]

    def with_values(values: Array) -> Sharing:
        return replace(sharing, **dict(zip(SHARING_NAMES, map(float, values), strict=True)))

    def predict(values: Array) -> Array:
        return np.asarray([1e3 / flow.rate for flow in flows(streams, with_values(values))])

    measured = np.asarray([bench.together[core] for core in cores])
    return with_values(solve(predict, measured, np.full(len(cores), _TRUST), priors).values)
