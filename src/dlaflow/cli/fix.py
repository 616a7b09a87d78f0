"""`dlaflow fix`: a model and a target → a rewritten, proven model and what each rewrite gained."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from dlaflow.cli import terminal
from dlaflow.cli.target_options import TargetOptions
from dlaflow.errors import UsageError
from dlaflow.files import write_atomic

if TYPE_CHECKING:
    from dlaflow.rewrites.config import FixConfig
    from dlaflow.rewrites.fix import Fixed
    from dlaflow.targets.target import Target

DEFAULT_SAMPLES = 256


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Fixing:
    """How far to go."""

    allow: Literal["exact", "tolerance", "data", "retrain"] = "exact"
    """exact (the same algebra), tolerance (bounded approximations too), data (frozen statistics too), retrain."""
    max_drop: float = 1.0
    """How many points of accuracy frozen statistics may cost."""
    cut: str | None = None
    """auto, or names of tensors with commas: cut the decode part off into a second file."""
    output_4d: Annotated[bool, Parameter(name="--output-4d", negative="")] = False
    """Let outputs become (N, C, 1, 1): saves the last switch, which brings them back to (N, C)."""
    input_shape: str | None = None
    """The same as --shape for the first input, without name and batch: 3x224x224."""
    dry_run: Annotated[bool, Parameter(negative="")] = False
    """List the rewrites with their gains; write and run nothing."""
    json: Path | None = None
    """Also write the whole report to this file (schema dlaflow.fix/1)."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False
    """Print nothing but errors."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Data:
    """Real images: for the proof, for statistics and for retraining."""

    data: str | None = None
    """cifar10, digits, a folder of images (sub-folders are classes), or a .npy/.npz file."""
    data_dir: Path | None = None
    """The folder that holds CIFAR-10."""
    samples: int = DEFAULT_SAMPLES
    """How many images to take statistics from and to prove with."""
    weights: Path | None = None
    """Retraining: the trained weights of the model (.safetensors)."""
    epochs: int = 5
    """Retraining: how many epochs the changed network learns from the original one."""


def fix(
    model: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    on: TargetOptions | None = None,
    how: Fixing | None = None,
    source: Data | None = None,
) -> None:
    """Rewrite a model so that its backbone stays on the DLA, and prove that it computes the same.

    Each rewrite is kept only when the prediction says that it removes switches, loadables or work from the GPU, and
    when onnxruntime gives the same outputs before and after. What was refused is told with its reason.

    Examples:

        dlaflow fix model.onnx --out fixed.onnx --board agx-orin-64gb --jetpack 5.1.1

        dlaflow fix yolo.onnx --out backbone.onnx --shape images:1x3x640x640 --cut auto

        dlaflow fix model_gn --allow retrain --weights gn.safetensors --data cifar10 --out healed.onnx

    Parameters
    ----------
    model
        The ONNX file; with --allow retrain the network's name (model_gn, or package.module:factory).
    out
        The ONNX file to write.
    """
    on, how, source = on or TargetOptions(), how or Fixing(), source or Data()
    target = on.target()
    if out is None and not how.dry_run:
        raise UsageError("nowhere to write to", expected="--out FILE, or --dry-run")
    if how.allow == "retrain":
        from dlaflow.cli.fix_retrain import retrain

        if how.dry_run or out is None:
            raise UsageError("retraining cannot be tried dry", expected="--out FILE without --dry-run")
        retrain(model, out, target, how, source)
        return
    from dlaflow.report.fix_text import fix_json, fix_text
    from dlaflow.rewrites.fix import fix as run_fix
    from dlaflow.rewrites.fix import write, write_cut

    path, progress = Path(model), terminal.progress(quiet=how.quiet)
    if how.input_shape is not None:
        target = with_input_shape(target, path, _sides(how.input_shape))
    fixed: Fixed = run_fix(path, target, _config(path, target, how, source), progress)
    if out is not None and not how.dry_run:
        if how.cut is not None:
            names = [] if how.cut == "auto" else [name.strip() for name in how.cut.split(",") if name.strip()]
            fixed = write_cut(fixed, out, names, target)
        else:
            fixed = write(fixed, out)
    if how.json is not None:
        write_atomic(how.json, fix_json(fixed.report))
    if not how.quiet:
        sys.stdout.write(fix_text(fixed.report) + "\n")


def _config(path: Path, target: Target, how: Fixing, source: Data) -> FixConfig:
    from dlaflow.rewrites.base import Safety
    from dlaflow.rewrites.config import FixConfig

    if how.max_drop < 0:
        raise UsageError("--max-drop makes no sense", expected="0 or more points", received=how.max_drop)
    if how.allow == "data" and source.data is None:
        raise UsageError("frozen statistics need images", expected="--data cifar10, a folder or a .npy file")
    samples, accuracy, tested = None, None, 0
    if source.data is not None and not how.dry_run:
        from dlaflow.cli.fix_images import real_images

        picked = real_images(path, source, target, quiet=how.quiet)
        samples = picked.samples
        if how.allow == "data":
            accuracy, tested = picked.accuracy(), picked.tested
    return FixConfig(
        allow=Safety(how.allow),
        output_4d=how.output_4d,
        samples=samples,
        accuracy=accuracy,
        tested=tested,
        max_drop=how.max_drop,
        dry_run=how.dry_run,
    )


def with_input_shape(target: Target, path: Path, sides: tuple[int, ...]) -> Target:
    """The target with the shape that `--input-shape` means: `sides` are those of the first input behind its batch.

    Raises UsageError beside --shape, and InputError when the model cannot be read.
    """
    from dlaflow.graph.inputs import behind_batch
    from dlaflow.graph.load import load_model

    if target.shapes:
        raise UsageError(
            "--input-shape is --shape without name and batch", received="both", then="Leave --input-shape out."
        )
    return replace(target, shapes=(behind_batch(load_model(path).proto.graph, sides, target.batch),))


def _sides(text: str) -> tuple[int, ...]:
    sides = text.lower().split("x")
    if not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise UsageError("--input-shape makes no sense", expected="such as 3x224x224", received=repr(text))
    return tuple(int(side) for side in sides)
