"""What to try next: all of a grid, or what Optuna proposes after the trials that are finished."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dlaflow.errors import InputError, require
from dlaflow.sweep.schema import Range, Sweep
from dlaflow.sweep.space import Picked, Trial, Value, dimensions, every_pick, grid, trial_of

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

DEFAULT_TRIALS = 24
_TRIES = 20
"""So many proposals that were known before, in a row, and a combination is taken that was not tried."""

Scores = tuple[float, float] | None
"""Accuracy (0..1) and latency of a finished trial; None when it has not both."""


class Search:
    """Proposes every combination of a sweep, in the order of the file.

    `total` is how many trials there will be at most; `eager` whether all can be asked for at once.
    """

    eager = True

    def __init__(self, sweep: Sweep) -> None:
        trials = grid(sweep)
        self.total = len(trials)
        self._left = iter(trials)

    def ask(self) -> Trial | None:
        """The next trial; None when there is nothing more to try."""
        return next(self._left, None)

    def tell(self, trial: Trial, scores: Scores) -> None:
        """How a trial ended, of which this search learns nothing."""


class OptunaSearch(Search):
    """Optuna's TPE with two goals, accuracy up and latency down. No trial is proposed twice.

    `known` are the trials that an earlier run began; they come first. Raises EnvironmentLacksError without Optuna.
    """

    eager = False

    def __init__(self, sweep: Sweep, known: Iterable[Trial]) -> None:
        require("optuna", extra="sweep", what_for="this sweep")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.total = sweep.search.trials or DEFAULT_TRIALS
        self._sweep = sweep
        self._space = dimensions(sweep.space)
        self._scores: dict[str, Scores] = {}
        self._open: dict[str, optuna.Trial] = {}
        again = [found for trial in known if (found := self._parameters(trial.picked)) is not None][: self.total]
        # Another seed after an interruption: the same one would propose what is known already.
        sampler = optuna.samplers.TPESampler(seed=sweep.search.seed + len(again))
        self._study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        for parameters in again:
            self._study.enqueue_trial(parameters)

    def ask(self) -> Trial | None:
        if len(self._scores) >= self.total:
            return None
        if (found := self._propose(_TRIES)) is not None:
            return found
        if (unseen := self._unseen()) is None:
            self.total = len(self._scores)
            return None
        self._study.enqueue_trial(self._parameters(unseen) or {})
        return self._propose(1)

    def tell(self, trial: Trial, scores: Scores) -> None:
        self._scores[trial.name] = scores
        self._learn(self._open.pop(trial.name), scores)

    def _propose(self, tries: int) -> Trial | None:
        """The first proposal that is new, of so many; the study gets the known scores of the others."""
        distributions = {name: _distribution(name, found) for name, found in self._space.items()}
        for _ in range(tries):
            asked = self._study.ask(distributions)
            trial = trial_of(self._sweep, {name: self._value(name, asked.params[name]) for name in self._space})
            if trial.name not in self._scores:
                self._scores[trial.name] = None
                self._open[trial.name] = asked
                return trial
            self._learn(asked, self._scores[trial.name])
        return None

    def _learn(self, asked: optuna.Trial, scores: Scores) -> None:
        from optuna.trial import TrialState

        self._study.tell(asked, scores, TrialState.FAIL if scores is None else TrialState.COMPLETE)

    def _value(self, name: str, parameter: int | float) -> Value:
        """The value behind Optuna's parameter, which is the index of a listed one."""
        found = self._space[name]
        return parameter if isinstance(found, Range) else found[int(parameter)]

    def _parameters(self, picked: Picked) -> dict[str, Value] | None:
        """Optuna's parameters of what was picked; None when the space does not hold all of it (any more)."""
        parameters: dict[str, Value] = {}
        for name, value in picked.items():
            found = self._space.get(name, ())
            if not isinstance(found, Range) and value in found:
                parameters[name] = found.index(value)
            elif isinstance(found, Range) and isinstance(value, (int, float)) and found.low <= value <= found.high:
                parameters[name] = value
            else:
                return None
        return parameters

    def _unseen(self) -> Picked | None:
        """A combination that was not tried; None when there is none, or no end of them."""
        try:
            picks = every_pick(self._sweep.space)
            return next((picked for picked in picks if trial_of(self._sweep, picked).name not in self._scores), None)
        except InputError:
            return None


def _distribution(name: str, found: tuple[Value, ...] | Range) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(found, Range):
        return CategoricalDistribution(range(len(found)))
    if name == "samples":
        return IntDistribution(round(found.low), round(found.high), found.log, round(found.step or 1))
    return FloatDistribution(found.low, found.high, found.log, found.step)
