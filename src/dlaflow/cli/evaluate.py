"""`dlaflow evaluate`: models and images → top-1 with its interval, agreement and images a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dlaflow.cli import terminal
from dlaflow.cli.batches import Selection, Source, select
from dlaflow.cli.target_options import Shape
from dlaflow.errors import EnvironmentLacksError, InputError, UsageError
from dlaflow.files import write_atomic
from dlaflow.fixed_shape import FixedShape, fixed_shapes
from dlaflow.progress import Progress
from dlaflow.quantize.accuracy import Accuracy
from dlaflow.quantize.accuracy import evaluate as run_evaluation
from dlaflow.report.json import measurements_json
from dlaflow.runtime.ort import OrtRunner
from dlaflow.runtime.tensorrt import TensorRTRunner
from dlaflow.runtime.tensorrt_choice import is_engine, open_runner
from dlaflow.types import Measurement


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Evaluating:
    """How to evaluate."""

    reference: Path | None = None
    """The model that agreement is measured against (default: the first one, when there are several)."""
    json: Path | None = None
    """Also write the measurements to this file."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False
    """Print nothing but errors."""


def evaluate(*models: Path, source: Source, how: Evaluating | None = None, shape: Shape = ()) -> None:
    """Measure top-1 on the test split, with its 95% interval, and the agreement with a reference model.

    Q/DQ and FP16 models are computed as the DLA would, as closely as onnxruntime can: values rounded where the file
    says so, exact sums, and FP16 for sigmoid, tanh, LRN and softmax in INT8 models.
    Images a second are those of onnxruntime on this computer and say nothing about a board.

    For example:

        dlaflow evaluate model.onnx --data cifar10

        dlaflow evaluate fp32.onnx fp16.onnx int8.onnx --data images/ --resize 256

    Parameters
    ----------
    models
        ONNX models that take the same images.
    """
    how = how or Evaluating()
    if not models:
        raise UsageError("no model to evaluate", expected="at least one ONNX file", received="none")
    progress, shapes = terminal.progress(quiet=how.quiet), fixed_shapes(shape)
    reference_path = how.reference or (models[0] if len(models) > 1 else None)
    chosen = select(source, _runner(models[0], shapes).shape, train=False, default=None, progress=progress)

    def measured(path: Path) -> Accuracy:
        return _accuracy(_runner(path, shapes), chosen, source.batch, progress)

    reference = measured(reference_path) if reference_path else None
    rows: list[tuple[Path, Accuracy, list[Measurement]]] = []
    for path in models:
        accuracy = reference if reference and path == reference_path else measured(path)
        rows.append(
            (path, accuracy, accuracy.measurements(path.stem, reference, f"{_where(path)}; {chosen.description}"))
        )
    if how.json is not None:
        write_atomic(how.json, measurements_json([item for *_, found in rows for item in found]))
    if not how.quiet:
        _print(rows, reference, chosen.description)


def _accuracy(runner: OrtRunner | TensorRTRunner, chosen: Selection, batch: int, progress: Progress) -> Accuracy:
    if chosen.labels is None:
        raise InputError(
            "the images have no labels",
            expected="one sub-folder a class, or a .npz with `images` and `labels`",
            received=chosen.description,
        )
    return run_evaluation(runner, chosen.images, chosen.labels, batch, progress)


def _runner(path: Path, shapes: Sequence[FixedShape]) -> OrtRunner | TensorRTRunner:
    """The runner for a model or an engine.

    Raises EnvironmentLacksError that points to the board when an engine's TensorRT is not here.
    """
    try:
        return open_runner(path, shapes=shapes)
    except EnvironmentLacksError as error:
        if not is_engine(path):
            raise
        raise EnvironmentLacksError(
            f"{path} is a TensorRT engine, and {error.what}",
            then="Evaluate it on its board: `dlaflow remote USER@HOST evaluate ...`.",
        ) from None


def _where(path: Path) -> str:
    return "TensorRT" if is_engine(path) else "onnxruntime CPU"


def _print(rows: list[tuple[Path, Accuracy, list[Measurement]]], reference: Accuracy | None, description: str) -> None:
    from rich.table import Table

    table = Table("model", title=f"Top-1 on {description}", title_justify="left")
    for heading in ("top-1", "95% interval", "agreement", "images/s here"):
        table.add_column(heading, justify="right")
    for path, accuracy, _ in rows:
        low, high = accuracy.interval
        table.add_row(
            str(path),
            f"{accuracy.top1:.2%}",
            f"{low:.2%} to {high:.2%}",
            f"{accuracy.agreement(reference):.2%}" if reference else "",
            f"{accuracy.total / accuracy.seconds:,.0f}",
        )
    terminal.console().print(table)
