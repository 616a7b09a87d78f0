"""evaluate: models and labelled images → top-1 with its interval, agreement and images a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.api.images import ImageOptions, Selection, select
from dlaflow.api.keywords import File
from dlaflow.errors import EnvironmentLacksError, UsageError
from dlaflow.fixed_shape import FixedShape, ShapesGiven, fixed_shapes
from dlaflow.graph.load import as_model
from dlaflow.progress import Progress, silent
from dlaflow.quantize.accuracy import Accuracy
from dlaflow.quantize.accuracy import evaluate as run_evaluation
from dlaflow.quantize.agreement import Compared, compare, forms_of
from dlaflow.runtime.tensorrt import is_engine, open_runner
from dlaflow.types import Measurement

if TYPE_CHECKING:
    from dlaflow.report.notebook import Evaluation
    from dlaflow.runtime.ort import OrtRunner
    from dlaflow.runtime.tensorrt import TensorRTRunner


@dataclass(frozen=True, slots=True)
class EvaluatedModels:
    """The accuracy of each model in order, what agreement is measured against (None: nothing), and in words the images.

    Without labels `accuracies` is empty and `agreements` holds what each model's outputs have in common with the
    reference's. `measurements` are the numbers of all models.
    """

    accuracies: dict[Path, Accuracy]
    reference: Accuracy | None
    images: str
    measurements: list[Measurement]
    agreements: dict[Path, Compared] = field(default_factory=dict)


def evaluate_models(
    models: Sequence[Path],
    data: File | Sequence[File],
    reading: ImageOptions,
    shapes: Sequence[FixedShape] = (),
    reference: Path | None = None,
    progress: Progress = silent,
) -> EvaluatedModels:
    """Run ONNX models and engines on the same test images.

    Agreement is measured against `reference`, by default the first model where there are several; images without labels
    give nothing else. Raises UsageError without a model or another to compare, InputError for images that cannot be
    used and for one model alone without labels, EnvironmentLacksError where nothing can run a model.
    """
    if not models:
        raise UsageError("no model to evaluate", expected="at least one ONNX file", received="none")
    chosen = select(data, reading, open_model(models[0], shapes).inputs, train=False, progress=progress)
    against = reference or (models[0] if len(models) > 1 else None)
    if chosen.labels is None and against is not None:
        others = [model for model in models if model != against]
        if not others:
            raise UsageError("a model is compared with itself", expected="another model", received=str(against))
        return agreements(against, others, chosen, reading.batch, shapes, progress)
    found = accuracies(
        dict.fromkeys([*([against] if against else []), *models]), chosen, reading.batch, shapes, progress
    )
    compared = found[against] if against else None
    rows: list[Measurement] = []
    for path in models:
        rows += found[path].measurements(path.stem, compared, f"{_place(path)}; {chosen.description}")
    return EvaluatedModels({path: found[path] for path in models}, compared, chosen.description, rows)


def agreements(
    reference: Path,
    models: Sequence[Path],
    chosen: Selection,
    batch: int,
    shapes: Sequence[FixedShape],
    progress: Progress,
) -> EvaluatedModels:
    """The outputs of each model beside those of the reference, on images that need no labels.

    Raises EnvironmentLacksError where nothing can run a model.
    """
    forms = {} if is_engine(reference) else forms_of(as_model(reference).proto)
    runners = [open_model(path, shapes) for path in models]
    found = compare(open_model(reference, shapes), runners, chosen.images, forms, batch, progress)
    rows: list[Measurement] = []
    for path, one in zip(models, found, strict=True):
        detail = f"against {reference.name}; {_place(path)}; {chosen.description}"
        rows += [row for output in one.outputs for row in output.measurements(path.stem, detail)]
    return EvaluatedModels({}, None, chosen.description, rows, dict(zip(models, found, strict=True)))


def _place(path: Path) -> str:
    return "TensorRT" if is_engine(path) else "onnxruntime CPU"


def accuracies(
    models: Iterable[Path], chosen: Selection, batch: int, shapes: Sequence[FixedShape], progress: Progress = silent
) -> dict[Path, Accuracy]:
    """The accuracy of each model on images that are already chosen, `batch` of them at once.

    Raises InputError for images without labels, EnvironmentLacksError where nothing can run a model.
    """
    labels = chosen.known_labels
    return {path: run_evaluation(open_model(path, shapes), chosen.images, labels, batch, progress) for path in models}


def open_model(path: Path, shapes: Sequence[FixedShape] = ()) -> OrtRunner | TensorRTRunner:
    """What runs an ONNX model or an engine.

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


def evaluate(
    *models: File,
    data: File | Sequence[File],
    reference: File | None = None,
    shape: ShapesGiven = (),
    data_dir: File | None = None,
    samples: int | None = None,
    batch: int = 32,
    resize: str | int | None = None,
    mean: str | Sequence[float] | None = None,
    std: str | Sequence[float] | None = None,
    layout: str | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Measure top-1 on test images with its 95% interval, and the agreement with a reference model.

    `data` as for `calibrate`; without labels each model's outputs are compared with the reference's, and nothing else
    is measured. The other options mean what they do there. `reference` is the model that agreement is measured against,
    by default the first one where there are several. ONNX models run on onnxruntime, computed as the DLA would as
    closely as that can be done, engines on their own TensorRT. Raises UsageError and InputError for wrong options and
    data, EnvironmentLacksError where nothing can run a model.
    """
    from dlaflow.report.notebook import Evaluation

    reading = ImageOptions(
        data_dir=data_dir, samples=samples, batch=batch, resize=resize, mean=mean, std=std, layout=layout
    )
    paths, against = [Path(model) for model in models], Path(reference) if reference is not None else None
    found = evaluate_models(paths, data, reading, fixed_shapes(shape), against, progress)
    return Evaluation(found.images, found.measurements)
