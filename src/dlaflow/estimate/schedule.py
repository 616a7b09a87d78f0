"""Which network on which core: every assignment (or a bounded search), what each gives, and which one is best.

An assignment is judged as all of its engines run at once (`dlaflow.estimate.schedule_flow`). First it must reach what
was asked for, rates and latency budgets; then networks without a rate should run as fast as possible; then energy, or
where nobody measured the board's power the load of its busiest core, decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice, permutations, product
from math import exp, hypot, log, prod

from msgspec.structs import replace as replace_struct

from dlaflow.estimate.answer import Range
from dlaflow.estimate.energy import energy_file
from dlaflow.estimate.schedule_flow import (
    GPU,
    BoardPower,
    Flow,
    Sharing,
    Stream,
    flows,
    gpu_load,
    power_of,
    schedule_file,
)
from dlaflow.estimate.schedule_pieces import Option
from dlaflow.estimate.setting import Setting

ENUMERATED = 3000
"""Up to so many assignments each one is judged; beyond, `BEAM` best ones go on from network to network."""
BEAM = 24
_PACED = 4
"""So often the pace of a pipeline is taken over from its slowest piece."""
_CUT_PAYS = 0.1
"""A cut is a file, a process and a hand-over more, whose cost rests on one measurement: it must gain a tenth."""
_MET = 0.999
SD = 1.2816
"""Half widths of 80% intervals are so many standard deviations."""
_SAME = 0.02
"""Assignments closer than this in what decides count as equal."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of a network: images a second (None: as many as possible), and ms for one (None: no budget)."""

    name: str
    rate: float | None = None
    budget_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A network to place: what is asked of it, the images of a batch, and the ways it can run."""

    demand: Demand
    batch: int
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a board offers: DLA cores, how its engines share, its watts (None: nobody measured them)."""

    dla_cores: int
    sharing: Sharing
    power: BoardPower | None = None
    dla_watts: float = 0.0

    @classmethod
    def of(cls, setting: Setting, sharing: Sharing) -> Hardware:
        """That of a setting. A DLA core's watts grow with its clock."""
        board, known = setting.target.board, energy_file()
        power = power_of(board.id, setting.clocks.mode)
        same = (board.id, setting.dla.source.key) == (known.board, known.power.key)
        watts = known.power.watts * (setting.clocks.dla_mhz or 0.0) / known.power.mhz
        return cls(board.dla_cores, sharing, power if same else None, watts)


@dataclass(frozen=True, slots=True)
class Assigned:
    """A network of a schedule: its cores in order, where it is cut, and what it reaches.

    `rate` is in images a second, `latency` in ms for a batch with its wait for the core, `met` whether what was asked
    for is reached: "yes" also at the slow end of the intervals, "likely" at the median, "no".
    """

    name: str
    cores: tuple[str, ...]
    cut: tuple[str, ...]
    rate: Range
    latency: Range
    met: str
    missed: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """An assignment of all networks with what it gives.

    `loads` are the shares of time that each core is taken, `watts` those of the whole board, `energy_mj` the same an
    image over all networks; `streams` and `service_ms` are the engines that a timeline is drawn from.
    """

    networks: tuple[Assigned, ...]
    loads: tuple[tuple[str, float], ...]
    watts: Range | None
    energy_mj: Range | None
    streams: tuple[tuple[str, Stream], ...]
    service_ms: tuple[float, ...]

    @property
    def unmet(self) -> int:
        """How many networks do not reach what was asked for."""
        return sum(each.met == "no" for each in self.networks)

    @property
    def title(self) -> str:
        """`a on GPU, b on DLA 0 then GPU`."""
        return ", ".join(f"{each.name} on {' then '.join(each.cores)}" for each in self.networks)


@dataclass(frozen=True, slots=True)
class Found:
    """The answer: the best schedule, the next best with why it loses, the Pareto front, how much was looked at.

    `complete` is true when every assignment was judged; `idle` names cores that the best one leaves idle; `certain`
    tells that the next best loses at both ends of the 80% interval of what decides between them.
    """

    best: Schedule
    front: tuple[Schedule, ...]
    next_best: Schedule | None
    why: str
    certain: bool
    judged: int
    assignments: int
    idle: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether no assignment was left out."""
        return self.judged >= self.assignments


@dataclass(frozen=True, slots=True)
class _Placed:
    """A way for one job with its cores named."""

    option: Option
    cores: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Judged:
    """An assignment with how it ran, its schedule, and what it is compared by, smaller is better."""

    placed: tuple[_Placed, ...]
    ran: tuple[list[Stream], tuple[Flow, ...]]
    schedule: Schedule
    key: tuple[float, ...]
    axes: tuple[float, ...]


def search(jobs: Sequence[Job], hardware: Hardware) -> Found | None:
    """The schedules of `jobs`; None when one of them can run nowhere.

    Up to ENUMERATED assignments all are judged; what only exchanges equal cores or equal networks counts once. Beyond,
    networks are added in order of their time, the BEAM best assignments kept, and those changed network by network.
    """
    ways = [_ways(job, hardware.dla_cores) for job in jobs]
    if not jobs or not all(ways):
        return None
    total = prod(map(len, ways))
    if total <= ENUMERATED:
        tried = list({_signature(jobs, placed): placed for placed in reversed(list(product(*ways)))}.values())[::-1]
        total = len(tried)
    else:
        tried = _searched(jobs, ways, hardware)
    judged = sorted((_judge(jobs, placed, hardware) for placed in tried), key=lambda each: each.key)
    best = _surest(jobs, judged, hardware)
    following = next((each for each in judged if each.placed != best.placed), None)
    front = _front(judged)
    if best not in front:
        front = [best, *front]
    used = {core for placed in best.placed for core in placed.cores}
    cores = [GPU, *(f"DLA {core}" for core in range(hardware.dla_cores))]
    return Found(
        best=_sure(jobs, best, hardware),
        front=tuple(_sure(jobs, each, hardware) for each in front),
        next_best=_sure(jobs, following, hardware) if following else None,
        why=why_worse(best.schedule, following.schedule, jobs) if following else "",
        certain=following is None or _certain(jobs, best, following, hardware),
        judged=len(tried),
        assignments=total,
        idle=tuple(core for core in cores if core not in used),
    )


def judge(jobs: Sequence[Job], ways: Sequence[tuple[Option, tuple[str, ...]]], hardware: Hardware) -> Schedule:
    """The schedule of one assignment: for each job an option and the core of each of its pieces."""
    placed = tuple(_Placed(option, cores) for option, cores in ways)
    return _sure(jobs, _judge(jobs, placed, hardware), hardware)


def shaken(jobs: Sequence[Job], hardware: Hardware) -> list[tuple[dict[Option, Option], Hardware]]:
    """Cases with one thing that is not known well larger by a standard deviation: a network's time on the GPU or on
    the DLA (its ways with those that take longer), what engines cost each other, the watts of a busy GPU or DLA."""
    found = []
    for options in dict.fromkeys(job.options for job in jobs):
        for on_gpu in (True, False):
            longer = {option: _longer(option, on_gpu) for option in options}
            if any(way != option for option, way in longer.items()):
                found.append((longer, hardware))
    found.append(({}, replace(hardware, sharing=hardware.sharing.dearer(exp(schedule_file().doubt / SD)))))
    if power := hardware.power:
        hotter = replace_struct(power, gpu=power.gpu * exp(power.half_width / SD))
        watts = hardware.dla_watts * exp(energy_file().power.half_width / SD)
        found += [({}, replace(hardware, power=hotter)), ({}, replace(hardware, dla_watts=watts))]
    return found


def apart(gap: float, others: Sequence[float]) -> bool:
    """Whether a gap lies outside of the 80% interval around 0; `others` are the same gap in each shaken case."""
    return abs(gap) > SD * hypot(*(other - gap for other in others))


def _longer(option: Option, on_gpu: bool) -> Option:
    pieces = (piece.scaled(exp(piece.width / SD)) if piece.on_gpu == on_gpu else piece for piece in option.pieces)
    return replace(option, pieces=tuple(pieces))


def _certain(jobs: Sequence[Job], best: _Judged, other: _Judged, hardware: Hardware) -> bool:
    """Whether `other` is apart from `best` in the first axis that decides between them."""
    pair = (best, other)

    def gaps(longer: dict[Option, Option], hardware: Hardware) -> list[float]:
        both = ([replace(way, option=longer.get(way.option, way.option)) for way in each.placed] for each in pair)
        mine, theirs = (_judge(jobs, tuple(placed), hardware).axes[1:] for placed in both)
        return [yours - own for own, yours in zip(mine, theirs, strict=True)]

    found = gaps({}, hardware)
    sizes = [abs(each) / (abs(axis) or 1.0) for each, axis in zip(found, best.axes[1:], strict=True)]
    sizes[1] = abs(found[1])  # a logarithm already
    axis = next((place for place, size in enumerate(sizes) if size > _SAME), None)
    return axis is not None and apart(found[axis], [gaps(*case)[axis] for case in shaken(jobs, hardware)])


def _ways(job: Job, dla_cores: int) -> list[_Placed]:
    """Each option on each core that it can have; two pieces on the DLA take two cores."""
    dla = [f"DLA {core}" for core in range(dla_cores)]
    return [
        _Placed(option, cores)
        for option in job.options
        for cores in product(*([GPU] if piece.on_gpu else dla for piece in option.pieces))
        if len(set(cores)) == len(cores)
    ]


def _signature(jobs: Sequence[Job], placed: Sequence[_Placed]) -> tuple[object, ...]:
    """The same for two assignments that differ only in the numbers of DLA cores or in the order of equal networks."""
    used = sorted({core for each in placed for core in each.cores if core != GPU})
    forms = []
    for order in permutations(range(len(used))):
        name = {core: f"DLA {number}" for core, number in zip(used, order, strict=True)}
        forms.append(
            sorted(
                (_kind(jobs, place), job.options.index(way.option), tuple(name.get(core, GPU) for core in way.cores))
                for place, (job, way) in enumerate(zip(jobs, placed, strict=True))
            )
        )
    return tuple(map(tuple, min(forms)))


def _kind(jobs: Sequence[Job], place: int) -> int:
    """The first job that asks for the same of the same network."""
    own = jobs[place]
    alike = (
        replace(job.demand, name="") == replace(own.demand, name="") and job.options == own.options for job in jobs
    )
    return next(index for index, same in enumerate(alike) if same)


def _searched(jobs: Sequence[Job], ways: Sequence[list[_Placed]], hardware: Hardware) -> list[tuple[_Placed, ...]]:
    """Assignments that a bounded search judges."""
    order = sorted(range(len(jobs)), key=lambda place: -_weight(jobs[place]))
    seen: dict[tuple[object, ...], tuple[_Placed, ...]] = {}
    beam: list[tuple[_Placed, ...]] = [()]
    for length, place in enumerate(order, 1):
        part = [jobs[each] for each in order[:length]]
        grown = [(*begun, way) for begun in beam for way in ways[place]]
        fresh = {_signature(part, each): each for each in reversed(grown)}.values()
        beam = sorted(fresh, key=lambda each: _judge(part, each, hardware).key)[:BEAM]
    back = [order.index(place) for place in range(len(jobs))]
    for each in beam:
        full = tuple(each[place] for place in back)
        seen.setdefault(_signature(jobs, full), full)
        for place, others in enumerate(ways):
            for way in others:
                changed = (*full[:place], way, *full[place + 1 :])
                seen.setdefault(_signature(jobs, changed), changed)
    return list(islice(seen.values(), ENUMERATED))


def _weight(job: Job) -> float:
    """How much of a core a job takes at least; one without a rate takes a whole one."""
    shortest = min(sum(piece.stream.alone_ms for piece in option.pieces) for option in job.options)
    return 1.0 if job.demand.rate is None else job.demand.rate / job.batch * shortest / 1e3


def _judge(jobs: Sequence[Job], placed: tuple[_Placed, ...], hardware: Hardware) -> _Judged:
    ran = _run(jobs, placed, hardware, slower=False)
    schedule = _schedule(jobs, placed, ran, hardware)
    return _Judged(placed, ran, schedule, *_ranked(jobs, schedule))


def _run(
    jobs: Sequence[Job], placed: Sequence[_Placed], hardware: Hardware, *, slower: bool
) -> tuple[list[Stream], tuple[Flow, ...]]:
    """The engines and how they run; `slower` at the slow end of each interval.

    The pieces of a pipeline that nobody asks a rate of go at the pace of the slowest one.
    """
    streams: list[Stream] = []
    slowest: dict[int, tuple[int, ...]] = {}
    for job, way in zip(jobs, placed, strict=True):
        wanted = None if job.demand.rate is None else job.demand.rate / job.batch
        own = [piece.scaled(exp(piece.width)) if slower else piece for piece in way.option.pieces]
        begin = len(streams)
        streams += [replace(piece.stream, core=core, wanted=wanted) for piece, core in zip(own, way.cores, strict=True)]
        if wanted is None and len(own) > 1:
            most = max(range(len(own)), key=lambda index: own[index].stream.alone_ms)
            slowest[begin + most] = tuple(begin + index for index in range(len(own)) if index != most)
    pace = {index: 1e3 / streams[index].alone_ms for index in slowest}
    for _ in range(_PACED if slowest else 1):
        paced = list(streams)
        for index, followers in slowest.items():
            for follower in followers:
                paced[follower] = replace(streams[follower], wanted=pace[index])
        found = flows(paced, hardware.sharing)
        pace = {index: found[index].rate for index in slowest}
    return paced, found


def _schedule(
    jobs: Sequence[Job],
    placed: Sequence[_Placed],
    ran: tuple[list[Stream], tuple[Flow, ...]],
    hardware: Hardware,
    slow: tuple[Flow, ...] | None = None,
) -> Schedule:
    streams, found = ran
    networks, place, work = [], 0, 0.0
    for job, way in zip(jobs, placed, strict=True):
        own = slice(place, place + len(way.cores))
        place = own.stop
        networks.append(_assigned(job, way, found[own], slow[own] if slow else None))
        work += sum(piece.dla_ms * flow.rate for piece, flow in zip(way.option.pieces, found[own], strict=True)) / 1e3
    gpu = gpu_load(streams, found, hardware.sharing)
    watts = energy = None
    images = sum(each.rate.value for each in networks)
    if hardware.power is not None:
        known = hardware.power
        watts = Range.around(known.idle + known.gpu * gpu + hardware.dla_watts * work, known.half_width / 2)
        energy = Range.around(watts.value * 1e3 / images, known.half_width) if images else None
    names = [each.name for each, way in zip(networks, placed, strict=True) for _ in way.cores]
    return Schedule(
        networks=tuple(networks),
        loads=_loads(streams, found, gpu, hardware.dla_cores),
        watts=watts,
        energy_mj=energy,
        streams=tuple(zip(names, streams, strict=True)),
        service_ms=tuple(flow.service_ms for flow in found),
    )


def _loads(
    streams: Sequence[Stream], found: Sequence[Flow], gpu: float, dla_cores: int
) -> tuple[tuple[str, float], ...]:
    loads = {GPU: gpu, **{f"DLA {core}": 0.0 for core in range(dla_cores)}}
    for stream, flow in zip(streams, found, strict=True):
        if stream.core != GPU:
            loads[stream.core] = min(1.0, loads[stream.core] + flow.rate * flow.service_ms / 1e3)
    return tuple(loads.items())


def _assigned(job: Job, way: _Placed, found: Sequence[Flow], slow: Sequence[Flow] | None) -> Assigned:
    demand, doubt = job.demand, schedule_file().doubt
    rate = job.batch * min(flow.rate for flow in found)
    latency = sum(flow.latency_ms for flow in found)
    widths = [
        hypot(piece.width, doubt * log(max(1.0, flow.service_ms / piece.stream.alone_ms)))
        for piece, flow in zip(way.option.pieces, found, strict=True)
    ]
    slowest = max(range(len(found)), key=lambda index: found[index].service_ms)
    spread = Range.around(rate, widths[slowest])
    width = sum(each * flow.latency_ms for each, flow in zip(widths, found, strict=True)) / latency
    if demand.rate is not None:
        low = rate if slow is None else min(rate, job.batch * min(flow.rate for flow in slow))
        spread = Range(low, rate, max(rate, min(demand.rate, spread.high)))
    missed = _missed(demand, rate, latency)
    met = "no" if missed else "likely"
    if slow is not None and not missed:
        slow_rate, slow_latency = job.batch * min(flow.rate for flow in slow), sum(flow.latency_ms for flow in slow)
        met = "likely" if _missed(demand, slow_rate, slow_latency) else "yes"
    return Assigned(demand.name, way.cores, way.option.cut, spread, Range.around(latency, width), met, missed)


def _missed(demand: Demand, rate: float, latency: float) -> str:
    """What of a demand is not reached, in words; empty when all is."""
    words = []
    if demand.rate is not None and rate < _MET * demand.rate:
        words.append(f"{rate:.3g} of {demand.rate:g} images/s")
    if demand.budget_ms is not None and latency > demand.budget_ms / _MET:
        words.append(f"{latency:.3g} ms for a budget of {demand.budget_ms:g} ms")
    return ", ".join(words)


def _sure(jobs: Sequence[Job], judged: _Judged, hardware: Hardware) -> Schedule:
    """The schedule with the slow end of its intervals judged as well."""
    _, slow = _run(jobs, judged.placed, hardware, slower=True)
    return _schedule(jobs, judged.placed, judged.ran, hardware, slow)


def _surest(jobs: Sequence[Job], judged: Sequence[_Judged], hardware: Hardware) -> _Judged:
    """Of those that reach the same at the median, the first that reaches most at the slow end too."""
    if all(job.demand.rate is None and job.demand.budget_ms is None for job in jobs):
        return judged[0]
    equal = [each for each in judged if each.schedule.unmet == judged[0].schedule.unmet][:50]
    return min(
        equal,
        key=lambda each: sum(one.met == "likely" for one in _sure(jobs, each, hardware).networks),
        default=judged[0],
    )


def _ranked(jobs: Sequence[Job], schedule: Schedule) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What decides, in order, and the axes of the Pareto front; smaller is better."""
    short = sum(
        max(0.0, 1.0 - each.rate.value / job.demand.rate) if job.demand.rate else 0.0
        for job, each in zip(jobs, schedule.networks, strict=True)
    )
    late = sum(
        max(0.0, each.latency.value / job.demand.budget_ms - 1.0) if job.demand.budget_ms else 0.0
        for job, each in zip(jobs, schedule.networks, strict=True)
    )
    free = [each.rate.value for job, each in zip(jobs, schedule.networks, strict=True) if job.demand.rate is None]
    # Several networks of their own sizes: the product of their rates, so that none is starved for another.
    same = len({job.options for job in jobs if job.demand.rate is None}) <= 1
    speed = -(log(max(sum(free), 1e-9)) if same and free else sum(log(max(rate, 1e-9)) for rate in free))
    peak = max(load for _, load in schedule.loads)
    effort = schedule.watts.value if schedule.watts else peak
    latency = sum(each.latency.value for each in schedule.networks)
    cuts = sum(bool(each.cut) for each in schedule.networks)
    slower, harder = speed + _CUT_PAYS * cuts, (log(effort) if effort else 0.0) + _CUT_PAYS * cuts
    steps = [round(each / _SAME) for each in (short + late, slower if free else 0.0, harder)]
    decisive = (float(schedule.unmet), *map(float, steps), float(cuts), effort, latency)
    cost = schedule.energy_mj.value if schedule.energy_mj else 0.0 if free else peak
    return decisive, (float(schedule.unmet), short + late, speed if free else 0.0, cost, latency)


def _front(judged: Sequence[_Judged]) -> list[_Judged]:
    """Those that no other beats in everything, in the order of what decides; of equal ones the first."""
    front: list[_Judged] = []
    for each in judged:
        if not any(_beats(other.axes, each.axes) for other in judged) and each.axes not in [one.axes for one in front]:
            front.append(each)
    return front


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(
        mine <= theirs * (1 + 1e-9) if theirs > 0 else mine <= theirs for mine, theirs in zip(one, other, strict=True)
    )


def why_worse(best: Schedule, other: Schedule, jobs: Sequence[Job]) -> str:
    """Why a schedule loses against the best, in words: the first thing that decides."""
    for each in other.networks:
        if each.met == "no" and other.unmet > best.unmet:
            return f"{each.name} reaches {each.missed}"
    pairs = list(zip(jobs, best.networks, other.networks, strict=True))
    free = [(mine, theirs) for job, mine, theirs in pairs if job.demand.rate is None]
    ours, others = (sum(pair[side].rate.value for pair in free) for side in (0, 1))
    cuts = [sum(bool(each.cut) for each in one.networks) for one in (best, other)]
    if free and others < ours * (1 - _SAME):
        return f"{others:,.3g} instead of {ours:,.3g} images/s where no rate is asked for"
    if cuts[1] > cuts[0]:
        return f"it gains less than {_CUT_PAYS:.0%} by {cuts[1] - cuts[0]} cut more"
    for mine, theirs in free:
        if theirs.rate.value < mine.rate.value * (1 - _SAME):
            return f"{mine.name} falls from {mine.rate.value:.3g} to {theirs.rate.value:.3g} images/s"
    if best.watts and other.watts and other.watts.value > best.watts.value * (1 + _SAME):
        return f"it needs {other.watts.value:.3g} W instead of {best.watts.value:.3g} W"
    peaks = [max(load for _, load in each.loads) for each in (best, other)]
    if peaks[1] > peaks[0] + _SAME:
        return f"its busiest core is taken {peaks[1]:.0%} of the time instead of {peaks[0]:.0%}"
    late = [sum(each.latency.value for each in one.networks) for one in (best, other)]
    if late[1] > late[0] * (1 + _SAME):
        return f"latencies add up to {late[1]:.3g} instead of {late[0]:.3g} ms"
    return f"nothing that counts: within {_SAME:.0%}"


def scaled(option: Option, gpu: float, dla: float) -> Option:
    """An option with its pieces on the GPU and on the DLA longer by factors, as measurements tell them."""
    return replace(option, pieces=tuple(piece.scaled(gpu if piece.on_gpu else dla) for piece in option.pieces))
