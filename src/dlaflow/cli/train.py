"""`dlaflow train`: options → `dlaflow.zoo.training.train` → two lines of answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from dlaflow.cli import terminal
from dlaflow.files import record_json, write_atomic
from dlaflow.zoo.checkpoint import checkpoint_path
from dlaflow.zoo.plan import TrainConfig, TrainResult
from dlaflow.zoo.training import train as run_training
from dlaflow.zoo.weights import sidecar_path

SCHEMA = "dlaflow.training/1"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Training:
    """How to train."""

    data: str = "cifar10"
    """cifar10 or digits (built in, needs no download)."""
    data_dir: Path | None = None
    """Where CIFAR-10 is, or is downloaded to: its archive or folder. Default: $DLAFLOW_DATA, else data/cifar10."""
    epochs: int = 10
    """Passes over the training images."""
    seed: int = 0
    """The same seed gives the same run on the same machine (with --precision fp32: to the bit)."""
    batch_size: int | None = None
    """Images a step. Default: 128, 512 from 20 epochs on, or 32 for a small data set."""
    lr: float | None = None
    """Peak of the one-cycle schedule. Default: 0.1 for a batch of 128, in proportion for others; half for model_gn."""
    limit: int | None = None
    """Use only so many training images, for a quick run."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: str = "auto"
    """auto (bf16 on a GPU that has it; elsewhere measures whether it and another memory layout pay), fp32 or bf16."""
    step: str = "auto"
    """plain, graph (CUDA) or compile (with a graph on CUDA). auto: a graph on CUDA, compiled too in a long run; plain
    elsewhere."""
    devices: int = 1
    """Can only be 1: for networks this small, exchanging gradients takes longer than a second GPU saves."""
    resume: bool = False
    """Go on from the last checkpoint beside OUT, if there is one."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Messages:
    """What to say."""

    quiet: terminal.Quiet = False
    json: Path | None = None
    """Also write the result to this file."""


def train(
    model: str,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    how: Training = Training(),
    messages: Messages = Messages(),
) -> None:
    """Train a network and write its weights with a JSON sidecar that records where they come from.

    A tenth of the training images picks the checkpoint; the test images are looked at once, at the end. Ctrl-C keeps
    the last checkpoint and `--resume` goes on from it.

    Examples:

        dlaflow train model_bn --data digits --epochs 2 --out bn.safetensors

        dlaflow train model_bn --data cifar10 --data-dir ~/data/cifar10 --epochs 10 --out bn.safetensors

        dlaflow train mypackage.nets:small --data-dir ~/data/cifar10 --out small.safetensors --resume

    Parameters
    ----------
    model
        model_bn, model_gn, or your own as package.module:factory; arguments follow an @ (model_bn@width=0.5).
    out
        The weights to write (.safetensors).
    """
    config = TrainConfig(model=model, out=out, **vars(how))
    console = terminal.console(stderr=True)
    try:
        result = run_training(config, terminal.progress(quiet=messages.quiet))
    except KeyboardInterrupt:
        if checkpoint_path(out).is_file() and not messages.quiet:
            console.print(f"The last checkpoint is {checkpoint_path(out)}; go on from it with --resume.", markup=False)
        raise
    if messages.json is not None:
        write_atomic(messages.json, record_json(SCHEMA, {"weights": out, **msgspec.to_builtins(result.sidecar)}))
    if not messages.quiet:
        terminal.say(*_lines(result))


def _lines(result: TrainResult) -> list[str]:
    card = result.sidecar
    lines = [
        f"{card.model} on {card.data}: top-1 {card.test_top1:.2%} on the test images, {card.val_top1:.2%} on the "
        f"validation images (epoch {card.best_epoch} of {card.epochs}), {card.seconds:.1f} s on {card.device} "
        f"after {card.warm_up_seconds:.1f} s of warm-up ({card.arithmetic}, {card.step} steps)",
        f"Weights: {result.weights}  (about them: {sidecar_path(result.weights)})",
    ]
    if not result.epochs_run:
        return ["Nothing to do: these weights are finished.", *lines]
    if result.resumed_from:
        return [f"Went on after epoch {result.resumed_from}.", *lines]
    return lines
