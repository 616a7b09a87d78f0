"""`dlaflow remote BOARD power`: what the board draws as it is, rail by rail; nothing of ours runs meanwhile."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from dlaflow.errors import UsageError
from dlaflow.parse.device import parse_device
from dlaflow.profile.spread import Running
from dlaflow.remote.board import Board
from dlaflow.remote.jobs import Handling, JobOptions, perform, require_done
from dlaflow.remote.power import mean_power, rails_said, read_power
from dlaflow.remote.records import PowerOptions
from dlaflow.types import Measurement


@dataclass(frozen=True, slots=True)
class IdleOptions:
    """How long to sample (s), and how often (ms)."""

    seconds: float = 10.0
    interval_ms: int = 100
    handling: Handling = field(default_factory=Handling)


def power(board: Board, options: IdleOptions) -> list[Measurement]:
    """Sample and return the whole module and each rail, in watts.

    Raises UsageError for no time at all, EnvironmentLacksError for a board that shows no power.
    """
    if options.seconds <= 0:
        raise UsageError("power needs time", expected="--seconds above 0", received=options.seconds)
    job = JobOptions("power", "power", {}, (), PowerOptions(idle_s=options.seconds, interval_ms=options.interval_ms))
    with tempfile.TemporaryDirectory(prefix="dlaflow-") as place:
        folder = Path(place)
        state = perform(board, job, folder, options.handling)
        require_done(board, state)
        samples = read_power(folder)
        device = folder / "device.txt"
        mode = parse_device(device).mode if device.is_file() else None
    about = f"{board.name}; power mode {mode.name if mode else 'not told'}; {state.power}; samples, not repeats"
    whole = mean_power(samples, state.started, state.ended)
    if whole is None:
        return []
    detail = f"{about}; {rails_said(samples)}"
    found = [Measurement("power", "module", whole.mean, "W", whole.n, whole.interval, detail=detail)]
    for rail in dict.fromkeys(name for sample in samples for name in sample.rails_mw):
        running = Running()
        for sample in samples:
            if rail in sample.rails_mw:
                running.add(sample.rails_mw[rail] / 1000)
        spread = running.finish()
        if spread is not None:
            found.append(Measurement("power", rail, spread.mean, "W", spread.n, spread.interval, detail=about))
    return found
