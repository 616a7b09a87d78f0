"""fix: a model and a target → a rewritten, proven model and what each rewrite gained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlaflow.api.claims import OutFile
from dlaflow.api.keywords import File, keywords
from dlaflow.errors import InputError, UsageError, unknown_name
from dlaflow.fixed_shape import as_text
from dlaflow.progress import Progress, silent
from dlaflow.targets.options import TargetOptions

if TYPE_CHECKING:
    import onnx

    from dlaflow.api.images import Selection
    from dlaflow.quantize.images import Images
    from dlaflow.report.notebook import ShownFix
    from dlaflow.rewrites.prove import Samples
    from dlaflow.rewrites.records import FixReport
    from dlaflow.targets.target import Target

DEFAULT_SAMPLES = 256
_MOST_STEPS = 16
"""More steps make a network of hundreds of layers, with a compile time that nobody knows."""
_TESTED = 2000
"""Test images that an accuracy is measured on."""


@dataclass(frozen=True, kw_only=True)
class FixOptions:
    """How far to go."""

    allow: Literal["nothing", "exact", "tolerance", "data", "retrain"] = "exact"
    """nothing (no rewrite: for --simplify or --cut alone), exact (the same algebra), tolerance (bounded approximations
    too), data (frozen statistics too), retrain."""
    max_drop: float = 1.0
    """How many points of accuracy frozen statistics may cost."""
    cut: str | Sequence[str] | None = None
    """auto, or names of tensors with commas: cut the decode part off into a second file."""
    output_4d: bool = False
    """Let outputs become (N, C, 1, 1): saves the last switch, which brings them back to (N, C)."""
    input_shape: str | Sequence[int] | None = None
    """The same as --shape for the first input, without name and batch: 3x224x224."""
    simplify: bool = False
    """Fold shape arithmetic, constants and copies away with onnxslim first."""
    dry_run: bool = False
    """List the rewrites with their gains; write and run nothing."""
    unroll: int = 0
    """Write GRU, LSTM and RNN of up to so many steps, at most 16, as a set of layers for each step."""
    prefer: Literal["dla", "speed"] = "dla"
    """dla (as much as possible on the DLA) or speed (only what is estimated to make the model faster)."""
    write_anyway: bool = False
    """Write the file even where it is no better than the model."""

    def __post_init__(self) -> None:
        if self.allow == "nothing" and not (self.simplify or self.cut or self.output_4d):
            raise UsageError("nothing is left to do", expected="--simplify, --cut or --output-4d with --allow nothing")
        if self.cut not in (None, "auto") and not _tensors(self.cut):
            raise UsageError("--cut names no tensor", expected="auto, or names with commas", received=repr(self.cut))
        if self.prefer not in ("dla", "speed"):
            raise unknown_name("preference", self.prefer, ("dla", "speed"))
        if not 0 <= self.unroll <= _MOST_STEPS:
            raise UsageError("--unroll makes no sense", expected=f"0 to {_MOST_STEPS} steps", received=self.unroll)
        if not self.max_drop >= 0:
            raise UsageError("--max-drop makes no sense", expected="0 or more points", received=self.max_drop)


@dataclass(frozen=True)
class RealInputs:
    """What a fix may learn from data: inputs for the proof and for statistics, and a measure of accuracy.

    `accuracy` answers with the percent of right answers of a model, `tested` is on how many images.
    """

    samples: Samples | None = None
    accuracy: Callable[[onnx.ModelProto], float] | None = None
    tested: int = 0


def fix_model(
    model: Path,
    out: Path | None,
    target: Target,
    options: FixOptions,
    inputs: RealInputs | None = None,
    progress: Progress = silent,
) -> FixReport:
    """Rewrite `model` for `target`, prove that it computes the same, and write `out` (None: nothing).

    Where no rewrite makes it better, nothing is written and the report's `out` stays empty, unless `write_anyway` asks.

    Raises UsageError for options that make no sense, InputError for an unusable model, EnvironmentLacksError without
    onnxruntime. A network is retrained by `dlaflow.api.retrain`.
    """
    from dlaflow.api.gain import choice_of_devices, speed_of
    from dlaflow.rewrites.base import Safety
    from dlaflow.rewrites.cut import require_tensors
    from dlaflow.rewrites.fix import fix as run_fix
    from dlaflow.rewrites.fix import write, write_cut
    from dlaflow.rewrites.search import FixConfig

    if options.allow not in (known := ("nothing", "exact", "tolerance", "data")):
        raise unknown_name("safety class", options.allow, known)
    target, inputs = with_input_shape(target, model, options), inputs or RealInputs()
    config = FixConfig(
        allow=Safety(options.allow),
        output_4d=options.output_4d,
        samples=inputs.samples,
        accuracy=inputs.accuracy,
        tested=inputs.tested,
        max_drop=options.max_drop,
        dry_run=options.dry_run,
        simplify=options.simplify,
        unroll=options.unroll,
        prefer_speed=options.prefer == "speed",
    )
    fixed = run_fix(model, target, config, progress)
    speed = speed_of(fixed, target)
    if speed and options.prefer == "speed" and speed.after.value < speed.before.value:
        fixed = replace(fixed, report=replace(fixed.report, improved=False))
    cut = _tensors(options.cut)
    require_tensors(fixed.draft, cut)
    if out is not None and not options.dry_run:
        anyway = options.write_anyway
        if options.cut is None:
            fixed = write(fixed, out, anyway=anyway)
        else:
            fixed = write_cut(fixed, out, cut, target, anyway=anyway)
    return replace(fixed.report, move=choice_of_devices(fixed, target), speed=speed)


def _tensors(cut: str | Sequence[str] | None) -> list[str]:
    """The tensors to cut at; none for `auto`."""
    names = cut.split(",") if isinstance(cut, str) else cut or ()
    return [] if cut == "auto" else [name.strip() for name in names if name.strip()]


def with_input_shape(target: Target, model: Path, options: FixOptions) -> Target:
    """The target with the shape that `input_shape` means: that of the first input behind its batch.

    Raises UsageError beside --shape, and InputError when the model cannot be read.
    """
    if options.input_shape is None:
        return target
    from dlaflow.graph.inputs import behind_batch
    from dlaflow.graph.load import load_model

    if target.shapes:
        raise UsageError(
            "--input-shape is --shape without name and batch", received="both", then="Leave --input-shape out."
        )
    sides = _sides(options.input_shape)
    return replace(target, shapes=(behind_batch(load_model(model).proto.graph, sides, target.batch),))


def _sides(given: str | Sequence[int]) -> tuple[int, ...]:
    sides = given.lower().split("x") if isinstance(given, str) else list(map(str, given))
    if not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise UsageError("--input-shape makes no sense", expected="such as 3x224x224", received=repr(given))
    return tuple(int(side) for side in sides)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Real images: for the proof, for statistics and for retraining."""

    data: File | None = None
    """cifar10, digits, a folder of images (sub-folders are classes), or a .npy/.npz file."""
    data_dir: File | None = None
    """The folder that holds CIFAR-10."""
    samples: int = DEFAULT_SAMPLES
    """How many images to take statistics from and to prove with."""
    resize: str | int | None = None
    """Folder only: length of the shorter side before a centred cut (256), or an exact size (224x224)."""
    mean: str | Sequence[float] | None = None
    """Mean of each channel of pixels in 0..1, such as 0.485,0.456,0.406."""
    std: str | Sequence[float] | None = None
    """Standard deviation of each channel, such as 0.229,0.224,0.225."""
    layout: str = "nchw"
    """The layout of the model's input: nchw or nhwc. Arrays are taken as they are."""


def real_inputs(
    model: Path, target: Target, options: FixOptions, source: DataOptions, progress: Progress = silent
) -> RealInputs:
    """Batches of the model's own size from the training split and, where statistics are allowed, the accuracy on test
    images.

    Raises UsageError where images are needed and none are named, InputError for data that cannot be used and for fewer
    images than one batch.
    """
    if source.data is None:
        if options.allow == "data":
            raise UsageError("frozen statistics need images", expected="--data cifar10, a folder or a .npy file")
        return RealInputs()
    if options.dry_run:
        return RealInputs()
    from dlaflow.api.images import ImageOptions, select
    from dlaflow.graph.load import as_model
    from dlaflow.quantize.images import float_batches
    from dlaflow.quantize.model import network_inputs

    target = with_input_shape(target, model, options)
    known = network_inputs(as_model(model, target.shapes).proto)
    if len(known) > 1:
        raise InputError(
            "images feed a model of one input",
            expected="no --data for a model of several",
            received=", ".join(each.name for each in known),
            then="Without --data the proof takes random numbers.",
        )
    batch = batch_of(model, target)
    reading = ImageOptions(
        data_dir=source.data_dir,
        samples=source.samples,
        resize=source.resize,
        mean=source.mean,
        std=source.std,
        layout=source.layout,
    )
    images = select(source.data, reading, known, train=True, progress=progress).images
    for first in float_batches(images.only(slice(1)), 1):
        _refuse_other_sizes(first.shape[1:], known[0].shape)
    if options.allow != "data":
        return inputs_of(images, None, batch)
    test = select(source.data, replace(reading, samples=_TESTED), known, train=False, progress=progress)
    return inputs_of(images, test, batch)


def _refuse_other_sizes(received: tuple[int, ...], expected: tuple[int | None, ...]) -> None:
    """Raise InputError for images that do not have the size of the model's input, both without the batch."""
    fits = len(received) == len(expected)
    if not fits or any(size not in (None, given) for size, given in zip(expected, received, strict=True)):
        axes = " (channels x height x width)" if len(expected) == 3 else ""
        raise InputError(
            "the images do not have the size of the model's input",
            expected=f"{as_text(expected)}{axes}",
            received=as_text(received),
            then="Give images of that size, or the size that they have as --shape where the model leaves it open.",
        )


def batch_of(model: Path, target: Target) -> int:
    """The batch that a model takes for `target`: its own, or where that is open the target's."""
    from dlaflow.graph.inputs import dims_of, fed_inputs
    from dlaflow.graph.load import as_model

    dims = dims_of(fed_inputs(as_model(model, target.shapes).proto.graph)[0]) or (None,)
    return dims[0] or target.batch or 1


def inputs_of(images: Images, test: Selection | None, batch: int) -> RealInputs:
    """`images` in whole batches of the model's own size, and the accuracy on the images of `test`.

    Raises InputError for fewer images than one batch, and for test images without labels.
    """
    from dlaflow.quantize.accuracy import evaluate
    from dlaflow.quantize.images import float_batches
    from dlaflow.rewrites.prove import Samples
    from dlaflow.runtime.ort import OrtRunner

    whole = len(images) // batch * batch
    if not whole:
        raise InputError("there are too few images", expected=f"{batch}, one batch", received=len(images))
    samples = Samples(list(float_batches(images.only(slice(whole)), batch)))
    if test is None:
        return RealInputs(samples)
    pixels, labels = test.images, test.known_labels
    return RealInputs(samples, lambda proto: 100 * evaluate(OrtRunner(proto), pixels, labels).top1, len(labels))


@dataclass(frozen=True, kw_only=True)
class FixArguments(FixOptions, TargetOptions):
    """The arguments of `fix`."""

    model: File = field(kw_only=False)
    """The ONNX file."""
    out: OutFile | None = field(default=None, kw_only=False)
    """The ONNX file to write. Default: none is written."""
    samples: Samples | None = None
    """Real inputs for the proof and for statistics."""
    accuracy: Callable[[onnx.ModelProto], float] | None = None
    """What measures the percent of right answers of a model."""
    tested: int = 0
    """How many images `accuracy` looks at."""
    progress: Progress = silent
    """What shows how far the work is."""


@keywords(FixArguments)
def fix(given: FixArguments) -> ShownFix:
    """Rewrite a model so that its backbone stays on the DLA, and prove with onnxruntime that it computes the same.

    Returns a `dlaflow.rewrites.records.FixReport`. Raises UsageError for options that make no sense, InputError for an
    unusable model, EnvironmentLacksError without onnxruntime. A network is retrained by the command alone
    (`dlaflow fix --allow retrain`).
    """
    from dlaflow.report.notebook import ShownFix, show

    inputs = RealInputs(given.samples, given.accuracy, given.tested)
    out = Path(given.out) if given.out is not None else None
    return show(ShownFix, fix_model(Path(given.model), out, given.target(), given, inputs, given.progress))
