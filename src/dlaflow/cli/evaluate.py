"""`dlaflow evaluate`: models and images → top-1 with its interval, agreement and images a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

from dlaflow.api.claims import Written
from dlaflow.api.evaluate import Against, EvaluatedModels, evaluate_models
from dlaflow.api.numerics import Difference, IntegerNumerics, evaluate_numerics
from dlaflow.cli import terminal
from dlaflow.cli.options import Shape, Source
from dlaflow.errors import UsageError
from dlaflow.files import together, write_atomic
from dlaflow.fixed_shape import FixedShape, fixed_shapes
from dlaflow.progress import Progress
from dlaflow.quantize.accuracy import Accuracy
from dlaflow.quantize.agreement import Estimate, OutputAgreement
from dlaflow.quantize.feed import npz_of
from dlaflow.report.interval import beside
from dlaflow.report.json import measurements_json
from dlaflow.report.units import percent

_MOST_REASONS = 8


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Evaluating:
    """How to evaluate."""

    reference: Path | None = None
    """The model that agreement is measured against (default: the first one, when there are several)."""
    decode: Path | None = None
    """The decode part that `fix --cut` wrote (post.onnx): the outputs go through it, so that boxes are compared."""
    numerics: Literal["onnxruntime", "dla"] = "onnxruntime"
    """How Q/DQ models are computed: dla takes the DLA's own integers, and tells how many values that changes."""
    outputs: Written | None = None
    """With --numerics dla: also write the outputs to this .npz, by name, to hold those of a board against them."""
    json: Written | None = None
    """Also write the measurements to this file."""
    quiet: terminal.Quiet = False


def evaluate(*models: Path, source: Source, how: Evaluating = Evaluating(), shape: Shape = ()) -> None:
    """Measure top-1 on the test split, with its 95% interval, and the agreement with a reference model.

    On images without labels each output is compared with that of the first model: cosine and relative error of its
    values and, where it holds classes, a mask or boxes, how often both choose the same. That suits any kind of model.

    Q/DQ and FP16 models are computed as the DLA would, as closely as onnxruntime can: values rounded where the file
    says so, exact sums, and FP16 for sigmoid, tanh, LRN and softmax in INT8 models.
    Images a second are those of onnxruntime on this computer and say nothing about a board.

    For example:

        dlaflow evaluate model.onnx --data cifar10

        dlaflow evaluate fp32.onnx fp16.onnx int8.onnx --data images/ --resize 256

        dlaflow evaluate detector.onnx int8.onnx --data unlabelled.npy

        dlaflow evaluate backbone.onnx int8.onnx --decode post.onnx --data images/

        dlaflow evaluate int8.onnx --data cifar10 --numerics dla --outputs expected.npz

    Parameters
    ----------
    models
        ONNX models that take the same images.
    """
    progress, shapes = terminal.progress(quiet=how.quiet), fixed_shapes(shape)
    if how.numerics == "dla":
        _evaluate_integers(models, source, how, shapes, progress)
        return
    if how.outputs is not None:
        raise UsageError("--outputs belongs to --numerics dla", expected="both, or neither", received="--outputs alone")
    found = evaluate_models(models, source.data, source, shapes, Against(how.reference, how.decode), progress)
    if how.json is not None:
        write_atomic(how.json, measurements_json(found.measurements))
    if not how.quiet:
        _print_agreement(found) if found.agreements else _print(found)


def _evaluate_integers(
    models: Sequence[Path], source: Source, how: Evaluating, shapes: Sequence[FixedShape], progress: Progress
) -> None:
    if len(models) != 1 or how.reference is not None or how.decode is not None:
        raise UsageError(
            "--numerics dla takes one model",
            expected="a Q/DQ model, without --reference and --decode",
            received=f"{len(models)} models",
        )
    found = evaluate_numerics(models[0], source.data, source, shapes, how.outputs is not None, progress)
    with together():
        if how.outputs is not None:
            write_atomic(how.outputs, npz_of(found.kept))
        if how.json is not None:
            write_atomic(how.json, measurements_json(found.measurements()))
    if not how.quiet:
        terminal.say(*_numerics_lines(found))


def _print_agreement(found: EvaluatedModels) -> None:
    from rich.table import Table

    table = Table("model", "output", title=f"Beside the reference on {found.images}", title_justify="left")
    every = [each for compared in found.agreements.values() for each in compared.outputs]
    five, overlap = any(each.five for each in every), any(each.overlap for each in every)
    headings = ["cosine", "relative error", "agreement", *["in the best 5"] * five, *["overlap"] * overlap]
    for heading in headings:
        table.add_column(heading, justify="right")
    for model, compared in found.agreements.items():
        for each in compared.outputs:
            apart = f" ({each.apart} of {compared.images} images differ in shape)" if each.apart else ""
            row = [f"{each.cosine.value:.6f}", _percent(each.relative_error), _choices(each)]
            row += [_percent(each.five)] * five + [f"{each.overlap.value:.3f}" if each.overlap else ""] * overlap
            table.add_row(str(model), each.output + apart, *row)
    terminal.console().print(table)


def _choices(each: OutputAgreement) -> str:
    if each.same is None:
        return each.what
    images = f" of {each.same.n} images" if each.same.n < each.images else ""
    return f"{_percent(each.same)} ({each.what}{images})"


def _percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:.2%}{beside(estimate, '{:.1%}', '{:.2%}')}"


def _print(found: EvaluatedModels) -> None:
    from rich.table import Table

    table = Table("model", title=f"Top-1 on {found.images}", title_justify="left")
    for heading in ("top-1", "95% interval", "agreement", "images/s here"):
        table.add_column(heading, justify="right")
    for model, accuracy in found.accuracies.items():
        low, high = accuracy.interval
        table.add_row(
            str(model),
            f"{accuracy.top1:.2%}",
            f"{low:.2%} to {high:.2%}",
            f"{accuracy.agreement(found.reference):.2%}" if found.reference else "",
            f"{accuracy.total / accuracy.seconds:,.0f}",
        )
    terminal.console().print(table)


def _numerics_lines(found: IntegerNumerics) -> list[str]:
    """The outputs, the INT8 tensors, the accuracy of both ways, and what was not computed in integers."""
    lines = [f"In the DLA's integers, beside onnxruntime's Q/DQ, on {found.description}:"]
    lines += [f"  output {_difference(each)}" for each in found.outputs]
    if found.tensors:
        lines.append(f"  {_difference(found.inner)} (first batch, {len(found.tensors)} tensors)")
        worst = max(found.tensors, key=lambda each: each.share)
        if worst.different:
            lines.append(f"  most of all {_difference(worst)}")
    for agreement in found.agreements:
        same = f", the same {agreement.what} for {percent(agreement.same.value)}" if agreement.same else ""
        error = percent(agreement.relative_error.value)
        lines.append(f"  output {agreement.output}: cosine {agreement.cosine.value:.6f}, relative error {error}{same}")
    if found.exact is not None and found.reference is not None:
        lines.append(f"  top-1: {_top1(found.exact)} in integers, {_top1(found.reference)} by onnxruntime")
    layers = found.layers
    counts = (len(layers.integer), "in integers"), (len(layers.table), "by table"), (len(layers.floating), "in floats")
    lines.append("Layers: " + ", ".join(f"{number} {how}" for number, how in counts))
    reasons = Counter(layers.floating.values())
    lines += [f"  {count} x {reason}" for reason, count in reasons.most_common(_MOST_REASONS)]
    if len(reasons) > _MOST_REASONS:
        lines.append(f"  and {len(reasons) - _MOST_REASONS} more reasons (--json holds all)")
    return lines


def _difference(each: Difference) -> str:
    largest = f"by {each.largest:.3g} at most" if each.steps is None else f"by {each.steps} steps at most"
    found = f"{each.tensor}: {percent(each.share)} of {each.values:,} values differ"
    return f"{found}, {largest}" if each.different else found


def _top1(accuracy: Accuracy) -> str:
    low, high = accuracy.interval
    return f"{percent(accuracy.top1)} ({percent(low)} to {percent(high)})"
