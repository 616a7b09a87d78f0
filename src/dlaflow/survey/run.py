"""Run a survey: each model is a task, on this machine or a cluster; results are added to those that are there.

The folder holds `results.jsonl` (a line for each model and case), `gallery.html` and `gallery.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dlaflow.errors import DlaflowError
from dlaflow.estimate.clocks import FULL_MODE
from dlaflow.files import together, write_atomic
from dlaflow.progress import Progress, Task, silent
from dlaflow.recipe.lock import locked
from dlaflow.survey.nursery import Local, run_trial
from dlaflow.survey.page import gallery_markdown, gallery_page
from dlaflow.survey.records import Case, Key, Result
from dlaflow.survey.sources import Source
from dlaflow.survey.store import add_results, read_results
from dlaflow.survey.trial import Job, Place
from dlaflow.sweep import cluster
from dlaflow.sweep.drive import Workers, drive
from dlaflow.targets.target import Target
from dlaflow.version import __version__

RESULTS = "results.jsonl"
_RETRIES = 3
Wanted = Sequence[tuple[Case, Sequence[Place]]]


@dataclass(frozen=True, slots=True)
class SurveyOptions:
    """Where to run and within which bounds.

    `address` is of a Ray cluster that runs; None: `cores` processes of this machine. `allow` is the safety class of the
    fix; `seconds` and `mebibytes` are the most that a model may take in a case. `announce` is called with what a user
    must not miss, `listener` with each result and whether it was there before.
    """

    folder: Path
    address: str | None = None
    cores: int = 1
    allow: str = "exact"
    seconds: float = 600.0
    mebibytes: int = 8192
    announce: Callable[[str], None] = lambda text: None
    listener: Callable[[Result, bool], None] = lambda result, kept: None


def cases_of(targets: Sequence[tuple[Target, Sequence[str | None]]]) -> Wanted:
    """Targets with their power modes, brought together where one placement serves several boards."""
    found: dict[Case, list[Place]] = {}
    for target, modes in targets:
        info, shapes = target.info(1), tuple(map(str, target.shapes))
        case = Case(info.jetpack, info.tensorrt, info.dla, info.precision, target.batch, info.mode, shapes)
        places = found.setdefault(case, [])
        places += [each for mode in modes if (each := Place(target.board.id, mode or FULL_MODE)) not in places]
    return list(found.items())


def run_survey(
    sources: Sequence[Source], wanted: Wanted, options: SurveyOptions, progress: Progress = silent
) -> list[Result]:
    """Survey the models and return all results of the folder, of earlier runs too; the gallery is written anew.

    What an earlier run of this dlaflow knows is kept; what failed is tried again. Raises InputError for a folder in
    which another survey works and where no cluster answers. After KeyboardInterrupt what is finished stays.
    """
    with locked(options.folder):
        path = options.folder / RESULTS
        known = {result.key: result for result in read_results(path)}
        jobs = list(_jobs(sources, wanted, known, options))
        with progress("Models", len(jobs), "models") as bar:
            if jobs:
                _run(jobs, path, options, bar)
        results = read_results(path)
        with together():
            write_atomic(options.folder / "gallery.html", gallery_page(results))
            write_atomic(options.folder / "gallery.md", gallery_markdown(results))
        return results


def _jobs(sources: Sequence[Source], wanted: Wanted, known: dict[Key, Result], options: SurveyOptions) -> Iterator[Job]:
    """A job for each model of which anything is not known; a case is asked for the boards that it lacks."""
    for source in sources:
        cases = []
        for case, places in wanted:
            result = known.get((source.model.name, source.model.version, options.allow, case))
            if result is not None and result.status != "failed" and result.dlaflow == __version__:
                have = {(each.board, each.mode) for each in result.boards}
                lacking = [each for each in places if (each.board, each.mode) not in have and result.status == "done"]
                if not lacking:
                    options.listener(result, True)
                    continue
                places = lacking
            cases.append((case, list(places)))
        if cases:
            yield Job(source, cases, options.allow, options.seconds, options.mebibytes)


@contextmanager
def _workers(options: SurveyOptions) -> Iterator[tuple[Workers, Callable[[Job], Any]]]:
    """What works, and how to begin a job there."""
    if options.address is None:
        local = Local(options.cores)
        try:
            yield local, local.begin
        finally:
            local.cancel(())
    else:
        with cluster.connected(options.address, None):
            yield cluster, partial(cluster.submit, run_trial, cpus=1.0, gpus=0.0, retries=_RETRIES)


def _run(jobs: Sequence[Job], path: Path, options: SurveyOptions, bar: Task) -> None:
    waiting, running = iter(jobs), dict[Any, Job]()
    with _workers(options) as (workers, begin):

        def ask() -> tuple[Job, Any] | None:
            job = next(waiting, None)
            return None if job is None else (job, begin(job))

        def end(job: Job, task: Any) -> None:
            try:
                results = workers.result(task)
            except DlaflowError as error:
                results = job.given_up(str(error))
            add_results(path, results)
            bar.advance()
            for result in results:
                options.listener(result, False)

        try:
            drive(workers, running, ask, end, lambda: workers.room(1.0), options.announce)
        except BaseException:
            workers.cancel(running)
            raise
