"""Which boards a run works on, how their steps ended, and the files that each leaves for a variant."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class BoardFiles:
    """`folder` is `RUN/VARIANT/on-BOARD`."""

    folder: Path

    @classmethod
    def of(cls, variant: Path, board: str) -> BoardFiles:
        """The files of `board` (any text) under the folder of a variant."""
        return cls(variant / f"on-{plain(board)}")

    @property
    def dla(self) -> Path:
        return self.folder / "dla.engine"

    @property
    def gpu(self) -> Path:
        return self.folder / "gpu.engine"

    @property
    def profile(self) -> Path:
        return self.folder / "profile.json"

    @property
    def accuracy(self) -> Path:
        return self.folder / "accuracy.json"

    @property
    def bench(self) -> Path:
        return self.folder / "bench.json"

    def results(self, steps: Collection[str]) -> list[Path]:
        """The files with numbers, of the steps that were done on the board."""
        found = {"profile": self.profile, "evaluate": self.accuracy, "bench": self.bench}
        return [path for step, path in found.items() if step in steps]


def plain(name: str) -> str:
    """A board's name as a part of a file name."""
    return "".join(sign if sign.isalnum() or sign in "-_" else "-" for sign in name)
