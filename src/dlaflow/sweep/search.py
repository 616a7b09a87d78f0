"""What to try next: all of a grid, or what Optuna proposes after the trials that are finished."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from dlaflow.errors import InputError
from dlaflow.sweep.extra import require
from dlaflow.sweep.schema import Range, Sweep
from dlaflow.sweep.space import DIMENSIONS, OF_CALIBRATION, Picked, Trial, Value, every_pick, grid, trial_of

if TYPE_CHECKING:
    import optuna

DEFAULT_TRIALS = 24
_TRIES = 20
"""So many proposals that were known before, in a row, and a combination is drawn that was not."""

Scores = tuple[float, float] | None
"""Accuracy (0..1) and latency of a finished trial; None when it has not both."""


class Search(Protocol):
    """Proposes trials. `total` is how many there will be at most; `eager` whether all can be asked for at once."""

    total: int
    eager: bool

    def ask(self) -> Trial | None:
        """The next trial; None when there is nothing more to try."""

    def tell(self, trial: Trial, scores: Scores) -> None:
        """How a trial ended."""


def search_of(sweep: Sweep, known: Iterable[Trial]) -> Search:
    """The search that the sweep asks for. `known` are the trials that an earlier run began; they come first.

    Raises EnvironmentLacksError without Optuna where that is asked for.
    """
    return Grid(grid(sweep)) if sweep.search.kind == "grid" else OptunaSearch(sweep, known)


class Grid:
    """Every combination, in the order of the file."""

    eager = True

    def __init__(self, trials: list[Trial]) -> None:
        self.total = len(trials)
        self._left = iter(trials)

    def ask(self) -> Trial | None:
        return next(self._left, None)

    def tell(self, trial: Trial, scores: Scores) -> None:
        """A grid learns nothing."""


class OptunaSearch:
    """Optuna's TPE with two goals, accuracy up and latency down. No trial is proposed twice."""

    eager = False

    def __init__(self, sweep: Sweep, known: Iterable[Trial]) -> None:
        self._sweep = sweep
        self.total = sweep.search.trials or DEFAULT_TRIALS
        again = list(islice(known, self.total))
        self._again = iter(again)
        # Another seed after an interruption: the same one would propose what is known already.
        self._study = _study(sweep.search.seed + len(again))
        self._seen: dict[str, Scores] = {}
        self._open: dict[str, optuna.Trial] = {}

    def ask(self) -> Trial | None:
        if len(self._seen) >= self.total:
            return None
        if (known := next(self._again, None)) is not None:
            self._enqueue(known.picked)
            return self._propose(1)
        if (found := self._propose(_TRIES)) is not None:
            return found
        unseen = self._unseen()
        if unseen is None:
            self.total = len(self._seen)
            return None
        self._enqueue(unseen)
        return self._propose(1)

    def tell(self, trial: Trial, scores: Scores) -> None:
        self._seen[trial.name] = scores
        self._learn(self._open.pop(trial.name), scores)

    def _propose(self, tries: int) -> Trial | None:
        """The first proposal that is new, of so many; the study learns of the others what it was told before."""
        for _ in range(tries):
            asked = self._study.ask()
            trial = trial_of(self._sweep, self._pick(asked))
            if trial.name not in self._seen:
                self._seen[trial.name] = None
                self._open[trial.name] = asked
                return trial
            self._learn(asked, self._seen[trial.name])
        return None

    def _learn(self, asked: optuna.Trial, scores: Scores) -> None:
        from optuna.trial import TrialState

        self._study.tell(asked, scores, TrialState.FAIL if scores is None else TrialState.COMPLETE)

    def _pick(self, asked: optuna.Trial) -> Picked:
        """A value for each dimension. The calibration is left out where nothing is calibrated."""
        picked: dict[str, Value] = {}
        for dimension in DIMENSIONS:
            found = getattr(self._sweep.space, dimension)
            if not found or (dimension in OF_CALIBRATION and "int8" not in self._precisions(picked)):
                continue
            picked[dimension] = _suggest(asked, dimension, found)
        return picked

    def _precisions(self, picked: Picked) -> tuple[str, ...]:
        chosen = picked.get("precisions")
        return chosen if isinstance(chosen, tuple) else self._sweep.evaluate.precisions

    def _enqueue(self, picked: Picked) -> None:
        """Make this the next proposal."""
        found = {dimension: getattr(self._sweep.space, dimension) for dimension in picked}
        self._study.enqueue_trial(
            {
                dimension: picked[dimension] if isinstance(given, Range) else list(given).index(picked[dimension])
                for dimension, given in found.items()
            }
        )

    def _unseen(self) -> Picked | None:
        """A combination that was not tried; None when there is none, or no end of them."""
        try:
            picks = every_pick(self._sweep.space)
            return next((picked for picked in picks if trial_of(self._sweep, picked).name not in self._seen), None)
        except InputError:
            return None


def _suggest(asked: optuna.Trial, dimension: str, found: tuple[Value, ...] | Range) -> Value:
    if not isinstance(found, Range):
        return found[asked.suggest_categorical(dimension, range(len(found)))]
    if dimension == "samples":
        step = round(found.step) if found.step else 1
        return asked.suggest_int(dimension, round(found.low), round(found.high), step=step, log=found.log)
    return asked.suggest_float(dimension, found.low, found.high, step=found.step, log=found.log)


def _study(seed: int) -> optuna.Study:
    require("optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.TPESampler(seed=seed))
