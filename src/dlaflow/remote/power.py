"""Power samples of a job: read from what the agent wrote, cut by phases, added up without counting a rail twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dlaflow.parse.tegrastats import parse_tegrastats
from dlaflow.profile.spread import Running, Spread

_WHOLE = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails that carry the whole module where they are printed (Orin NX and Nano, Xavier NX, TX2)."""
_PARTS = frozenset({"VDDQ_VDD2_1V8AO"})
"""Rails behind another one that is printed too (AGX Orin: behind VIN_SYS_5V0; inferred, not documented)."""


class RailLine(msgspec.Struct, frozen=True):
    """One line of the agent's own samples, where there is no tegrastats."""

    at: float
    rails_mw: dict[str, float]


@dataclass(frozen=True, slots=True)
class PowerSample:
    """Milliwatts by rail at a time (the board's clock, seconds since 1970)."""

    at: float
    rails_mw: dict[str, float]

    @property
    def total_mw(self) -> float:
        """The whole module: its input rail where there is one, else the rails that do not feed each other."""
        for name in _WHOLE:
            if name in self.rails_mw:
                return self.rails_mw[name]
        return sum(value for name, value in self.rails_mw.items() if name not in _PARTS)


def read_power(folder: Path) -> list[PowerSample]:
    """The samples of a job, in order; empty where none were taken. Lines that are none are left out."""
    log, rails = folder / "tegrastats.log", folder / "rails.jsonl"
    found: list[PowerSample] = []
    if log.is_file():
        for sample in parse_tegrastats(log).samples:
            if sample.epoch is not None and sample.rails:
                named: dict[str, float] = {}
                for rail in sample.rails:
                    # A name may repeat (NC); the first is the one of its channel.
                    named.setdefault(rail.name, float(rail.current_mw))
                found.append(PowerSample(sample.epoch, named))
    if rails.is_file():
        for line in rails.read_bytes().splitlines():
            try:
                one = msgspec.json.decode(line, type=RailLine)
            except msgspec.DecodeError:
                continue
            found.append(PowerSample(one.at, one.rails_mw))
    return found


def mean_power(samples: Iterable[PowerSample], started: float, ended: float) -> Spread | None:
    """Watts of the whole module between two times; None without a sample there."""
    running = Running()
    for sample in samples:
        if started <= sample.at <= ended:
            running.add(sample.total_mw / 1000)
    return running.finish()


def rails_said(samples: Sequence[PowerSample]) -> str:
    """Which rails a total is made of."""
    if not samples:
        return ""
    rails = samples[0].rails_mw
    whole = next((name for name in _WHOLE if name in rails), None)
    return whole or "+".join(name for name in rails if name not in _PARTS)
