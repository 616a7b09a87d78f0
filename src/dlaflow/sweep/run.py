"""Run a sweep: ask for trials, hand them to the cluster, learn from each that ends, and write the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from dlaflow.errors import DlaflowError
from dlaflow.files import write_atomic
from dlaflow.progress import Progress, silent
from dlaflow.progress import Task as Bar
from dlaflow.recipe.lock import locked
from dlaflow.recipe.run import refuse_foreign_folder
from dlaflow.report.json import read_run
from dlaflow.report.records import RunRecord
from dlaflow.sweep.cluster import Cluster, Needs, Task, connect
from dlaflow.sweep.page import sweep_page
from dlaflow.sweep.records import Outcome, SweepRecord, TrialRecord, fronts, sweep_json, write_outcome
from dlaflow.sweep.schema import Sweep
from dlaflow.sweep.search import Scores, Search, search_of
from dlaflow.sweep.space import Trial
from dlaflow.sweep.store import Store
from dlaflow.sweep.trial import Job, run_training, run_trial

_LOOK = 0.5
"""Seconds between looks at the cluster."""
_EAGER = 1_000
"""So many trials of a grid wait in the cluster at once, which lets one that scales see what it has to do."""


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """Where to run. `resume` keeps the trials that are done; without it the sweep starts over.

    `address` is of a cluster that runs (None: one of this machine alone is started, with `cores` cores or all).
    `announce` is told what a user must not miss; `listener` hears of each trial that ends, now or in an earlier run
    (its flag).
    """

    folder: Path
    resume: bool = False
    address: str | None = None
    cores: int | None = None
    announce: Callable[[str], None] = lambda text: None
    listener: Callable[[TrialRecord, bool], None] = lambda trial, kept: None


def run_sweep(sweep: Sweep, options: SweepOptions, progress: Progress = silent) -> SweepRecord:
    """Run the sweep and write `sweep.json` and `report.html` into its folder; trials that fail are told in the record.

    Raises InputError for a folder that holds something else or in which another sweep works, or for an address where no
    cluster answers; EnvironmentLacksError without Ray or Optuna. After KeyboardInterrupt what is finished stays.
    """
    refuse_foreign_folder(options.folder)
    with locked(options.folder):
        store = Store(options.folder)
        store.tidy()
        if not options.resume and (dropped := store.start_over()):
            options.announce(f"Starting over in {options.folder}; --resume would have kept {dropped} finished trials.")
        search = search_of(sweep, store.known(sweep))
        driver = _Driver(sweep, options, store, search)
        try:
            with progress("Trials", search.total, "trials") as bar:
                driver.run(bar)
        finally:
            store.tidy()
        record = _record(sweep, driver.records, list(driver.runs.values()))
        write_atomic(options.folder / "sweep.json", sweep_json(record))
        write_atomic(options.folder / "report.html", sweep_page(record))
        return record


@dataclass
class _Driver:
    """The loop; `records` and `runs` (by trial) grow as trials end."""

    sweep: Sweep
    options: SweepOptions
    store: Store
    search: Search
    records: list[TrialRecord] = field(default_factory=list)
    runs: dict[str, RunRecord] = field(default_factory=dict)
    trainings: dict[str, Task[str]] = field(default_factory=dict)

    def run(self, bar: Bar) -> None:
        """Until nothing is left to try. A cluster is started when the first trial needs one."""
        first = self._next(bar)
        if first is None:
            return
        with connect(self.options.address, self.options.cores) as cluster, self._token():
            running: dict[Task[Outcome], Trial] = {}
            try:
                self._loop(cluster, running, first, bar)
            except BaseException:
                cluster.cancel([*running, *self.trainings.values()])
                raise

    def _loop(self, cluster: Cluster, running: dict[Task[Outcome], Trial], first: Trial | None, bar: Bar) -> None:
        nodes = cluster.nodes()
        while True:
            while len(running) < self._most(cluster) and (trial := first or self._next(bar)) is not None:
                running[self._submit(cluster, trial)] = trial
                first = None
            if not running:
                return
            for task in cluster.wait(list(running), _LOOK):
                ended = running.pop(task)
                self._end(ended, self._outcome(cluster, task, ended), bar)
            alive = cluster.nodes()
            if alive < nodes:
                self.options.announce(f"A machine of the cluster was lost ({alive} left); what it did is tried again.")
            nodes = alive

    def _most(self, cluster: Cluster) -> int:
        """How many trials to have in the cluster at once."""
        wanted = self.sweep.cluster.parallel
        return wanted or (_EAGER if self.search.eager else cluster.room(self._needs()))

    def _needs(self, gpus: float = 0.0) -> Needs:
        return Needs(self.sweep.cluster.cpus, gpus, self.sweep.cluster.retries)

    def _next(self, bar: Bar) -> Trial | None:
        """The next trial that is not finished; those that are end at once."""
        while (trial := self.search.ask()) is not None:
            outcome = self.store.outcome(trial)
            if outcome is None or outcome.status == "failed" or not self._readable(trial):
                return trial
            self._end(trial, outcome, bar, kept=True)
        return None

    def _readable(self, trial: Trial) -> bool:
        return (self.store.trial(trial) / "run.json").is_file()

    def _submit(self, cluster: Cluster, trial: Trial) -> Task[Outcome]:
        self.store.begin(trial)
        training, shared = trial.training, ""
        job = Job(msgspec.json.encode(trial.recipe), self.store.trial(trial), Path.cwd(), self.store.token)
        if training is None:
            return cluster.submit(run_trial, self._needs(), job, shared)
        job = replace(job, training=self.store.training(training))
        if training not in self.trainings:
            only = msgspec.structs.replace(trial.recipe, name=f"weights-{training}", steps=("train",))
            alone = replace(job, recipe=msgspec.json.encode(only), folder=self.store.training(training), training=None)
            self.trainings[training] = cluster.submit(run_training, self._needs(self.sweep.cluster.gpus), alone)
        return cluster.submit(run_trial, self._needs(), job, self.trainings[training])

    def _outcome(self, cluster: Cluster, task: Task[Outcome], trial: Trial) -> Outcome:
        try:
            return cluster.result(task)
        except DlaflowError as error:
            outcome = Outcome("failed", str(error))
            write_outcome(self.store.trial(trial), outcome)
            return outcome

    def _end(self, trial: Trial, outcome: Outcome, bar: Bar, *, kept: bool = False) -> None:
        folder = self.store.trial(trial)
        place = folder.relative_to(self.store.folder).as_posix()
        record = TrialRecord(trial.name, place, trial.choices, outcome, trial.recipe.report.file)
        if outcome.status == "done":
            run = self.runs[trial.name] = read_run(folder / "run.json")
            record = replace(record, variant=replace(run.variants[0], name=trial.name))
        self.records.append(record)
        self.search.tell(trial, _scores(record))
        bar.advance()
        self.options.listener(record, kept)

    @contextmanager
    def _token(self) -> Iterator[None]:
        """A file that shows a worker that it sees the folder."""
        write_atomic(self.store.token, "")
        try:
            yield
        finally:
            self.store.token.unlink(missing_ok=True)


def _scores(record: TrialRecord) -> Scores:
    top1, latency = record.top1, record.latency
    return (top1.value, latency.value) if top1 and latency else None


def _record(sweep: Sweep, trials: list[TrialRecord], runs: list[RunRecord]) -> SweepRecord:
    front = fronts(trials)
    return SweepRecord(
        sweep.name,
        datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        sweep.search.kind,
        " / ".join(dict.fromkeys(run.data for run in runs)),
        list(dict.fromkeys(notice for run in runs for notice in run.notices)),
        list(dict.fromkeys(line for run in runs for line in run.environment)),
        [replace(trial, front=trial.name in front) for trial in trials],
    )
