"""schedule: several ONNX models with rates or budgets, and a board → which network on which core, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated

from dlaflow.api.check import Prediction, predict
from dlaflow.api.claims import Use
from dlaflow.api.keywords import File, keywords
from dlaflow.deploy.systems import SYSTEMS, System
from dlaflow.errors import InputError, UsageError, unknown_name
from dlaflow.files import record_json
from dlaflow.progress import Progress, silent
from dlaflow.targets.options import TargetOptions

if TYPE_CHECKING:
    from dlaflow.estimate.schedule import Assigned, Found, Job
    from dlaflow.estimate.schedule_flow import Sharing
    from dlaflow.estimate.schedule_measured import Bench
    from dlaflow.estimate.schedule_pieces import Option
    from dlaflow.targets.target import Target

SCHEMA = "dlaflow.schedule/1"
_ASKED = re.compile(r"(?P<rest>.+)@(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|fps)?", re.DOTALL)
_STRANGE = 4.0
"""A bench that is off the estimate by more than this may be of another engine."""
_MOST = 12
"""So many networks at most: beyond, nothing has been tried."""


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """How to schedule."""

    power_mode: str | None = None
    """The power mode of the board, such as MAXN, 30W or 15W. Default: MAXN, clocks locked."""
    measured: Annotated[Sequence[str], Use.READ] = ()
    """A bench of your board (`dlaflow remote BOARD bench --json`) that the times and the sharing of the GPU are
    refitted to: [MODEL=]FILE, where MODEL is one of the models; it may be left out when there is one."""
    try_fix: bool = True
    """Also tell what `dlaflow fix` would gain: the same schedules of the models that it would write."""
    system: System = "python"
    """The system that the `deploy` lines are for, such as triton or deepstream."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One argument: a model with images a second (None: as many as possible) and a budget in ms for one batch."""

    model: Path
    rate: float | None = None
    budget_ms: float | None = None


@dataclass(frozen=True, slots=True)
class AfterFix:
    """What the best schedule is once `dlaflow fix` has rewritten models: its rewrites by model (empty where it changes
    none), and the answer."""

    rewrites: dict[str, list[str]]
    found: Found


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The answer with its commands. `models` are the files by the networks' names."""

    board: str
    release: str
    mode: str
    precision: str
    models: dict[str, str]
    found: Found
    commands: tuple[str, ...]
    notes: tuple[str, ...]
    after_fix: AfterFix | None


def wish_of(text: str) -> Wish:
    """Read `a.onnx`, `a.onnx@30` (images a second), `a.onnx@20ms` (a budget) or both; a path may hold `@` itself.

    What names a file as it stands is that file. Raises UsageError for a number of nothing.
    """
    rate: float | None = None
    budget: float | None = None
    rest = text
    while not Path(rest).is_file() and (found := _ASKED.fullmatch(rest)):
        number = float(found["number"])
        if not 0 < number < 1e9:
            raise UsageError(
                "a rate or a budget makes no sense", expected="above 0 and below 1e9, as MODEL@30", received=text
            )
        given = budget if found["unit"] == "ms" else rate
        if given is not None:
            raise UsageError("a network has one rate and one budget", expected="MODEL@30@20ms", received=text)
        rate, budget = (rate, number) if found["unit"] == "ms" else (number, budget)
        rest = found["rest"]
    if "@" in rest and not Path(rest).is_file():
        raise UsageError(
            "cannot read what is asked of a network",
            expected="an existing MODEL, MODEL@30 (images a second), MODEL@20ms (a latency budget) or MODEL@30@20ms",
            received=text,
        )
    return Wish(Path(rest), rate, budget)


def schedule_models(
    wishes: Sequence[Wish], target: Target, options: ScheduleOptions, progress: Progress = silent
) -> Scheduled:
    """Find which network to run on which core of the board of `target`.

    Raises UsageError for too many networks or unknown names, and InputError for a model that can run nowhere.
    """
    from dlaflow.estimate.schedule import Hardware, search
    from dlaflow.estimate.schedule_flow import shipped_sharing
    from dlaflow.estimate.setting import setting_of

    if options.system not in SYSTEMS:
        raise unknown_name("system", options.system, SYSTEMS)
    if not 0 < len(wishes) <= _MOST:
        raise UsageError("a schedule needs networks", expected=f"1 to {_MOST} models", received=str(len(wishes)))
    names = _names([wish.model for wish in wishes])
    files = dict.fromkeys(wish.model for wish in wishes)
    with progress("Placing", len(files)) as task:
        found: dict[Path, Prediction] = {}
        for model in files:
            found[model] = predict(model, target)
            task.advance()
    ways = {model: _options(each, target, options) for model, each in found.items()}
    benches = _benches(options.measured, list(ways))
    ways, sharing, factors = _as_measured(ways, benches, shipped_sharing(target.version))
    setting = setting_of(target, options.power_mode)
    hardware = Hardware.of(setting, sharing)
    jobs = [_job(name, wish, found[wish.model], ways[wish.model]) for name, wish in zip(names, wishes, strict=True)]
    with progress("Scheduling", None):
        best = search(jobs, hardware)
        assert best is not None  # every job has a way
        after = _after_fix(found, jobs, wishes, (target, options), factors) if options.try_fix else ({}, jobs)
        fixed = search(after[1], hardware) if after[0] else best
        assert fixed is not None
    return Scheduled(
        board=target.board.id,
        release=target.release.name,
        mode=setting.clocks.mode,
        precision=target.precision,
        models={name: str(wish.model) for name, wish in zip(names, wishes, strict=True)},
        found=best,
        commands=tuple(_commands(best.best.networks, wishes, target, options.system)),
        notes=(*_unread(found), *_notes(target, best, hardware.power is None), *_strange(factors)),
        after_fix=AfterFix(after[0], fixed) if options.try_fix else None,
    )


def schedule_json(found: Scheduled) -> bytes:
    """The file of `--json`: the answer field by field."""
    return record_json(SCHEMA, found)


def _names(models: Sequence[Path]) -> list[str]:
    """A name for each network: the file's, with a number where several are alike."""
    stems = [model.stem for model in models]
    return [
        f"{stem} #{stems[:place].count(stem) + 1}" if stems.count(stem) > 1 else stem
        for place, stem in enumerate(stems)
    ]


def _options(found: Prediction, target: Target, options: ScheduleOptions) -> tuple[Option, ...]:
    """The ways a model can run. Raises InputError where it has none."""
    from dlaflow.estimate.latency import estimate
    from dlaflow.estimate.schedule_pieces import options_of
    from dlaflow.estimate.setting import setting_of
    from dlaflow.rules.case import judged

    own = judged(found.network, target)
    known = estimate(found.network, found.placement, target, options.power_mode)
    ways = options_of(found.network, found.placement, setting_of(own, options.power_mode, typed=found.network.typed))
    if known.latency is None:
        ways = tuple(each for each in ways if all(piece.on_gpu for piece in each.pieces))
    if not ways or found.network.dynamic_inputs:
        no_gpu = () if known.gpu_alone else ("the rates of its GPU are not known to dlaflow",)
        why = "; ".join((*known.unknown, *no_gpu)) or "no time is known for any core"
        raise InputError(f"{found.placement.model.path} cannot be scheduled: {why}")
    return ways


def _job(name: str, wish: Wish, found: Prediction, ways: tuple[Option, ...]) -> Job:
    from dlaflow.estimate.latency import batch_of
    from dlaflow.estimate.schedule import Demand, Job

    batch = batch_of(found.network) or found.placement.target.batch
    return Job(Demand(name, wish.rate, wish.budget_ms), batch, ways)


def _benches(measured: Sequence[str], models: Sequence[Path]) -> dict[Path, Bench]:
    """What `--measured` names, by model; of two benches of a model the last one."""
    from dlaflow.estimate.schedule_measured import bench_of
    from dlaflow.report.json import read_measurements

    named = dict(_of_bench(text, models) for text in measured)
    return {model: bench_of(read_measurements(path), str(path)) for model, path in named.items()}


def _as_measured(
    ways: dict[Path, tuple[Option, ...]], benches: dict[Path, Bench], sharing: Sharing
) -> tuple[dict[Path, tuple[Option, ...]], Sharing, dict[Path, tuple[float, float]]]:
    """The ways and the sharing refitted to benches, and how much longer a model takes on (GPU, DLA) than estimated."""
    from dlaflow.estimate.schedule_measured import adjusted, factors_of, learned_sharing

    factors = {model: factors_of(ways[model], bench) for model, bench in benches.items()}
    ways = ways | {model: adjusted(ways[model], bench) for model, bench in benches.items()}
    for model, bench in benches.items():
        sharing = learned_sharing(ways[model], bench, sharing)
    return ways, sharing, factors


def _strange(factors: dict[Path, tuple[float, float]]) -> list[str]:
    """Benches so far off the estimate that they may be of another engine: a bench does not tell of which one it is."""
    return [
        f"the bench of {model} takes {factor:.2g} times the estimate on the {engine}: is it of this model, board and "
        "precision?"
        for model, both in factors.items()
        for engine, factor in zip(("GPU", "DLA"), both, strict=True)
        if not 1 / _STRANGE < factor < _STRANGE
    ]


def _of_bench(text: str, models: Sequence[Path]) -> tuple[Path, Path]:
    """The model and the file of `[MODEL=]FILE`."""
    for model in models:
        for name in (str(model), model.name, model.stem):
            if text.startswith(f"{name}="):
                return model, Path(text[len(name) + 1 :])
    if len(models) == 1:
        return models[0], Path(text)
    raise UsageError(
        "a bench is of one model", expected=f"MODEL=FILE with one of {', '.join(map(str, models))}", received=text
    )


def _after_fix(
    found: dict[Path, Prediction],
    jobs: Sequence[Job],
    wishes: Sequence[Wish],
    how: tuple[Target, ScheduleOptions],
    factors: dict[Path, tuple[float, float]],
) -> tuple[dict[str, list[str]], Sequence[Job]]:
    """The rewrites by model that `fix` would make, and the jobs with the models that it would write.

    Nobody has measured those: their times are off the estimate by the same `factors` as the models'.
    """
    from dlaflow.api.gain import after_fix
    from dlaflow.estimate.schedule import scaled

    target, options = how
    ways, rewrites = {}, {}
    for model, each in found.items():
        fixed = after_fix(each.model, each.placement, target)
        if fixed is not None:
            after = replace(each, network=fixed.network, placement=fixed.placement)
            own = _options(after, replace(target, shapes=()), options)
            ways[model] = tuple(scaled(each, *factors.get(model, (1.0, 1.0))) for each in own)
            rewrites[str(model)] = list(dict.fromkeys(fixed.rewrites))
    changed = [replace(job, options=ways.get(wish.model, job.options)) for job, wish in zip(jobs, wishes, strict=True)]
    return rewrites, changed


def _commands(networks: Sequence[Assigned], wishes: Sequence[Wish], target: Target, system: str) -> list[str]:
    """The lines that cut, build and deploy the engines of a schedule, each once; they can be pasted as they are."""
    words = ["--board", target.board.id, "--jetpack", target.release.name, "--precision", target.precision]
    words += ["--batch", str(target.batch)] if target.batch else []
    shapes = [word for shape in target.shapes for word in ("--shape", str(shape))]
    alone = ["--standalone"] if target.mode == "standalone" else []
    lines: list[list[str]] = []
    for each, wish in zip(networks, wishes, strict=True):
        model = Path(f"./{wish.model}") if str(wish.model).startswith("-") else wish.model
        files, open_sizes = [str(model)], shapes
        if each.cut:
            front = model.with_name(f"{model.stem}.front.onnx")
            lines.append(["fix", files[0], "--out", str(front), "--allow", "nothing", "--cut", ",".join(each.cut)])
            lines[-1] += [*words, *shapes]
            files, open_sizes = [str(front), str(front.with_name(f"{front.stem}.post.onnx"))], []
        for file, core in zip(files, each.cores, strict=True):
            where = ["--gpu-only"] if core == "GPU" else ["--dla-core", core.split()[1], *alone]
            stem = f"{file.removesuffix('.onnx')}.{core.replace(' ', '').lower()}"
            lines.append(["build", file, "--out", f"{stem}.engine", *where, *words, *open_sizes])
            lines.append(["deploy", f"{stem}.engine", "--for", system, "--out", f"{stem}.{system}"])
    return list(dict.fromkeys(join(["dlaflow", *line]) for line in lines))


def _unread(found: Mapping[Path, Prediction]) -> Iterator[str]:
    """What keeps an engine from being built of a model as it is."""
    from dlaflow.rules.reading import no_engine

    for model, each in found.items():
        yield from (
            f"{model}: {finding.message}. {finding.fix.rstrip('.')}" for finding in no_engine(each.placement.findings)
        )


def _notes(target: Target, found: Found, no_power: bool) -> list[str]:
    notes = []
    if not target.board.dla_cores:
        notes.append(f"{target.board.name} has no DLA: everything runs on the GPU")
    if no_power:
        notes.append(f"nobody measured the power of {target.board.id} in this mode: no energy, loads decide instead")
    if not found.complete:
        notes.append(
            f"{found.assignments:,} assignments are too many: {found.judged:,} were judged by a bounded search, "
            "so a better one may exist"
        )
    if any(each.cut for each in found.best.networks):
        notes.append("the cost of a hand-over rests on one public measurement (1 MB through shared memory)")
    notes.append(
        "run each engine in a process of its own: two DLA cores from one process did not overlap in TensorRT 8.5"
    )
    notes.append("below saturation nobody has published measurements: latencies beside others are modelled")
    return notes


@dataclass(frozen=True, kw_only=True)
class ScheduleArguments(ScheduleOptions, TargetOptions):
    """The arguments of `schedule`."""

    models: Sequence[File] = field(kw_only=False)
    """ONNX files, each with what is asked of it: a.onnx@30 (images a second), a.onnx@20ms (a latency budget)."""


@keywords(ScheduleArguments)
def schedule(given: ScheduleArguments) -> Scheduled:
    """Find which network to run on which core of a board: rates or budgets in, assignments out; no board is needed.

    Raises UsageError and InputError as `check` does, and InputError for a model that can run nowhere.
    """
    return schedule_models([wish_of(str(model)) for model in given.models], given.target(), given)
