"""Which boards a run works on, and how their steps ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from dlaflow.errors import DlaflowError
from dlaflow.recipe.engine import StepDone
from dlaflow.remote.board import Patience
from dlaflow.remote.inventory import BoardEntry, UserCallbacks


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """The boards of `--on` and how to go about them."""

    entries: tuple[BoardEntry, ...]
    patience: Patience = field(default_factory=Patience)
    user: UserCallbacks = field(default_factory=UserCallbacks)


@dataclass(frozen=True, slots=True)
class FleetOutcome:
    """How the boards' steps ended: those that are done, the boards that did all of theirs, the errors by board."""

    done: list[StepDone]
    whole: tuple[str, ...]
    failed: dict[str, DlaflowError]
    sent: dict[str, int]


NO_BOARDS = FleetOutcome([], (), {}, {})
