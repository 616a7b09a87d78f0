"""The commands as Python functions: typed, with the same names and options, and nothing printed.

    import dlaflow

    placement = dlaflow.check("model.onnx", board="orin-nx-16gb", jetpack="6.2")
    for layer in placement.layers:
        print(layer.name, layer.device.value)

What comes back are dlaflow's own records; in a notebook they show as a picture or a table, and `str()` gives the answer
that the command prints. Mistakes raise `dlaflow.DlaflowError` with the same line as on the terminal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from dlaflow.errors import InputError, UsageError, unknown_name
from dlaflow.files import write_atomic
from dlaflow.fixed_shape import ShapesGiven, fixed_shapes
from dlaflow.progress import Progress, silent
from dlaflow.report.notebook import (
    Comparison,
    Evaluation,
    ShownBuild,
    ShownCalibration,
    ShownEstimate,
    ShownFix,
    ShownPlacement,
    show,
)
from dlaflow.types import Measurement, Placement

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from dlaflow.api_options import BuildOptions, CalibrateOptions, EvaluateOptions, File, FixOptions, On
    from dlaflow.build.config import BuildConfig
    from dlaflow.build.engine import How, Request
    from dlaflow.build.measuring import Measuring
    from dlaflow.cli.batches import Source
    from dlaflow.report.records import RunRecord
    from dlaflow.targets.target import Target

_Record = TypeVar("_Record")
_TARGET = ("board", "jetpack", "tensorrt", "precision", "batch", "mode", "shape")


def check(model: File, **on: Unpack[On]) -> ShownPlacement:
    """Predict what of an ONNX model runs on the DLA, why not, and what to change; no board is needed.

    Returns a `dlaflow.types.Placement`. Raises UsageError for unknown names and InputError for an unusable file.
    """
    from dlaflow.graph.load import load_model
    from dlaflow.placement.check import check_model
    from dlaflow.rewrites.matching import with_rewrites

    target, loaded = _target(on), load_model(Path(model))
    return show(ShownPlacement, with_rewrites(check_model(loaded, target), loaded, target))


def fix(
    model: File, out: File | None = None, *, progress: Progress = silent, **options: Unpack[FixOptions]
) -> ShownFix:
    """Rewrite a model so that its backbone stays on the DLA, and prove with onnxruntime that it computes the same.

    Without `out` nothing is written. Returns a `dlaflow.rewrites.records.FixReport`. Raises UsageError for options that
    make no sense, InputError for an unusable model, EnvironmentLacksError without onnxruntime. A network is retrained
    by the command alone (`dlaflow fix --allow retrain`).
    """
    from dlaflow.cli.fix import with_input_shape
    from dlaflow.rewrites.base import Safety
    from dlaflow.rewrites.config import FixConfig
    from dlaflow.rewrites.fix import fix as run_fix
    from dlaflow.rewrites.fix import write, write_cut

    names = [field.name for field in dataclasses.fields(FixConfig)]
    target = _target(options, allowed=(*names, "cut", "input_shape"))
    if (sides := options.get("input_shape")) is not None:
        target = with_input_shape(target, Path(model), tuple(sides))
    allow = options.get("allow", "exact")
    if allow not in ("exact", "tolerance", "data"):
        raise unknown_name("safety class", allow, ("exact", "tolerance", "data"))
    fixed = run_fix(Path(model), target, replace(_take(FixConfig, options), allow=Safety(allow)), progress)
    cut = options.get("cut")
    if out is not None and not options.get("dry_run"):
        if cut is None:
            fixed = write(fixed, Path(out))
        else:
            tensors = [] if cut == "auto" else [cut] if isinstance(cut, str) else list(cut)
            fixed = write_cut(fixed, Path(out), tensors, target)
    return show(ShownFix, fixed.report)


def calibrate(
    model: File, data: File, *, progress: Progress = silent, **options: Unpack[CalibrateOptions]
) -> ShownCalibration:
    """Find INT8 scales for every tensor from a few hundred images.

    `data` is cifar10, digits, a folder of images, or a .npy or .npz file. Files are written for `cache` and `qdq` only.
    Returns a `dlaflow.quantize.calibration.Calibration`. Raises UsageError and InputError for wrong options and data,
    EnvironmentLacksError without onnxruntime.
    """
    from dlaflow.cli.batches import select
    from dlaflow.graph.load import as_model
    from dlaflow.quantize.cache import header_for, write_cache
    from dlaflow.quantize.calibrate import calibrate as run_calibration
    from dlaflow.quantize.calibration import CalibrationConfig, sidecar_of, write_calibration
    from dlaflow.quantize.coverage import cover
    from dlaflow.quantize.images import in_batches
    from dlaflow.quantize.model import input_shape
    from dlaflow.quantize.qdq import write_qdq

    source = _source(data, options, ("cache", "qdq", "method", "percentile", "tensorrt", "shape"))
    shapes = fixed_shapes(options.get("shape", ()))
    tensorrt, path = options.get("tensorrt") or "8.5.2", Path(model)
    header_for(tensorrt)
    chosen = select(source, input_shape(as_model(path, shapes).proto), train=True, default=512, progress=progress)
    method, kept = options.get("method", "entropy"), options.get("percentile", 99.99)
    how = CalibrationConfig(method, kept, len(chosen.images), shapes=shapes)
    found = run_calibration(path, lambda: in_batches(chosen.images, source.batch), how, progress)
    cache, qdq = options.get("cache"), options.get("qdq")
    if cache is not None:
        covered = cover(path, found, tensorrt, shapes)
        missing = tuple(f"no scale for {name!r}: its layer rises to FP16" for name in covered.missing)
        found = replace(found, warnings=(*found.warnings, *missing))
        write_cache(covered.scales, tensorrt, Path(cache))
        write_calibration(found, sidecar_of(Path(cache)))
    if qdq is not None:
        write_qdq(path, found, Path(qdq))
    return show(ShownCalibration, found)


def evaluate(*models: File, data: File, progress: Progress = silent, **options: Unpack[EvaluateOptions]) -> Evaluation:
    """Measure top-1 on test images with its 95% interval, and the agreement with a reference model.

    `data` as for `calibrate`, with labels. Runs on onnxruntime, computed as the DLA would as closely as that can be
    done. Raises UsageError and InputError for wrong options and data, EnvironmentLacksError without onnxruntime.
    """
    from dlaflow.cli.batches import select
    from dlaflow.quantize.accuracy import evaluate as run_evaluation
    from dlaflow.runtime.ort import OrtRunner

    if not models:
        raise UsageError("no model to evaluate", expected="at least one ONNX file", received="none")
    source = _source(data, options, ("reference", "shape"))
    shapes = fixed_shapes(options.get("shape", ()))
    paths = [Path(model) for model in models]
    given = options.get("reference")
    reference = Path(given) if given is not None else paths[0] if len(paths) > 1 else None
    wanted = list(dict.fromkeys([*paths, *([reference] if reference else [])]))
    chosen = select(source, OrtRunner(wanted[0], shapes=shapes).shape, train=False, default=None, progress=progress)
    if chosen.labels is None:
        raise InputError("the images have no labels", expected="one sub-folder a class, or a .npz with labels")
    found = {
        path: run_evaluation(OrtRunner(path, shapes=shapes), chosen.images, chosen.labels, source.batch, progress)
        for path in wanted
    }
    against = found[reference] if reference else None
    detail = f"onnxruntime CPU; {chosen.description}"
    rows: list[Measurement] = []
    for path in paths:
        rows += found[path].measurements(path.stem, against, detail)
    return Evaluation(chosen.description, rows)


def estimate(model: File, *, power_mode: str | None = None, **on: Unpack[On]) -> ShownEstimate:
    """Estimate latency, throughput and energy before there is a board: 80% intervals, and `unknown` without data.

    `power_mode` is such as MAXN, 30W or 15W. Returns a `dlaflow.estimate.answer.Estimate`. Raises UsageError and
    InputError as `check` does.
    """
    from dlaflow.estimate.latency import estimate as run_estimate
    from dlaflow.graph.load import load_model
    from dlaflow.placement.check import check_network, network_of
    from dlaflow.rewrites.gain import with_gain
    from dlaflow.rewrites.matching import with_rewrites

    target = _target(on)
    loaded = load_model(Path(model))
    network = network_of(loaded, target)
    placement = with_rewrites(check_network(loaded, network, target), loaded, target)
    found = run_estimate(network, placement, target, power_mode)
    return show(ShownEstimate, with_gain(found, placement, loaded, target, power_mode))


def build(model: File, out: File, *, progress: Progress = silent, **options: Unpack[BuildOptions]) -> ShownBuild:
    """Build a TensorRT engine, on a board (trtexec, python) or for RTX GPUs on any computer (rtx).

    Returns a `dlaflow.build.engine.BuildResult`. Raises UsageError for what the release cannot do, InputError or
    EnvironmentLacksError with the cause when the build fails.
    """
    from dlaflow.build.engine import build_engine

    request, how = _building(Path(model), Path(out), options)
    return show(ShownBuild, build_engine(request, how, progress))


def build_command(model: File, out: File, **options: Unpack[BuildOptions]) -> str:
    """The trtexec line that builds the engine on a board: `dlaflow build --print-command`.

    Raises UsageError for what the release cannot do.
    """
    from dlaflow.build.trtexec_arguments import build_command as command

    if options.get("via", "trtexec") != "trtexec":
        raise UsageError("only trtexec has a command line", received=f"via={options.get('via')!r}")
    request, how = _building(Path(model), Path(out), options)
    return command(str(model), str(out), request.config, request.built_for.tensorrt, how.trtexec.measuring)


def compare(
    *runs: File | Placement | RunRecord,
    fail_on: Iterable[str] = (),
    html: File | None = None,
    markdown: File | None = None,
    svg: File | None = None,
    json: File | None = None,
) -> Comparison:
    """Put runs side by side; `fail_on` (switches, loadables, accuracy=0.5, slower=5%) fills `regressions`.

    A run is a folder of `dlaflow run`, a file of `dlaflow check --json`, or what `check` returned.
    Raises UsageError and InputError.
    """
    from dlaflow.report.compare import merge, parse_limit, regressions
    from dlaflow.report.html import render
    from dlaflow.report.json import run_json
    from dlaflow.report.strip import strips_svg
    from dlaflow.report.text import run_markdown

    limits = [parse_limit(text) for text in ([fail_on] if isinstance(fail_on, str) else fail_on)]
    if not runs or (limits and len(runs) < 2):
        raise UsageError("nothing to compare", expected="two runs", received=len(runs))
    records = [_run_of(run) for run in runs]
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    merged = merge(records, now) if len(records) > 1 else records[0]
    worse = regressions(records[0], records[-1], limits) if limits else None
    if html is not None:
        write_atomic(html, render(merged))
    if markdown is not None:
        write_atomic(markdown, run_markdown(merged, worse))
    if svg is not None:
        write_atomic(svg, strips_svg(merged))
    if json is not None:
        write_atomic(json, run_json(merged))
    return Comparison(merged, worse or [])


def _target(options: object, allowed: Collection[str] = ()) -> Target:
    """The target that the options name.

    Raises UsageError for an option that is neither of a target nor in `allowed`.
    """
    from dlaflow.cli.target_options import TargetOptions

    given = dict(_options(options, (*_TARGET, *allowed)))
    given["shape"] = tuple(map(str, fixed_shapes(cast("ShapesGiven", given.get("shape") or ()))))
    return _take(TargetOptions, given).target()


def _options(options: object, allowed: Iterable[str]) -> Mapping[str, object]:
    given, known = cast("Mapping[str, object]", options), tuple(allowed)
    for name in given:
        if name not in known:
            raise unknown_name("option", name, known)
    return given


def _take(record: type[_Record], options: object) -> _Record:
    """A configuration from those options that it has a field for."""
    given = cast("Mapping[str, object]", options)
    names = [field.name for field in dataclasses.fields(record) if field.name in given]  # type: ignore[arg-type]
    return record(**{name: given[name] for name in names})


def _source(data: File, options: object, allowed: Collection[str]) -> Source:
    """Where images come from, in the words of the commands."""
    from dlaflow.cli.batches import Source

    names = [field.name for field in dataclasses.fields(Source) if field.name != "data"]
    given = {"data": str(data), **_options(options, (*names, *allowed))}
    for name in ("mean", "std"):
        if isinstance(numbers := given.get(name), (tuple, list)):
            given[name] = ",".join(map(str, numbers))
    if isinstance(given.get("resize"), int):
        given["resize"] = str(given["resize"])
    if given.get("data_dir") is not None:
        given["data_dir"] = Path(str(given["data_dir"]))
    return _take(Source, given)


def _building(model: Path, out: Path, options: BuildOptions) -> tuple[Request, How]:
    from dlaflow.api_options import BuildOptions
    from dlaflow.build.engine import How, Request
    from dlaflow.build.manifest import BuiltFor
    from dlaflow.build.trtexec import TrtexecOptions
    from dlaflow.cli.build_options import Numbers, Placing, Resources, configure

    via = options.get("via", "trtexec")
    if via not in ("trtexec", "python", "rtx"):
        raise unknown_name("way to build", via, ("trtexec", "python", "rtx"))
    target, placing = _target(options, BuildOptions.__annotations__), _take(Placing, options)
    if placing.standalone:
        target = replace(target, mode="standalone")
    if via == "rtx":
        target, placing = replace(target, precision="fp16", mode="hybrid"), replace(placing, gpu_only=True)
    config = configure(model, target, placing, _take(Numbers, options), _take(Resources, options), calibrate=False)
    if via == "rtx":
        gpus = tuple(filter(None, options.get("gpu", "").split(",")))
        typed = replace(config, precision="model")
        return Request(model, out, typed, BuiltFor("tensorrt_rtx", "")), How("rtx", gpus=gpus)
    tensorrt = target.release.tensorrt
    trtexec, timeout = options.get("trtexec"), options.get("timeout")
    measuring = _measuring(out, tensorrt, config, build_only=options.get("build_only", False))
    built_for = BuiltFor("tensorrt", tensorrt, target.board.id, target.release.name)
    how = How(via, TrtexecOptions(str(trtexec) if trtexec else None, timeout, measuring))
    return Request(model, out, config, built_for), how


def _measuring(out: Path, tensorrt: str, config: BuildConfig, *, build_only: bool) -> Measuring:
    from dlaflow.build.measuring import BUILD_ONLY, measuring_for

    if build_only or config.standalone:
        return BUILD_ONLY
    return measuring_for(tensorrt, str(out.with_suffix(".json") if out.suffix else f"{out}.profile.json"))


def _run_of(run: File | Placement | RunRecord) -> RunRecord:
    from dlaflow.report.compare import read_any_run
    from dlaflow.report.records import RunRecord, Variant

    if isinstance(run, RunRecord):
        return run
    if isinstance(run, Placement):
        name = Path(run.model.path).stem
        # The plain record, so that a run compares equal to the same run read back from its file.
        return RunRecord(name, "", variants=[Variant(name, placement=show(Placement, run))])
    return read_any_run(Path(run))
