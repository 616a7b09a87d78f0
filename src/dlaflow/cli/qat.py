"""`dlaflow qat`: options → `dlaflow.zoo.qat` → a Q/DQ model and what the training was worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dlaflow.api.claims import Written
from dlaflow.cli import terminal
from dlaflow.cli.options import Out
from dlaflow.files import together, write_atomic
from dlaflow.fixed_shape import refuse_batch
from dlaflow.report.json import measurements_json
from dlaflow.zoo.distillation import DistillationConfig
from dlaflow.zoo.export import shape_of
from dlaflow.zoo.qat import export_quantised, train_quantised


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How to fine-tune."""

    data: str = "cifar10"
    """cifar10 or digits."""
    data_dir: Path | None = None
    """The folder that holds CIFAR-10."""
    epochs: int = 3
    """Passes over the training images; 0 calibrates alone."""
    lr: float = 1.0
    """The highest learning rate of the cycle, in steps of INT8: what a weight moves by at most in one update."""
    limit: int | None = None
    """Take only that many training images a pass."""
    seed: int = 0
    batch_size: int = 128
    """Images in a step."""
    batch: int | None = None
    """The batch that the file is fixed to (default: open)."""
    input_shape: str = "3x32x32"
    """Channels x height x width."""
    json: Written | None = None
    """Also write the accuracies to this file."""
    quiet: terminal.Quiet = False


def qat(
    model: str,
    /,
    *,
    weights: Annotated[Path, Parameter(name=["--weights", "-w"])],
    out: Out,
    how: FineTuning = FineTuning(),
) -> None:
    """Fine-tune a network with the DLA's INT8 in it, and write it as ONNX with Q/DQ.

    Symmetric INT8 without zero points, one scale for each tensor and for each output channel of weights, BatchNorm
    folded. What the training was worth is told beside the same scales without it, on the test images.

    Examples:

        dlaflow qat model_bn --weights bn.safetensors --data digits --epochs 1 --out bn_int8.onnx

        dlaflow cache from-qdq bn_int8.onnx --cache calib.cache --plain bn_plain.onnx --guess

    Parameters
    ----------
    model
        model_bn, model_gn, or your own as package.module:factory; arguments follow an @ (model_bn@width=0.5).
    weights
        Trained weights (.safetensors) of the float network.
    out
        The ONNX file to write.
    """
    if how.batch is not None:
        refuse_batch(how.batch)
    shape = shape_of(how.input_shape)
    config = DistillationConfig(
        model, weights, how.data, how.data_dir, how.epochs, how.seed, how.batch_size, how.lr, how.limit
    )
    found = train_quantised(config, terminal.progress(quiet=how.quiet), input_shape=shape)
    exported = export_quantised(found.module, model, how.batch, shape)
    with together():
        write_atomic(out, exported)
        if how.json is not None:
            write_atomic(how.json, measurements_json(found.measurements(out.stem)))
    if how.quiet:
        return
    lines = [f"{found.in_words(how.epochs)}, {found.seconds:.0f} s"]
    if found.slowed:
        lines.append(f"The training at --lr {how.lr:g} lost points and was ended, and a tenth of it tried.")
    if how.epochs and not found.epoch:
        lines.append(
            f"The training gained nothing on {found.held_out:,} training images that were held out: what is written is "
            f"the network without it. `dlaflow calibrate --recover` is the cheaper way."
        )
    elif how.epochs and found.gain <= found.spread:
        lines.append(f"What the training gained ({found.gain:+.2f} points) is less than these images can tell.")
    terminal.say(
        *lines, f"Wrote {out}. For a cache: dlaflow cache from-qdq {out} --cache calib.cache --plain plain.onnx --guess"
    )
