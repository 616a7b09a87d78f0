"""`dlaflow train`: options → `dlaflow.zoo.training.train` → two lines of answer."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from cyclopts import Parameter

from dlaflow.api.claims import Written
from dlaflow.cli import terminal
from dlaflow.cli.options import Out, group
from dlaflow.files import record_json, together, write_atomic
from dlaflow.zoo.checkpoint import checkpoint_path
from dlaflow.zoo.plan import TrainConfig, TrainOptions, TrainResult
from dlaflow.zoo.training import train as run_training
from dlaflow.zoo.weights import sidecar_path

SCHEMA = "dlaflow.training/1"


@group
@dataclass(frozen=True, kw_only=True)
class Training(TrainOptions):
    """How to train."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Messages:
    """What to say."""

    quiet: terminal.Quiet = False
    json: Written | None = None
    """Also write the result to this file."""


def train(
    model: str,
    /,
    *,
    out: Out,
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
        with together():
            result = run_training(config, terminal.progress(quiet=messages.quiet))
            if messages.json is not None:
                body = {"weights": out, **msgspec.to_builtins(result.sidecar)}
                write_atomic(messages.json, record_json(SCHEMA, body))
    except KeyboardInterrupt:
        if checkpoint_path(out).is_file() and not messages.quiet:
            console.print(f"The last checkpoint is {checkpoint_path(out)}; go on from it with --resume.", markup=False)
        raise
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
