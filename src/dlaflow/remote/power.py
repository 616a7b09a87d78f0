"""Power of a board: the samples that the agent wrote, added up without counting a rail twice; and as it is at rest.

`dlaflow remote BOARD power` shows what the board draws, rail by rail; nothing of ours runs meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from dlaflow.errors import UsageError
from dlaflow.parse.device import DeviceText, parse_device
from dlaflow.parse.tegrastats import parse_tegrastats
from dlaflow.profile.spread import Spread, spread_of
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.jobs import JobControl, JobOptions, performed
from dlaflow.remote.records import PowerOptions
from dlaflow.types import Measurement

_WHOLE = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that carry the whole module where they are printed (Orin NX and Nano, Xavier NX, TX2)."""
_PARTS = frozenset({"VDDQ_VDD2_1V8AO"})
"""Rails behind another one that is printed too (AGX Orin: behind VIN_SYS_5V0; inferred, not documented)."""


class PowerSample(msgspec.Struct, frozen=True):
    """Milliwatts by rail at a time (the board's clock, seconds since 1970)."""

    at: float
    rails_mw: dict[str, float]

    @property
    def total_mw(self) -> float:
        """The whole module: its input rail where there is one, else the rails that do not feed each other."""
        return sum(self.rails_mw[name] for name in _counted(self.rails_mw))


@dataclass(frozen=True, slots=True)
class IdleOptions:
    """How long to sample (s), and how often (ms)."""

    seconds: float = 10.0
    interval_ms: int = 100
    control: JobControl = field(default_factory=JobControl)


def power(board: RemoteBoard, options: IdleOptions) -> list[Measurement]:
    """Sample and return the whole module and each rail, in watts.

    Raises UsageError for no time at all, EnvironmentLacksError for a board that shows no power.
    """
    if options.seconds <= 0:
        raise UsageError("power needs time", expected="--seconds above 0", received=options.seconds)
    job = JobOptions("power", "power", {}, (), PowerOptions(idle_s=options.seconds, interval_ms=options.interval_ms))
    with performed(board, job, options.control) as (state, folder):
        samples, mode = read_power(folder), power_mode(read_device(folder))
    about = f"{board.name}; power mode {mode}; {state.power}; samples, not repeats"
    whole = mean_power(samples, state.started, state.ended)
    if whole is None:
        return []
    detail = f"{about}; {rails_counted(samples)}"
    found = [Measurement("power", "module", whole.mean, "W", whole.n, whole.interval, detail=detail)]
    for rail in dict.fromkeys(name for sample in samples for name in sample.rails_mw):
        spread = spread_of(sample.rails_mw[rail] / 1000 for sample in samples if rail in sample.rails_mw)
        if spread is not None:
            found.append(Measurement("power", rail, spread.mean, "W", spread.n, spread.interval, detail=about))
    return found


def read_device(folder: Path) -> DeviceText | None:
    """Power mode and clocks as they were during a job, or None where the agent wrote none."""
    path = folder / "device.txt"
    return parse_device(path) if path.is_file() else None


def power_mode(device: DeviceText | None) -> str:
    """The name of the power mode, as measurements state it."""
    return device.mode.name if device and device.mode else "not told"


def read_power(folder: Path) -> list[PowerSample]:
    """The samples of a job, in order; empty where none were taken. Lines that are none are left out."""
    log, rails = folder / "tegrastats.log", folder / "rails.jsonl"
    found: list[PowerSample] = []
    if log.is_file():
        for sample in parse_tegrastats(log).samples:
            if sample.epoch is not None and sample.rails:
                # A name may repeat (NC); the first is the one of its channel.
                named = {rail.name: float(rail.current_mw) for rail in reversed(sample.rails)}
                found.append(PowerSample(sample.epoch, {rail.name: named[rail.name] for rail in sample.rails}))
    if rails.is_file():
        for line in rails.read_bytes().splitlines():
            with suppress(msgspec.DecodeError):
                found.append(msgspec.json.decode(line, type=PowerSample))
    return found


def mean_power(samples: Iterable[PowerSample], started: float, ended: float) -> Spread | None:
    """Watts of the whole module between two times; None without a sample there."""
    return spread_of(sample.total_mw / 1000 for sample in samples if started <= sample.at <= ended)


def rails_counted(samples: Sequence[PowerSample]) -> str:
    """Which rails a total is made of."""
    return "+".join(_counted(samples[0].rails_mw)) if samples else ""


def _counted(rails: Iterable[str]) -> list[str]:
    names = list(rails)
    whole = next((name for name in _WHOLE if name in names), None)
    return [whole] if whole else [name for name in names if name not in _PARTS]
