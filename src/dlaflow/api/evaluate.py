"""evaluate: models and labelled images → top-1 with its interval, agreement and images a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.api.images import ImageOptions, Selection, select
from dlaflow.api.keywords import File
from dlaflow.errors import EnvironmentLacksError, InputError, UsageError
from dlaflow.fixed_shape import FixedShape, ShapesGiven, fixed_shapes
from dlaflow.graph.load import as_model
from dlaflow.progress import Progress, silent
from dlaflow.quantize.accuracy import Accuracy
from dlaflow.quantize.accuracy import evaluate as run_evaluation
from dlaflow.quantize.agreement import Compared, ManyOutputs, OutputForm, compare, forms_of
from dlaflow.rewrites.box_forms import box_forms
from dlaflow.rewrites.load import load_draft
from dlaflow.runtime.chain import Chain
from dlaflow.runtime.tensorrt import is_engine, open_runner
from dlaflow.types import Measurement

if TYPE_CHECKING:
    from dlaflow.report.notebook import Evaluation
    from dlaflow.runtime.ort import OrtRunner
    from dlaflow.runtime.tensorrt import TensorRTRunner

_BOXES_RANK = 3


@dataclass(frozen=True, slots=True)
class Against:
    """What models are compared with, and where: the `reference` model (None: the first of several), and `decode`.

    That is the ONNX file of a decode part, which the outputs of each model go through first (None: nothing).
    """

    reference: Path | None = None
    decode: Path | None = None


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
    compared_with: Against = Against(),
    progress: Progress = silent,
) -> EvaluatedModels:
    """Run ONNX models and engines on the same test images.

    Images without labels give agreement alone, and so does a decode part. Raises UsageError without a model or another
    to compare, InputError for images that cannot be used, for one model alone without labels and for a decode part that
    does not fit, EnvironmentLacksError where nothing can run a model.
    """
    if not models:
        raise UsageError("no model to evaluate", expected="at least one ONNX file", received="none")
    chosen = select(data, reading, open_model(models[0], shapes).inputs, train=False, progress=progress)
    against = compared_with.reference or (models[0] if len(models) > 1 else None)
    if compared_with.decode is not None and against is None:
        raise UsageError("boxes of one model alone", expected="another model, or --reference", received=str(models[0]))
    if against is not None and (chosen.labels is None or compared_with.decode is not None):
        others = [model for model in models if model != against]
        if not others:
            raise UsageError("a model is compared with itself", expected="another model", received=str(against))
        return agreements(Against(against, compared_with.decode), others, chosen, reading.batch, shapes, progress)
    found = accuracies(
        dict.fromkeys([*([against] if against else []), *models]), chosen, reading.batch, shapes, progress
    )
    compared = found[against] if against else None
    rows: list[Measurement] = []
    for path in models:
        rows += found[path].measurements(path.stem, compared, f"{_place(path)}; {chosen.description}")
    return EvaluatedModels({path: found[path] for path in models}, compared, chosen.description, rows)


def agreements(
    against: Against,
    models: Sequence[Path],
    chosen: Selection,
    batch: int,
    shapes: Sequence[FixedShape],
    progress: Progress,
) -> EvaluatedModels:
    """The outputs of each model beside those of the reference, on images that need no labels.

    Raises EnvironmentLacksError where nothing can run a model.
    """
    reference, decode = against.reference, against.decode
    assert reference is not None
    forms = _forms(decode) if decode is not None else _forms(reference, shapes)
    first, *runners = _opened((reference, *models), shapes, decode)
    found = compare(first, runners, chosen.images, forms, batch, progress)
    rows: list[Measurement] = []
    behind = f"behind {decode.name}; " if decode is not None else ""
    for path, one in zip(models, found, strict=True):
        detail = f"against {reference.name}; {behind}{_place(path)}; {chosen.description}"
        rows += [row for output in one.outputs for row in output.measurements(path.stem, detail)]
    return EvaluatedModels({}, None, chosen.description, rows, dict(zip(models, found, strict=True)))


def _opened(paths: Sequence[Path], shapes: Sequence[FixedShape], decode: Path | None) -> Sequence[ManyOutputs]:
    if decode is None:
        return [open_model(path, shapes) for path in paths]
    chains = [Chain(open_model(path, shapes), decode, str(path)) for path in paths]
    if all(chain.whole for chain in chains):
        raise UsageError(
            f"{decode} decodes nothing", expected="a model without its outputs", received="models that have them"
        )
    return chains


def _forms(path: Path, shapes: Sequence[FixedShape] = ()) -> dict[str, OutputForm]:
    """What a file tells of its outputs, boxes included; nothing for an engine."""
    if is_engine(path):
        return {}
    model = as_model(path)
    forms = forms_of(model.proto)
    if any(len(value.type.tensor_type.shape.dim) == _BOXES_RANK for value in model.proto.graph.output):
        with suppress(InputError):  # sizes that stay open: what computes the boxes is not seen, and none are told
            boxes = box_forms(load_draft(model, None, shapes)[0])
            forms = {name: replace(form, boxes=boxes.get(name)) for name, form in forms.items()}
    return forms


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
    decode: File | None = None,
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
    by default the first one where there are several; `decode` is the decode part of a detector that was cut, whose
    boxes are compared. ONNX models run on onnxruntime, computed as the DLA would as closely as that can be done,
    engines on their own TensorRT. Raises UsageError and InputError for wrong options and data, EnvironmentLacksError
    where nothing can run a model.
    """
    from dlaflow.report.notebook import Evaluation

    reading = ImageOptions(
        data_dir=data_dir, samples=samples, batch=batch, resize=resize, mean=mean, std=std, layout=layout
    )
    against = Against(*(None if each is None else Path(each) for each in (reference, decode)))
    found = evaluate_models([Path(model) for model in models], data, reading, fixed_shapes(shape), against, progress)
    return Evaluation(found.images, found.measurements)
