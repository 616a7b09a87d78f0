"""Files of any kind as runs to compare: recipes' folders, files that dlaflow wrote, artefacts of NVIDIA's tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from dlaflow.api.profile import Artefacts, groups_of
from dlaflow.build.manifest import SCHEMA as MANIFEST_SCHEMA
from dlaflow.build.manifest import EngineManifest, manifest_path, read_manifest_file
from dlaflow.errors import InputError
from dlaflow.observed.build import read_layer_info
from dlaflow.parse.detect import Kind, detect
from dlaflow.profile.compare import Side, compare_sides, side_of
from dlaflow.profile.comparison import Comparison
from dlaflow.profile.evidence import Files, option_for
from dlaflow.profile.profile import Profiled, read_profile
from dlaflow.report.json import (
    PLACEMENT_SCHEMA,
    PROFILE_SCHEMA,
    RUN_SCHEMA,
    read_placement,
    read_profiles,
    read_run,
    schema_of,
)
from dlaflow.report.profile_run import run_of_profiles
from dlaflow.report.records import RunRecord, Variant
from dlaflow.types import Measurement

_EXPECTED = "the folder of a `dlaflow run`, a file that dlaflow wrote, or a log, profile or capture"


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A run with a side to compare for each of its variants."""

    run: RunRecord
    sides: list[Side]


def load_runs(paths: Sequence[Path]) -> list[LoadedRun]:
    """Runs of any kind: folders of `dlaflow run`, files that dlaflow wrote, and artefacts of NVIDIA's tools.

    Of artefacts the nth of every kind makes the nth run, unless all of them would be one; a run stands where its first
    file does.

    Raises InputError for what is none of these.
    """
    measured = [path for path in paths if _is_artefact(path)]
    groups = groups_of(measured, Artefacts())
    if len(groups) == 1 and len(paths) == len(measured):
        groups = [group for path in measured for group in groups_of([path], Artefacts())]
    place = {path: at for at, path in reversed(list(enumerate(paths)))}
    found = [(min(place[path] for path in paths_of(group)), _of_files(group)) for group in groups]
    found += [(at, loaded) for at, path in enumerate(paths) if path not in measured for loaded in _load(path)]
    found.sort(key=lambda each: each[0])
    names = Counter(loaded.run.name for _, loaded in found)
    return [_renamed(loaded, paths[at].name) if names[loaded.run.name] > 1 else loaded for at, loaded in found]


def _renamed(loaded: LoadedRun, name: str) -> LoadedRun:
    """A run under its file's whole name, where the stem says too little."""
    old = loaded.run.name
    variants = [replace(each, name=name if each.name == old else each.name) for each in loaded.run.variants]
    sides = [replace(each, name=name if each.name == old else each.name) for each in loaded.sides]
    return LoadedRun(replace(loaded.run, name=name, variants=variants), sides)


def paths_of(files: Files) -> list[Path]:
    """The paths that are given."""
    return [path for each in fields(files) if (path := getattr(files, each.name)) is not None]


def _is_artefact(path: Path) -> bool:
    """Whether a file is something that a profile is made of."""
    try:
        return path.is_file() and bool(option_for(path))
    except InputError:
        return False


def _of_files(files: Files) -> LoadedRun:
    """The artefacts of one run; names without types are compared too, with the doubt about them."""
    profile = read_profile(files)
    if profile.measured is None and files.layer_info is not None:
        profile = replace(profile, measured=read_layer_info(files.layer_info))
    return _of_profile(profile)


def _of_profile(profile: Profiled) -> LoadedRun:
    """A profile as a run; what it says in words is left to the comparison."""
    return LoadedRun(replace(run_of_profiles([profile]), notices=[]), [side_of(profile)])


def _load(path: Path) -> list[LoadedRun]:
    """The runs of a folder or of a file that dlaflow wrote; a profile's file may hold several."""
    file = path / "run.json" if path.is_dir() else path
    if manifest_path(file).is_file():  # the engine itself was named
        file = manifest_path(file)
    if not file.is_file():
        received = "no such file" if file == path else "no run.json"
        raise InputError(f"{path} is no run", expected=_EXPECTED, received=received)
    try:
        schema = schema_of(file)
    except InputError as error:
        if detect(file) is Kind.NSYS_REPORT:
            option_for(file)  # says how to export it
        raise InputError(f"{path} is no run", expected=_EXPECTED, received=error.what) from None
    if schema == RUN_SCHEMA:
        run = read_run(file)
        return [loaded_run(replace(run, name=path.name if path.is_dir() else run.name))]
    if schema == PLACEMENT_SCHEMA:
        placement = read_placement(file)
        name = Path(placement.model.path).stem
        return [loaded_run(RunRecord(file.stem, "", variants=[Variant(name, placement=placement)]))]
    if schema == PROFILE_SCHEMA:
        return [_of_profile(each) for each in read_profiles(file)]
    if schema == MANIFEST_SCHEMA:
        return [_of_manifest(read_manifest_file(file))]
    known = (RUN_SCHEMA, PLACEMENT_SCHEMA, PROFILE_SCHEMA, MANIFEST_SCHEMA)
    raise InputError(f"{path} is no run", expected=" or ".join(known), received=schema)


def loaded_run(run: RunRecord) -> LoadedRun:
    """A record with its sides."""
    return LoadedRun(run, [_side_of_variant(each) for each in run.variants])


def _side_of_variant(variant: Variant) -> Side:
    target = variant.placement.target if variant.placement else None
    settings = _settings(target.tensorrt, target.board, target.precision, target.batch) if target else ()
    return Side(
        variant.name,
        placement=variant.measured or variant.placement,
        measurements=tuple(variant.measurements),
        settings=settings,
    )


def _of_manifest(manifest: EngineManifest) -> LoadedRun:
    """An engine: what it was built from and for, and what the build took."""
    name, built = Path(manifest.engine.path).stem, manifest.built_for
    numbers = [
        Measurement("engine size", "", manifest.bytes / 1e6, "MB", 1),
        Measurement("build time", "", manifest.seconds, "s", 1),
    ]
    model = ("model", f"{manifest.model.path} ({manifest.model.sha256[:12]})")
    settings = (*_settings(built.tensorrt, built.board, manifest.config.precision, None), model)
    run = RunRecord(name, manifest.created, variants=[Variant(name, measurements=numbers)])
    return LoadedRun(run, [Side(name, measurements=tuple(numbers), settings=settings)])


def _settings(tensorrt: str, board: str, precision: str, batch: int | None) -> tuple[tuple[str, str], ...]:
    batches = "" if batch is None else str(batch)
    told = {"TensorRT": tensorrt, "board": board, "precision": precision, "batch": batches}
    return tuple((name, value) for name, value in told.items() if value)


def comparisons_of(runs: Sequence[LoadedRun], merged: RunRecord) -> list[Comparison]:
    """The runs side by side, named as in `merged`: one with one, or each variant with those of its name."""
    names = iter(merged.variants)
    sides = [{side.name: replace(side, name=next(names).name) for side in loaded.sides} for loaded in runs]
    if all(len(each) == 1 for each in sides):
        groups = [[side for each in sides for side in each.values()]]
    else:
        groups = [[each[name] for each in sides if name in each] for name in sides[0]]
    return [compare_sides(group) for group in groups if len(group) > 1]


def with_counts(runs: Sequence[RunRecord], comparisons: Sequence[Comparison]) -> list[RunRecord]:
    """Runs of one variant with the counts that their comparison found, where limits look for them."""
    if not comparisons or any(len(run.variants) != 1 for run in runs):
        return list(runs)
    rows = [row for row in comparisons[0].rows if row.quantity in {"loadables", "switches"}]
    found = []
    for at, run in enumerate(runs):
        counts = [Measurement(row.quantity, "", value, "", 1) for row in rows if (value := row.values[at]) is not None]
        variants = [replace(each, measurements=[*each.measurements, *counts]) for each in run.variants]
        found.append(replace(run, variants=variants))
    return found
