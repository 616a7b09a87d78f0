"""The folder of a sweep: a folder a trial with its recipe, what was picked, and how it ended."""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path

import msgspec

from dlaflow.errors import InputError
from dlaflow.files import write_atomic
from dlaflow.recipe.load import recipe_toml
from dlaflow.recipe.lock import locked
from dlaflow.recipe.run import start_over
from dlaflow.recipe.state import remove_leftovers
from dlaflow.sweep.records import Outcome, read_outcome
from dlaflow.sweep.schema import Range, Sweep
from dlaflow.sweep.space import Picked, Trial, Value, trial_of


class _Begun(msgspec.Struct, frozen=True):
    """`trial.json`: the order in which trials were begun, and what each was made from."""

    number: int
    picked: dict[str, str | int | float | tuple[str, ...] | dict[str, str | int]]


class Store:
    """The folder. Its lock is held by the caller."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.token = self.folder / f"sweep-{uuid.uuid4().hex}.token"

    def trial(self, trial: Trial) -> Path:
        """The folder of a trial."""
        return self.folder / "trials" / trial.name

    def training(self, key: str) -> Path:
        """The folder of a training that trials share."""
        return self.folder / "weights" / key

    def begin(self, trial: Trial) -> None:
        """Write what the trial is, before anything of it is done."""
        folder = self.trial(trial)
        if not (folder / "trial.json").is_file():
            begun = _Begun(len(list(folder.parent.glob("*/trial.json"))), {**trial.picked})  # type: ignore[dict-item]
            write_atomic(folder / "recipe.toml", recipe_toml(trial.recipe))
            write_atomic(folder / "trial.json", msgspec.json.encode(begun))

    def known(self, sweep: Sweep) -> list[Trial]:
        """The trials that were begun and that this sweep could begin too, in their order."""
        found = []
        for path in (self.folder / "trials").glob("*/trial.json"):
            try:
                begun = msgspec.json.decode(path.read_bytes(), type=_Begun)
                trial = trial_of(sweep, begun.picked)
            except (msgspec.DecodeError, InputError):
                continue
            if trial.name == path.parent.name and _possible(sweep, begun.picked):
                found.append((begun.number, trial))
        return [trial for _, trial in sorted(found, key=lambda pair: pair[0])]

    def outcome(self, trial: Trial) -> Outcome | None:
        """How the trial ended, if it did."""
        return read_outcome(self.trial(trial))

    def start_over(self) -> int:
        """Forget what was finished and return how many trials that were. Files stay until they are replaced."""
        outcomes = list((self.folder / "trials").glob("*/result.json"))
        for path in [*outcomes, *self.folder.glob("trials/*/trial.json")]:
            path.unlink(missing_ok=True)
        for folder in self._folders():
            start_over(folder)
        return len(outcomes)

    def tidy(self) -> None:
        """Remove what a killed worker left half-written. A folder that is still worked in is left alone."""
        for token in self.folder.glob("sweep-*.token"):
            token.unlink(missing_ok=True)
        for folder in self._folders():
            with suppress(InputError), locked(folder):
                remove_leftovers(folder)

    def _folders(self) -> list[Path]:
        return sorted(path.parent for kind in ("trials", "weights") for path in self.folder.glob(f"{kind}/*/.lock"))


def _possible(sweep: Sweep, picked: Picked) -> bool:
    """Whether the space still holds all that was picked."""
    return all(_within(getattr(sweep.space, dimension, ()), value) for dimension, value in picked.items())


def _within(found: tuple[Value, ...] | Range, value: Value) -> bool:
    if isinstance(found, Range):
        return isinstance(value, (int, float)) and found.low <= value <= found.high
    return value in found
