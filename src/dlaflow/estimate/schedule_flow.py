"""Engines that run at once: how fast each is, as a fixed point of what they cost each other.

Two regimes. An engine without work for the GPU meets the others in memory alone. One that visits the GPU (layers that
fell back, format copies) waits there at every visit for a slice of whoever keeps the GPU busy, and takes GPU time from
it: visits and GPU milliseconds decide. Under TensorRT 7 a process that waits for its DLA keeps its turns on the GPU, so
that another one has little more than half of it. Two hybrids meet on an otherwise idle GPU with the chance `meeting` a
visit. Engines on one core take turns, whole inferences at a time: a DLA core neither slices nor preempts. The numbers
stand in `schedule.toml`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import resources

import msgspec

from dlaflow.estimate.dla import Conditions, DlaEngine
from dlaflow.estimate.parameters import Fitted
from dlaflow.estimate.split import GpuModel, Split, Workload, split_of
from dlaflow.targets.version import Version

GPU = "GPU"
_ROUNDS, _SETTLED = 200, 1e-7
_LEAST = 0.02
"""The share of the GPU that its own engines keep at least: each process gets its turn."""


class HandOver(msgspec.Struct, frozen=True):
    """What a tensor costs from one process to another: a fixed wait in ms, and its bytes at a rate in GB/s."""

    ms: float
    gb_s: float
    source: str


class Turns(msgspec.Struct, frozen=True):
    """What processes that take turns on the GPU cost each other: see `Sharing`. `held` is of releases before one."""

    switching: float
    held: float
    held_before: str
    source: str


class BoardPower(msgspec.Struct, frozen=True):
    """Watts of a whole board in a power mode: idle, and what a busy GPU adds to it."""

    board: str
    mode: str
    idle: float
    gpu: float
    half_width: float
    source: str


class ScheduleFile(msgspec.Struct, frozen=True):
    """All of `schedule.toml`. `doubt` is the half width of a slow-down as a share of its logarithm."""

    data: str
    points: int
    doubt: float
    parameters: dict[str, Fitted]
    hand_over: HandOver
    turns: Turns
    power: tuple[BoardPower, ...]


@dataclass(frozen=True, slots=True)
class Sharing:
    """How engines share a GPU and the memory.

    `slice_ms` is how long a visit to the GPU waits for another process that keeps it busy (never longer than that
    process's inference), `turn_ms` what a visit costs the GPU beside its kernels, `crowded_gpu` by which share the GPU
    slows beside one busy DLA core, `switching` the same while another process has work for it. `held` is the share of
    its turns that a process keeps while it waits for its DLA.
    """

    slice_ms: float
    turn_ms: float
    crowded_gpu: float
    switching: float = 0.0
    held: float = 0.0

    def dearer(self, factor: float) -> Sharing:
        """The same with every cost times `factor`."""
        return Sharing(*(getattr(self, one.name) * factor for one in fields(self)))


SHARING_NAMES = ("slice_ms", "turn_ms", "crowded_gpu")


@cache
def schedule_file() -> ScheduleFile:
    """The shipped file."""
    return msgspec.toml.decode(resources.files(__package__).joinpath("schedule.toml").read_bytes(), type=ScheduleFile)


def shipped_sharing(version: Version | None = None) -> Sharing:
    """The fitted medians and the measured costs of turns; those that only some releases have for `version`."""
    known, turns = schedule_file(), schedule_file().turns
    held = turns.held if version is not None and version < Version.parse(turns.held_before) else 0.0
    medians = {name: known.parameters[name].median for name in SHARING_NAMES}
    return Sharing(**medians, switching=turns.switching, held=held)


def power_of(board: str, mode: str) -> BoardPower | None:
    """The watts of a board in a mode; None where nobody measured them."""
    return next((each for each in schedule_file().power if (each.board, each.mode) == (board, mode)), None)


@dataclass(frozen=True, slots=True)
class Stream:
    """One engine in a loop on a core, in batches.

    `alone_ms` is an inference with the board to itself, `crowded_ms` the same while others load the memory, `gpu_ms`
    the GPU's part of it (all of it on the GPU). `visits` counts the times that a DLA engine asks for the GPU: for its
    inputs, its outputs, and twice (out of the DLA's format and back into it) at each of the `inner` gaps between two
    loadables. `meeting` is the chance of finding another hybrid in a gap. `wanted` is the rate in
    inferences a second; None: as fast as it goes.
    """

    core: str
    alone_ms: float
    crowded_ms: float
    gpu_ms: float
    visits: int = 0
    inner: int = 0
    meeting: float = 0.0
    wanted: float | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """How a stream runs beside the others.

    `service_ms` is the time of an inference once its core has begun it, `latency_ms` that with the wait for the core,
    `rate` in inferences a second.
    """

    service_ms: float
    latency_ms: float
    rate: float


def dla_stream(work: Workload, engine: DlaEngine, conditions: Conditions, gpu: GpuModel | None) -> tuple[Stream, Split]:
    """A program on a DLA core (the first; `replace` names another), and where the time of it alone goes."""
    alone = split_of(work, engine, replace(conditions, cores=1), gpu)
    inner = max(0, work.program.loadables - 1)
    stream = Stream(
        core="DLA 0",
        alone_ms=alone.total,
        crowded_ms=split_of(work, engine, replace(conditions, cores=2), gpu).total,
        gpu_ms=alone.gpu + alone.switches + alone.formats,
        visits=2 * inner + (0 if conditions.native_io else 2),
        inner=inner,
        meeting=engine.parameters.meeting,
    )
    return stream, alone


def beside_itself(work: Workload, engine: DlaEngine, conditions: Conditions, gpu: GpuModel | None) -> float:
    """The ms of an inference on one core while every other core of `conditions.cores` runs the same."""
    stream, _ = dla_stream(work, engine, conditions, gpu)
    together = [replace(stream, core=f"DLA {core}") for core in range(conditions.cores)]
    return flows(together, shipped_sharing())[0].service_ms


def flows(streams: Sequence[Stream], sharing: Sharing) -> tuple[Flow, ...]:
    """How each of `streams` runs while all run."""
    times = [stream.alone_ms for stream in streams]
    rates = _rates(streams, times, sharing)
    for _ in range(_ROUNDS):
        busy = [min(1.0, rate * time / 1e3) for rate, time in zip(rates, times, strict=True)]
        found = [service(index, streams, busy, sharing) for index in range(len(streams))]
        moved = max((abs(new / old - 1) for new, old in zip(found, times, strict=True)), default=0.0)
        times = [(old * new) ** 0.5 for old, new in zip(times, found, strict=True)]
        rates = [(old * new) ** 0.5 for old, new in zip(rates, _rates(streams, times, sharing, rates), strict=True)]
        if moved < _SETTLED:
            break
    return tuple(_flow(index, streams, times, rates) for index in range(len(streams)))


def gpu_load(streams: Sequence[Stream], found: Sequence[Flow], sharing: Sharing) -> float:
    """The share of the time that the GPU works, for its own engines and for those that visit it."""
    own = sum(flow.rate * flow.service_ms for stream, flow in zip(streams, found, strict=True) if stream.core == GPU)
    rates = [flow.rate for flow in found]
    return min(1.0, own / 1e3 + visiting(streams, rates, sharing))


def service(index: int, streams: Sequence[Stream], busy: Sequence[float], sharing: Sharing) -> float:
    """The ms of an inference of one stream beside the others, each busy on its core a share of the time."""
    own = streams[index]
    others = [place for place, stream in enumerate(streams) if stream.core != own.core]
    beside = min(1.0, sum(busy[place] for place in others))
    if own.core == GPU:
        rivals = [place for place, stream in enumerate(streams) if stream.core == GPU and place != index]
        # In turns an inference takes as many times as long, so a rival with a rate is there for so much of the time.
        there = [1.0 if streams[place].wanted is None else busy[place] * (len(rivals) + 1) for place in rivals]
        taken = (sharing.crowded_gpu + sharing.held) * sum(busy[place] for place in others)
        return own.alone_ms * (1.0 + taken) * (1.0 + sharing.switching * min(1.0, sum(there)))
    time = own.alone_ms + (own.crowded_ms - own.alone_ms) * beside
    rivals = [place for place in others if streams[place].core == GPU]
    time += own.visits * sum(min(sharing.slice_ms, streams[place].alone_ms) * busy[place] for place in rivals)
    hybrids = [place for place in others if streams[place].core != GPU and streams[place].inner]
    met = 1.0 - (1.0 - min(0.9, own.meeting)) ** own.inner
    longest = sum(min(streams[place].crowded_ms, own.crowded_ms) * busy[place] for place in hybrids)
    time += met * min(longest, own.crowded_ms)
    in_turn = sum(streams[place].gpu_ms * busy[place] for place in others if streams[place].core != GPU)
    return max(time, own.gpu_ms + in_turn)


def _rates(
    streams: Sequence[Stream], times: Sequence[float], sharing: Sharing, before: Sequence[float] | None = None
) -> list[float]:
    """What each stream reaches: wanted rates first, all scaled alike where they do not fit; the rest takes turns."""
    rates = [0.0] * len(streams)
    for core in dict.fromkeys(stream.core for stream in streams):
        own = [place for place, stream in enumerate(streams) if stream.core == core]
        room = max(_LEAST, 1.0 - visiting(streams, before, sharing)) if core == GPU and before else 1.0
        asked = sum((streams[place].wanted or 0.0) * times[place] / 1e3 for place in own)
        free = [place for place in own if streams[place].wanted is None]
        turns = sum(times[place] for place in free) / 1e3
        # Who runs as fast as it can always has an inference waiting, so others never crowd it out wholly.
        room_of_rated = room * (1.0 - _LEAST) if free else room
        for place in own:
            wanted = streams[place].wanted
            if wanted is None:
                rates[place] = max(room - asked, room * _LEAST) / turns
            else:
                rates[place] = wanted * min(1.0, room_of_rated / asked)
    return rates


def visiting(streams: Sequence[Stream], rates: Sequence[float], sharing: Sharing) -> float:
    """The share of the GPU's time that DLA engines take at their rates."""
    return sum(
        rate * (stream.gpu_ms + sharing.turn_ms * stream.visits) / 1e3
        for stream, rate in zip(streams, rates, strict=True)
        if stream.core != GPU
    )


def _flow(index: int, streams: Sequence[Stream], times: Sequence[float], rates: Sequence[float]) -> Flow:
    """Latency from what else the core does: free streams wait a whole turn, wanted ones for what happens to run."""
    own, time, rate = streams[index], times[index], rates[index]
    others = [place for place, each in enumerate(streams) if each.core == own.core and place != index]
    if own.wanted is None:
        return Flow(time, 1e3 / rate if others else time, rate)
    busy = {place: rates[place] * times[place] / 1e3 for place in others}
    rated = sum(share for place, share in busy.items() if streams[place].wanted is not None)
    wait = sum(share * times[place] / 2 for place, share in busy.items()) / max(_LEAST, 1.0 - rated)
    return Flow(time, time + wait, rate)
