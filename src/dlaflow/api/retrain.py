"""retrain: a PyTorch network → other layers → distillation → ONNX → exact rewrites."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError, UsageError
from dlaflow.progress import Progress, silent
from dlaflow.types import Measurement, Provenance

if TYPE_CHECKING:
    from dlaflow.rewrites.records import FixReport
    from dlaflow.targets.target import Target
    from dlaflow.zoo.distillation import Distilled

_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class RetrainOptions:
    """How a changed network learns from the original one; `weights` are the trained ones of the original."""

    weights: Path | None = None
    data: str = "cifar10"
    data_dir: Path | None = None
    epochs: int = 5
    output_4d: bool = False


@dataclass(frozen=True, slots=True)
class Retrained:
    """The layers that were swapped, the seconds that the distillation took, and the fix of what was exported."""

    swapped: tuple[str, ...]
    seconds: float
    report: FixReport


def retrain(network: str, out: Path, target: Target, options: RetrainOptions, progress: Progress = silent) -> Retrained:
    """Swap layers of `network` (model_gn, or package.module:factory), distill, export, fix and write `out`.

    Raises UsageError without weights or for an ONNX file, and what distillation and export raise.
    """
    if network.endswith(".onnx"):
        raise UsageError(
            "an ONNX file cannot be trained",
            expected="a PyTorch network: model_gn, or package.module:factory",
            received=network,
            then="Give the network and its --weights.",
        )
    if options.weights is None:
        raise UsageError("retraining starts from trained weights", expected="--weights FILE.safetensors")
    from dlaflow.rewrites.fix import fix, write
    from dlaflow.rewrites.search import FixConfig
    from dlaflow.zoo.distillation import DistillationConfig, distill, export_distilled

    config = DistillationConfig(network, options.weights, options.data, options.data_dir, options.epochs)
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
        fixed = fix(exported, target, FixConfig(output_4d=options.output_4d), progress)
        report = replace(fixed.report, model=network, allow="retrain", measurements=_accuracies(distilled))
        fixed = write(replace(fixed, report=report), out)
    return Retrained(distilled.swapped, distilled.seconds, fixed.report)


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
