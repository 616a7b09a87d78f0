"""`dlaflow fix --allow retrain`: a PyTorch network → other layers → distillation → ONNX → exact rewrites."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.cli import terminal
from dlaflow.errors import InputError, UsageError
from dlaflow.files import write_atomic
from dlaflow.types import Measurement, Provenance

if TYPE_CHECKING:
    from dlaflow.cli.fix import Data, Fixing
    from dlaflow.targets.target import Target
    from dlaflow.zoo.distillation import Distilled

_TOLERANCE = 1e-3


def retrain(model: str, out: Path, target: Target, how: Fixing, source: Data) -> None:
    """Swap, distill, export and fix the network `model`, and print the three accuracies.

    Raises UsageError without weights or with an ONNX file, and what distillation raises.
    """
    if model.endswith(".onnx"):
        raise UsageError(
            "an ONNX file cannot be trained",
            expected="a PyTorch network: model_gn, or package.module:factory",
            received=model,
            then="Give the network and its --weights.",
        )
    if source.weights is None:
        raise UsageError("retraining starts from trained weights", expected="--weights FILE.safetensors")
    from dlaflow.report.fix_text import fix_json, fix_text
    from dlaflow.rewrites.config import FixConfig
    from dlaflow.rewrites.fix import fix, write
    from dlaflow.zoo.distillation import DistillationConfig, distill, export_distilled

    progress = terminal.progress(quiet=how.quiet)
    config = DistillationConfig(model, source.weights, source.data or "cifar10", source.data_dir, source.epochs)
    distilled = distill(config, progress)
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / f"{out.stem}.onnx"
        difference = export_distilled(distilled, exported)
        if not difference <= _TOLERANCE:
            raise InputError(
                "the exported network differs from torch, nothing was written",
                expected=f"logits within {_TOLERANCE:g}",
                received=f"{difference:.3g}",
            )
        fixed = fix(exported, target, FixConfig(output_4d=how.output_4d), progress)
        named = replace(fixed.report, model=model, allow="retrain", measurements=_accuracies(distilled))
        fixed = write(replace(fixed, report=named), out)
    if how.json is not None:
        write_atomic(how.json, fix_json(fixed.report))
    if not how.quiet:
        lines = [
            f"Swapped {len(distilled.swapped)} layers, distilled {source.epochs} epochs ({distilled.seconds:.0f} s):"
        ]
        lines += [f"  {each}" for each in distilled.swapped]
        sys.stdout.write("\n".join([*lines, "", fix_text(fixed.report)]) + "\n")


def _accuracies(distilled: Distilled) -> list[Measurement]:
    stages = (
        ("before", distilled.before),
        ("after the swap", distilled.after_swap),
        ("after distillation", distilled.after),
    )
    return [
        Measurement("top1", subject, 100 * value, "%", distilled.tested, provenance=Provenance.MEASURED)
        for subject, value in stages
    ]
