"""`dlaflow fix`: a model and a target → a rewritten, proven model and what each rewrite gained."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dlaflow.api.claims import Written
from dlaflow.api.fix import DataOptions, FixOptions, fix_model, real_inputs
from dlaflow.cli import terminal
from dlaflow.cli.options import InputText, Out, Target, group
from dlaflow.errors import EXIT_DONE, EXIT_FINDINGS, UsageError
from dlaflow.files import together, write_atomic


@group
@dataclass(frozen=True, kw_only=True)
class Fixing(FixOptions):
    """How far to go."""

    output_4d: Annotated[bool, Parameter(name="--output-4d")] = False
    json: Written | None = None
    """Also write the whole report to this file (schema dlaflow.fix/1)."""
    quiet: terminal.Quiet = False


@group
@dataclass(frozen=True, kw_only=True)
class Data(DataOptions):
    """Real images: for the proof, for statistics and for retraining."""

    data: InputText | None = None
    data_dir: Path | None = None
    weights: Path | None = None
    """Retraining: the trained weights of the model (.safetensors)."""
    epochs: int = 5
    """Retraining: how many epochs the changed network learns from the original one."""


def fix(
    model: InputText,
    /,
    *,
    out: Out | None = None,
    on: Target = Target(),
    how: Fixing = Fixing(),
    source: Data = Data(),
) -> int:
    """Rewrite a model so that its backbone stays on the DLA, and prove that it computes the same.

    Each rewrite is kept only when the prediction says that it removes switches, loadables or work from the GPU, and
    when onnxruntime gives the same outputs before and after. What was refused is told with its reason. Where the result
    is no better than the model, nothing is written and the exit code is 1; --write-anyway writes it.

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
    from dlaflow.report.fix_text import fix_json, fix_text

    target, progress = on.target(), terminal.progress(quiet=how.quiet)
    if out is None and not how.dry_run:
        raise UsageError("nowhere to write to", expected="--out FILE, or --dry-run")
    lines = []
    with together():
        if how.allow == "retrain":
            from dlaflow.api.retrain import RetrainOptions, retrain

            if how.dry_run or out is None:
                raise UsageError("retraining cannot be tried dry", expected="--out FILE without --dry-run")
            options = RetrainOptions(
                weights=source.weights,
                data=source.data or "cifar10",
                data_dir=source.data_dir,
                epochs=source.epochs,
                output_4d=how.output_4d,
            )
            retrained = retrain(model, out, target, options, progress)
            report = retrained.report
            seconds = f"{retrained.seconds:.0f} s"
            lines = [f"Swapped {len(retrained.swapped)} layers, distilled {source.epochs} epochs ({seconds}):"]
            lines += [*(f"  {each}" for each in retrained.swapped), ""]
        else:
            inputs = real_inputs(Path(model), target, how, source, progress)
            report = fix_model(Path(model), out, target, how, inputs, progress)
        if how.json is not None:
            write_atomic(how.json, fix_json(report))
    if not how.dry_run and not report.out:
        said = f"{out} was not written: the result is no better than {model} (--write-anyway writes it)."
        terminal.say(f"dlaflow: {said}", stderr=True)
    if not how.quiet:
        sys.stdout.write("\n".join([*lines, fix_text(report)]) + "\n")
    return EXIT_DONE if how.dry_run or report.out else EXIT_FINDINGS
