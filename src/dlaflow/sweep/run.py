"""Run a sweep: ask for trials, hand them to the cluster, learn from each that ends, and write the report.

The folder holds one folder a trial (`trials/NAME`: its recipe, `trial.json` with what was picked, `result.json` when it
has ended, and all that the recipe leaves) and one a training that trials share (`weights/HASH`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dlaflow.errors import DlaflowError, InputError
from dlaflow.files import together, write_atomic
from dlaflow.progress import Progress, Task, silent
from dlaflow.recipe.engine import remove_leftovers
from dlaflow.recipe.load import recipe_toml
from dlaflow.recipe.lock import locked
from dlaflow.recipe.run import refuse_foreign_folder, start_over
from dlaflow.report.json import read_run
from dlaflow.report.records import RunRecord, utc_now
from dlaflow.sweep import cluster
from dlaflow.sweep.drive import drive
from dlaflow.sweep.records import Outcome, SweepRecord, TrialRecord, sweep_json, sweep_page, with_fronts
from dlaflow.sweep.schema import Sweep
from dlaflow.sweep.search import OptunaSearch, Search
from dlaflow.sweep.space import Trial, trial_of
from dlaflow.sweep.trial import RECIPE, run_training, run_trial
from dlaflow.version import __version__

if TYPE_CHECKING:
    from ray import ObjectRef

TRIAL_SCHEMA = "dlaflow.trial/1"
_EAGER = 1_000
"""So many trials of a grid wait in the cluster at once, which lets one that scales see what it has to do."""


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """Where to run. `resume` keeps the trials that are done; without it the sweep starts over.

    `address` is of a cluster that runs (None: one of this machine alone is started, with `cores` cores or all).
    `announce` is called with what a user must not miss, `listener` with each trial that ends and whether an earlier run
    had ended it.
    """

    folder: Path
    resume: bool = False
    address: str | None = None
    cores: int | None = None
    announce: Callable[[str], None] = lambda text: None
    listener: Callable[[TrialRecord, bool], None] = lambda trial, kept: None


def run_sweep(sweep: Sweep, options: SweepOptions, progress: Progress = silent) -> SweepRecord:
    """Run the sweep and write `sweep.json` and `report.html` into its folder; the record lists trials that failed too.

    Raises InputError for a folder that holds something else or in which another sweep works, or for an address where no
    cluster answers; EnvironmentLacksError without Ray or Optuna. After KeyboardInterrupt what is finished stays.
    """
    refuse_foreign_folder(options.folder)
    with locked(options.folder):
        if not options.resume and (dropped := _start_over(options.folder)):
            options.announce(f"Starting over in {options.folder}; --resume would have kept {dropped} finished trials.")
        search = Search(sweep) if sweep.search.kind == "grid" else OptunaSearch(sweep, _known(sweep, options.folder))
        driver = _Driver(sweep, options, search)
        try:
            with progress("Trials", driver.search.total, "trials") as bar:
                driver.run(bar)
        finally:
            # A folder that a worker of a lost machine may still use is left alone.
            for folder in _folders(options.folder):
                with suppress(InputError), locked(folder):
                    remove_leftovers(folder)
        record = driver.record()
        with together():
            write_atomic(options.folder / "sweep.json", sweep_json(record))
            write_atomic(options.folder / "report.html", sweep_page(record))
        return record


@dataclass
class _Driver:
    """The loop; `records` and `runs` grow as trials end, `trainings` are the tasks that trials wait for."""

    sweep: Sweep
    options: SweepOptions
    search: Search
    records: list[TrialRecord] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    trainings: dict[str, ObjectRef[str]] = field(default_factory=dict)

    def run(self, bar: Task) -> None:
        """Until nothing is left to try. A cluster is started when the first trial needs one."""
        first = self._next(bar)
        if first is None:
            return
        limits, waiting = self.sweep.cluster, [first]
        with cluster.connected(self.options.address, self.options.cores):
            running: dict[ObjectRef[Outcome], Trial] = {}

            def ask() -> tuple[Trial, ObjectRef[Outcome]] | None:
                trial = waiting.pop() if waiting else self._next(bar)
                return None if trial is None else (trial, self._submit(trial))

            def most() -> int:
                return limits.parallel or (_EAGER if self.search.eager else cluster.room(limits.cpus))

            try:
                drive(
                    cluster,
                    running,
                    ask,
                    lambda trial, task: self._end(trial, self._outcome(task, trial), bar),
                    most,
                    self.options.announce,
                )
            except BaseException:
                cluster.cancel([*running, *self.trainings.values()])
                raise

    def _next(self, bar: Task) -> Trial | None:
        """The next trial that is not finished; those that are end at once."""
        while (trial := self.search.ask()) is not None:
            folder = self._folder(trial)
            outcome = _read_outcome(folder)
            if outcome is None or outcome.status == "failed" or not (folder / "run.json").is_file():
                return trial
            self._end(trial, outcome, bar, kept=True)
        return None

    def _submit(self, trial: Trial) -> ObjectRef[Outcome]:
        """Write what the trial is, before anything of it is done, and hand it to the cluster after its training."""
        folder, limits = self._folder(trial), self.sweep.cluster
        if not (folder / "trial.json").is_file():
            begun = _Begun(len(list(folder.parent.glob("*/trial.json"))), {**trial.picked})  # type: ignore[dict-item]
            write_atomic(folder / RECIPE, recipe_toml(trial.recipe))
            write_atomic(folder / "trial.json", msgspec.json.encode(begun))
        weights, trained = None, None
        if (training := trial.training) is not None:
            weights = self.options.folder.absolute() / "weights" / training
            if training not in self.trainings:
                only = msgspec.structs.replace(trial.recipe, name=f"weights-{training}", steps=("train",))
                write_atomic(weights / RECIPE, recipe_toml(only))
                self.trainings[training] = cluster.submit(
                    run_training, weights, Path.cwd(), cpus=limits.cpus, gpus=limits.gpus, retries=limits.retries
                )
            trained = self.trainings[training]
        return cluster.submit(
            run_trial, folder, Path.cwd(), weights, trained, cpus=limits.cpus, gpus=0.0, retries=limits.retries
        )

    def _outcome(self, task: ObjectRef[Outcome], trial: Trial) -> Outcome:
        """How a trial that is over ended; remembered in its folder."""
        try:
            outcome = cluster.result(task)
        except DlaflowError as error:
            outcome = Outcome("failed", str(error))
        body = {"schema": TRIAL_SCHEMA, **msgspec.to_builtins(outcome)}
        write_atomic(self._folder(trial) / "result.json", msgspec.json.format(msgspec.json.encode(body), indent=1))
        return outcome

    def _end(self, trial: Trial, outcome: Outcome, bar: Task, *, kept: bool = False) -> None:
        place = self._folder(trial)
        folder = place.relative_to(self.options.folder.absolute()).as_posix()
        record = TrialRecord(trial.name, folder, trial.choices, outcome, trial.recipe.report.file)
        if outcome.status == "done":
            run = read_run(place / "run.json")
            self.runs.append(run)
            record = replace(record, variant=replace(run.variants[0], name=trial.name))
        self.records.append(record)
        top1, latency = record.top1, record.latency
        self.search.tell(trial, (top1.value, latency.value) if top1 and latency else None)
        bar.advance()
        self.options.listener(record, kept)

    def _folder(self, trial: Trial) -> Path:
        return self.options.folder.absolute() / "trials" / trial.name

    def record(self) -> SweepRecord:
        """All that ended."""
        return SweepRecord(
            self.sweep.name,
            utc_now(),
            self.sweep.search.kind,
            " / ".join(dict.fromkeys(run.data for run in self.runs)),
            list(dict.fromkeys(notice for run in self.runs for notice in run.notices)),
            list(dict.fromkeys(line for run in self.runs for line in run.environment)),
            with_fronts(self.records),
        )


class _Begun(msgspec.Struct, frozen=True):
    """`trial.json`: the order in which trials were begun, and what each was made from."""

    number: int
    picked: dict[str, str | int | float | tuple[str, ...] | dict[str, str | int]]


def _known(sweep: Sweep, folder: Path) -> list[Trial]:
    """The trials that were begun in the folder and that the sweep can make too, in their order."""
    found = []
    for path in folder.glob("trials/*/trial.json"):
        with suppress(msgspec.DecodeError, InputError):
            begun = msgspec.json.decode(path.read_bytes(), type=_Begun)
            trial = trial_of(sweep, begun.picked)
            if trial.name == path.parent.name:
                found.append((begun.number, trial))
    return [trial for _, trial in sorted(found, key=lambda pair: pair[0])]


def _read_outcome(folder: Path) -> Outcome | None:
    """How the trial in this folder ended; None when it did not, or by another version of dlaflow."""
    try:
        outcome = msgspec.json.decode((folder / "result.json").read_bytes(), type=Outcome)
    except (OSError, msgspec.DecodeError):
        return None
    return outcome if outcome.dlaflow == __version__ else None


def _start_over(folder: Path) -> int:
    """Forget what was finished and return how many trials that were. Files stay until they are replaced."""
    outcomes = list(folder.glob("trials/*/result.json"))
    for path in [*outcomes, *folder.glob("trials/*/trial.json")]:
        path.unlink(missing_ok=True)
    for each in _folders(folder):
        start_over(each)
    return len(outcomes)


def _folders(folder: Path) -> list[Path]:
    """The folders of trials and trainings that were worked in."""
    return [path.parent for kind in ("trials", "weights") for path in folder.glob(f"{kind}/*/.lock")]
