"""What each step does: a call into the package that does it, and its result in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dlaflow.errors import DlaflowError, InputError
from dlaflow.files import write_atomic
from dlaflow.fixed_shape import FixedShape
from dlaflow.progress import Progress
from dlaflow.recipe.data import RunData
from dlaflow.recipe.files import Files
from dlaflow.recipe.fingerprint import fingerprint
from dlaflow.recipe.schema import CalibrateSection, EvaluateSection, ExportSection, SensitivitySection, TrainSection
from dlaflow.report.json import measurements_json, placement_json, read_placement
from dlaflow.report.units import count, percent
from dlaflow.types import Measurement

if TYPE_CHECKING:
    from dlaflow.api.fix import FixOptions
    from dlaflow.api.images import Selection
    from dlaflow.build.engine import Request
    from dlaflow.targets.target import Target
    from dlaflow.zoo.distillation import DistillationConfig
    from dlaflow.zoo.plan import TrainConfig

_BATCH = 64
TRAINING_KEY = "training.key"
"""Beside the weights while they are trained: the code that the checkpoint is of."""


def train(model: str, section: TrainSection, data: RunData, out: Path, progress: Progress) -> str:
    """Train; an interrupted training of the same plan goes on from its checkpoint."""
    from dlaflow.zoo.plan import TrainConfig
    from dlaflow.zoo.training import train as run_training

    dataset = data.dataset
    config = TrainConfig(model, out, data=dataset.name, resume=True, **msgspec.structs.asdict(section))
    key = out.with_name(TRAINING_KEY)
    _clear_for_training(config, data, key)
    card = run_training(config, progress, dataset).sidecar
    key.unlink(missing_ok=True)
    return f"top-1 {percent(card.test_top1)} on {dataset.name}, {count(card.epochs, 'epoch')}"


def _clear_for_training(config: TrainConfig, data: RunData, key: Path) -> None:
    """Leave only a checkpoint that this very training wrote: of the same plan, by the same code.

    Finished weights go too: the step is being done because they are stale, and `resume` would take them for its result.
    """
    from dlaflow.zoo.checkpoint import checkpoint_path, load_checkpoint
    from dlaflow.zoo.plan import plan
    from dlaflow.zoo.weights import sidecar_path

    code = fingerprint({}, {}, ("torch",))
    checkpoint = checkpoint_path(config.out)
    if not key.is_file() or key.read_text() != code:
        checkpoint.unlink(missing_ok=True)
    try:
        load_checkpoint(config.out, plan(config, data.dataset))
    except DlaflowError:
        checkpoint.unlink(missing_ok=True)
    for stale in (sidecar_path(config.out), config.out):
        stale.unlink(missing_ok=True)
    write_atomic(key, code)


def export(model: str, section: ExportSection, target: Target, files: Files, progress: Progress) -> str:
    """Export the trained weights to ONNX and compare with torch."""
    from dlaflow.zoo.export import ExportConfig
    from dlaflow.zoo.export import export as run_export

    with progress(f"Exporting {model}", None):
        result = run_export(
            ExportConfig(
                model=model,
                weights=files.weights,
                out=files.model,
                opset=None if section.opset == "auto" else section.opset,
                batch=None if section.batch == "dynamic" else section.batch,
                simplify=section.simplify,
                max_opset=target.release.max_opset,
            )
        )
    return f"opset {result.opset}, {count(result.nodes, 'node')}, within {result.max_difference:.1e} of torch"


def qat(
    config: DistillationConfig,
    batch: int | None,
    targets: tuple[Target, ...],
    data: RunData,
    files: Files,
    progress: Progress,
) -> str:
    """Fine-tune with INT8; write the Q/DQ model, and for releases before TensorRT 11 the model without it and a cache.

    Whatever the cache lacks is announced, and the share on the DLA told for the `targets` behind the first, each with
    the file that it reads.
    """
    from dlaflow.api.cache import FromQdqOptions, from_qdq
    from dlaflow.api.check import predict
    from dlaflow.quantize.cache import read_cache
    from dlaflow.quantize.lint import lint_for_model
    from dlaflow.targets.features import has
    from dlaflow.zoo.qat import export_quantised, train_quantised

    found = train_quantised(config, progress, data.dataset)
    write_atomic(files.int8, export_quantised(found.module, config.model, batch, (3, 32, 32)))
    reads_cache = [has("implicit_int8", target.version) for target in targets]
    given = FromQdqOptions(cache=files.cache, plain=files.model, guess=True)
    if reads_cache[0]:
        given = replace(given, tensorrt=targets[0].release.tensorrt)
    scales = from_qdq(files.int8, given, progress).scales
    for problem in lint_for_model(read_cache(files.cache), files.cache, files.model):
        data.announce(f"{files.folder.name}: {problem.kind} {problem.tensor}: {problem.message}")
    told = [f"{found.in_words(config.epochs)}; {count(scales, 'scale')}"]
    for target, plain in list(zip(targets, reads_cache, strict=True))[1:]:
        share = predict(files.model if plain else files.int8, target).placement.summary.dla_mac_share
        told.append(f"{percent(share)} of the MACs on the DLA of {target.release.name}")
    return "; ".join(told)


def rewrite(source: Path, target: Target, out: Path, progress: Progress) -> str:
    """Replace each GlobalAveragePool by an AveragePool."""
    from dlaflow.rewrites.reductions import replace_global_average_pool

    replaced = replace_global_average_pool(source, out, target)
    return f"{count(replaced, 'GlobalAveragePool')} became AveragePool"


def fix(
    options: FixOptions,
    images: int,
    data: RunData | None,
    target: Target,
    source: Path,
    files: Files,
    progress: Progress,
) -> str:
    """Rewrite and prove the model at `source` as `dlaflow fix` does; its report stands beside the model.

    `images` training images are for the proof and for statistics; without `data` the proof takes random numbers.
    """
    from dlaflow.api.fix import batch_of, fix_model, inputs_of
    from dlaflow.estimate.text import speed_text
    from dlaflow.report.fix_text import fix_json

    inputs = None
    if data is not None:
        test = data.test(source, None)
        inputs = inputs_of(
            data.training(source, images).images, test if test.labels is not None else None, batch_of(source, target)
        )
    report = fix_model(source, files.model, target, options, inputs, progress)
    write_atomic(files.fix, fix_json(report))
    applied = ", ".join(f"{each.rewrite} x{len(each.sites)}" for each in report.applied) or "no rewrite helps"
    now = f"{count(report.after.loadables, 'loadable')}, {count(report.after.switches, 'switch')}"
    slower = f". {speed_text(report.speed)}" if report.speed and report.speed.slower else ""
    return f"{applied}: {now} (before {report.before.loadables} and {report.before.switches}){slower}"


def check(target: Target, files: Files, progress: Progress, *, to_build: bool = False) -> str:
    """Predict the placement. Raises InputError for a model `to_build` that the release refuses or misreads."""
    from dlaflow.api.check import predict
    from dlaflow.rules.reading import no_engine

    with progress(f"Checking {files.folder.name}", None):
        placement = predict(files.model, target).placement
    write_atomic(files.placement, placement_json(placement))
    summary = placement.summary
    share = percent(summary.dla_mac_share)
    refused = no_engine(placement.findings)
    if to_build and refused:
        raise InputError(f"no engine comes out of {files.model}: {refused[0].message}", then=refused[0].fix)
    unread = "".join(f"; {finding.message}" for finding in refused)
    placed = f"{count(summary.loadables, 'loadable')}, {count(summary.switches, 'switch')}"
    return f"{placed}, {share} of the MACs on the DLA{unread}"


def estimate(power_mode: str | None, target: Target, files: Files, progress: Progress) -> str:
    """Estimate the latency of the placement on the board."""
    from dlaflow.api.check import Prediction
    from dlaflow.api.estimate import estimate_of
    from dlaflow.graph.load import load_model
    from dlaflow.placement.check import network_placed

    with progress(f"Estimating {files.folder.name}", None):
        placement, model = read_placement(files.placement), load_model(files.model)
        found = Prediction(model, network_placed(model, placement), placement)
        answer = estimate_of(found, target, power_mode, fixed=True)
    write_atomic(files.estimate, measurements_json(answer.measurements()))
    if answer.latency is None:
        return f"no estimate: {'; '.join(answer.unknown)}"
    low, high = answer.latency.low, answer.latency.high
    return f"{answer.latency.value:.2f} ms for a batch of {answer.batch}, probably {low:.2f} to {high:.2f}"


def calibrate(section: CalibrateSection, target: Target, data: RunData, files: Files, progress: Progress) -> str:
    """Calibrate INT8, write the cache of the target's TensorRT and the Q/DQ model, and announce the warnings."""
    from dlaflow.api.calibrate import CalibrateOptions, calibrate_on

    options = CalibrateOptions(
        cache=files.cache,
        qdq=files.int8,
        method=section.method,
        tensorrt=target.release.tensorrt,
        shape=[str(shape) for shape in target.shapes],
    )
    chosen = data.training(files.model, section.samples)
    calibration = calibrate_on(files.model, chosen, section.batch_size, options, progress).calibration
    for warning in calibration.warnings:
        data.announce(f"{files.folder.name}: {warning}")
    return f"{count(len(calibration.tensors), 'scale')} from {count(calibration.images, 'image')}"


def sensitivity(
    section: SensitivitySection,
    skip: int,
    shapes: tuple[FixedShape, ...],
    data: RunData,
    files: Files,
    progress: Progress,
) -> str:
    """Rank the layers by the damage that INT8 does in each alone, on images that the calibration did not see."""
    from dlaflow.quantize.calibration import read_calibration, sidecar_of
    from dlaflow.quantize.sensitivity import Sample, rank

    chosen = data.training(files.model, section.images, skip)
    sample = Sample(chosen.images, chosen.labels, _BATCH, shapes)
    found = rank(files.model, read_calibration(sidecar_of(files.cache)), sample, section.max_drop, progress)
    rows = [
        Measurement(
            "sensitivity",
            layer.node,
            layer.error,
            "relative squared error",
            found.images,
            detail=f"{percent(layer.agreement)} unchanged" + ("; keep in FP16" if layer.node in found.keep else ""),
        )
        for layer in found.layers
    ]
    write_atomic(files.sensitivity, measurements_json(rows))
    kept = f"keep {count(len(found.keep), 'layer')} in FP16" if found.keep else "no layer needs FP16"
    return f"{kept} to lose at most {section.max_drop:g} points (all in INT8 lose {found.drop_all:.1f})"


def fp16(files: Files, progress: Progress) -> str:
    """Write the FP16 model."""
    from dlaflow.quantize.fp16 import write_fp16

    write_fp16(files.model, files.fp16)
    return "weights and activations in FP16"


def evaluate(
    section: EvaluateSection,
    shapes: tuple[FixedShape, ...],
    data: RunData,
    models: Mapping[str, Path],
    out: Path,
    progress: Progress,
) -> str:
    """Measure each precision on the test images, and how far it agrees with fp32 where that is among them.

    Without labels only the outputs can be compared, with those of the first precision.
    """
    from dlaflow.api.evaluate import accuracies

    first = next(iter(models.values()))
    chosen = data.test(first, section.limit)
    if chosen.labels is None:
        return _compare(section, shapes, (chosen, data.name), models, out, progress)
    found = accuracies(models.values(), chosen, section.batch_size, shapes, progress)
    reference = found[models["fp32"]] if "fp32" in models else None
    rows, summary = [], []
    for precision, model in models.items():
        against = reference if precision != "fp32" else None
        rows += found[model].measurements(precision, against, detail=data.name)
        summary.append(f"{precision} {percent(found[model].top1)}")
    write_atomic(out, measurements_json(rows))
    return ", ".join(summary)


def _compare(
    section: EvaluateSection,
    shapes: tuple[FixedShape, ...],
    images: tuple[Selection, str],
    models: Mapping[str, Path],
    out: Path,
    progress: Progress,
) -> str:
    """The outputs of each precision beside those of the first; `images` with what they are called."""
    from dlaflow.api.evaluate import Against, agreements

    (first, reference), *others = models.items()
    rows, summary = [], []
    if others:
        paths = [path for _, path in others]
        found = agreements(Against(reference), paths, images[0], section.batch_size, shapes, progress).agreements
        for precision, path in others:
            outputs = found[path].outputs
            for output in outputs:
                rows += output.measurements(precision, f"against {first}; {images[1]}")
            cosine = min(output.cosine.value for output in outputs)
            same = [f"{output.what} {percent(output.same.value)}" for output in outputs if output.same is not None]
            summary.append(f"{precision} against {first}: cosine {cosine:.4f}" + "".join(f", {each}" for each in same))
    write_atomic(out, measurements_json(rows))
    return "; ".join(["no labels", *summary])


def build_line(request: Request, out: Path) -> str:
    """Write the line that builds the engine on a board with trtexec; what speaks against it is told.

    Raises InputError for a model that the release refuses, UsageError for what the release cannot do.
    """
    from dlaflow.api.build import measuring_of, printed_command
    from dlaflow.build.engine import How
    from dlaflow.build.precheck import precheck
    from dlaflow.build.trtexec import TrtexecOptions

    cautions = precheck(request.model, request.config, request.built_for, "trtexec", printed=True)
    only = request.config.standalone
    measuring = measuring_of(request.engine, request.built_for.tensorrt, build_only=only, verbose=False)
    line = printed_command(request, How("trtexec", TrtexecOptions(measuring=measuring)))
    write_atomic(out, f"{line}\n")
    return "; ".join([str(out), *(f"caution: {each.message}" for each in cautions)])
