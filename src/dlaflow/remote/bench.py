"""`dlaflow remote BOARD bench`: the GPU alone, each DLA core alone, all together; time, power, energy, contention.

Every phase is measured `repeats` times in turn (GPU, DLA 0, DLA 1, all, GPU, ...), so that a board that warms up
spreads over all of them. Numbers are means over the repeats with the 95% interval of that mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dlaflow.build.trtexec_arguments import Measuring, load_arguments
from dlaflow.errors import EnvironmentLacksError, UsageError
from dlaflow.files import sha256_of
from dlaflow.parse.exports import parse_times
from dlaflow.parse.trtexec import parse_log
from dlaflow.profile.spread import Spread, spread_of
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.doctor import ask
from dlaflow.remote.jobs import JobControl, JobOptions, performed
from dlaflow.remote.power import mean_power, power_mode, rails_counted, read_device, read_power
from dlaflow.remote.profile import CheckedEngine, checked_engine
from dlaflow.remote.records import JobState, Phase, PowerOptions, ProgramRun
from dlaflow.types import Measurement

TOGETHER = "together"
_PERCENTS = (50, 90, 99)
_MARGIN_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure: an engine for the GPU, one for the DLA (run on each of `cores`), either or both.

    `duration` and `idle` are in seconds, `warm_up` in milliseconds.
    """

    gpu: Path | None = None
    dla: Path | None = None
    cores: tuple[int, ...] = (0, 1)
    duration: int = 10
    warm_up: int = 500
    repeats: int = 3
    idle: float = 5.0
    interval_ms: int = 100
    power: bool = True
    clocks: bool = False
    control: JobControl = field(default_factory=JobControl)


@dataclass(frozen=True, slots=True)
class _Unit:
    """One thing that can run: its name, the engine's file here and its name on the board, how to load it where."""

    name: str
    path: Path
    file: str
    engine: CheckedEngine
    core: int | None


def bench(board: RemoteBoard, options: BenchOptions) -> list[Measurement]:
    """Measure and return the numbers, each with its count, spread, clocks, power mode and release.

    Raises UsageError for no engines, InputError for engines of another release, EnvironmentLacksError when
    the board lacks a program.
    """
    if options.gpu is None and options.dla is None:
        raise UsageError("nothing to measure", expected="an engine for the GPU or the DLA", received="neither")
    if options.repeats < 1 or options.duration < 1:
        raise UsageError("a bench needs time", expected="--repeats and --duration of 1 or more", received="less")
    units = _units(board, options)
    plan = [[unit] for unit in units] + ([units] if len(units) > 1 else [])
    phases = tuple(_phase(together, repeat, options) for repeat in range(options.repeats) for together in plan)
    files = {unit.file: unit.path for unit in units}
    power = PowerOptions(idle_s=options.idle, interval_ms=options.interval_ms) if options.power else None
    job = JobOptions("bench", ", ".join(path.name for path in files.values()), files, phases, power, options.clocks)
    with performed(board, job, options.control) as (state, folder):
        hashes = {unit.name: sha256_of(unit.path) for unit in units}
        results = _Results(board.name, state, folder, units[0].engine.tensorrt, hashes)
        return results.measurements([unit.name for unit in units])


def _units(board: RemoteBoard, options: BenchOptions) -> list[_Unit]:
    machine, _ = ask(board)
    found = []
    if options.gpu is not None:
        found.append(_Unit("gpu", options.gpu, "gpu.engine", checked_engine(options.gpu, machine), None))
    if options.dla is not None:
        engine = checked_engine(options.dla, machine)
        found += [_Unit(f"dla{core}", options.dla, "dla.engine", engine, core) for core in options.cores]
    return found


def _phase(together: list[_Unit], repeat: int, options: BenchOptions) -> Phase:
    name = together[0].name if len(together) == 1 else TOGETHER
    runs = []
    for unit in together:
        run = f"{name}.{unit.name}.{repeat}"
        measuring = Measuring(duration=options.duration, warm_up=options.warm_up, export_times=f"{run}.times.json")
        arguments = load_arguments(unit.file, unit.engine.tensorrt, measuring, unit.engine.shapes, unit.core)
        runs.append(ProgramRun(name=run, arguments=tuple(arguments), seconds=4 * options.duration + _MARGIN_SECONDS))
    return Phase(name=f"{name}.{repeat}", runs=tuple(runs))


class _Results:
    """The files of a finished bench, read."""

    def __init__(self, board: str, state: JobState, folder: Path, release: str, hashes: Mapping[str, str]) -> None:
        self._board = board
        self._hashes = hashes
        self._state = state
        self._folder = folder
        self._samples = read_power(folder)
        device = read_device(folder)
        clocks = ", ".join(
            f"{clock.name} {clock.current_hz / 1e6:.0f} MHz" for clock in (device.clocks if device else ())
        )
        self._detail = f"{board}; TensorRT {release}; power mode {power_mode(device)}; clocks {clocks or 'not told'}"

    def measurements(self, units: list[str]) -> list[Measurement]:
        found: list[Measurement] = []
        throughput: dict[tuple[str, str], list[float]] = {}
        for phase in [*units, *([TOGETHER] if len(units) > 1 else [])]:
            members = units if phase == TOGETHER else [phase]
            for unit in members:
                subject = unit if phase == unit else f"{unit} ({TOGETHER})"
                rates = self._rates(phase, unit)
                throughput[phase, unit] = rates
                found += self._number("throughput", subject, rates, "batches/s")
                found += self._latencies(phase, unit, subject)
            found += self._energy(phase, [throughput[phase, unit] for unit in members])
        if len(units) > 1:
            for unit in units:
                pairs = zip(throughput[TOGETHER, unit], throughput[unit, unit], strict=True)
                shares = [100 * both / alone for both, alone in pairs if alone]
                found += self._number("throughput kept beside the others", unit, shares, "%")
        return found

    def _rates(self, phase: str, unit: str) -> list[float]:
        rates = []
        for run in self._state.runs:
            if run.name.startswith(f"{phase}.{unit}."):
                logged = parse_log(self._folder / f"{run.name}.log").runs
                performance = logged[-1].performance if logged else None
                if performance is None or performance.throughput_qps is None:
                    raise EnvironmentLacksError(
                        f"trtexec on {self._board} printed no throughput for {run.name}", then="Is the engine whole?"
                    )
                rates.append(performance.throughput_qps)
        return rates

    def _latencies(self, phase: str, unit: str, subject: str) -> list[Measurement]:
        by_percent: dict[int, list[float]] = {percent: [] for percent in _PERCENTS}
        queries = 0
        for path in sorted(self._folder.glob(f"{phase}.{unit}.*.times.json")):
            times = sorted(query.latency_ms for query in parse_times(path).queries if query.latency_ms is not None)
            queries += len(times)
            for percent, values in by_percent.items():
                if times:
                    values.append(times[min(len(times) - 1, len(times) * percent // 100)])
        more = f"{queries} queries"
        return [
            one
            for percent, values in by_percent.items()
            for one in self._number(f"latency p{percent}", subject, values, "ms", more)
        ]

    def _energy(self, phase: str, rates: list[list[float]]) -> list[Measurement]:
        """Power while the phase ran, and the energy of one inference (one batch): all of it, and above idle."""
        if not self._samples:
            return []
        idle = self._window("idle")
        watts, whole, above = [], [], []
        for repeat, together in enumerate(zip(*rates, strict=True)):
            load = self._window(f"{phase}.{repeat}")
            if load is None or not sum(together):
                continue
            watts.append(load.mean)
            whole.append(1000 * load.mean / sum(together))
            if idle is not None:
                above.append(1000 * (load.mean - idle.mean) / sum(together))
        rails = rails_counted(self._samples)
        found = self._number("power", phase, watts, "W", rails)
        if idle is not None:
            found += self._spread("idle power", phase, idle, "W", f"{rails}; samples, not repeats")
        found += self._number("energy per inference", phase, whole, "mJ", f"{rails}; one batch")
        return found + self._number("energy per inference above idle", phase, above, "mJ", f"{rails}; one batch")

    def _window(self, name: str) -> Spread | None:
        span = next((span for span in self._state.phases if span.name == name), None)
        if span is None:
            return None
        # The programs load their engines first and leave at the end: the middle half is load at its full.
        quarter = 0.0 if name == "idle" else (span.ended - span.started) / 4
        return mean_power(self._samples, span.started + quarter, span.ended - quarter)

    def _number(
        self, quantity: str, subject: str, values: Iterable[float], unit: str, more: str = ""
    ) -> list[Measurement]:
        spread = spread_of(values)
        return [] if spread is None else self._spread(quantity, subject, spread, unit, more)

    def _spread(self, quantity: str, subject: str, spread: Spread, unit: str, more: str) -> list[Measurement]:
        detail = f"{self._detail}; {more}" if more else self._detail
        sha256 = self._hashes.get(subject.partition(" ")[0], "")
        value = Measurement(quantity, subject, spread.mean, unit, spread.n, spread.interval)
        return [replace(value, detail=detail, sha256=sha256)]
