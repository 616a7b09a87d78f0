"""`dlaflow export`: options → `dlaflow.zoo.export.export` → two lines of answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dlaflow.api.claims import Written
from dlaflow.cli import terminal
from dlaflow.cli.options import Out
from dlaflow.errors import UsageError
from dlaflow.files import record_json, together, write_atomic
from dlaflow.targets.release import find_release
from dlaflow.zoo.export import TOLERANCE, ExportConfig
from dlaflow.zoo.export import export as run_export

SCHEMA = "dlaflow.export/1"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Exporting:
    """How to export."""

    opset: str = "auto"
    """ONNX opset; auto takes 17, or less where the release of --jetpack reads less."""
    batch: str = "dynamic"
    """dynamic, or a number that the file is then fixed to."""
    simplify: bool = False
    """Fold shape arithmetic and constants with onnxslim."""
    jetpack: str | None = None
    """The release that will read the file, such as 5.1.1."""
    input_shape: str = "3x32x32"
    """Channels x height x width."""
    quiet: terminal.Quiet = False
    json: Written | None = None
    """Also write the result to this file."""


def export(
    model: str,
    /,
    *,
    weights: Annotated[Path, Parameter(name=["--weights", "-w"])],
    out: Out,
    how: Exporting = Exporting(),
) -> None:
    """Write trained weights as one ONNX file, checked and compared with torch.

    The input is called `input`, the output `output`. Logits that differ from torch's by more than 1e-4 are an error,
    and nothing is written then.

    Examples:

        dlaflow export model_bn --weights bn.safetensors --out bn.onnx

        dlaflow export model_bn --weights bn.safetensors --out bn.onnx --batch 32 --simplify --jetpack 5.1.1

    Parameters
    ----------
    model
        model_bn, model_gn, or your own as package.module:factory; arguments follow an @ (model_bn@width=0.5).
    weights
        Trained weights (.safetensors).
    out
        The ONNX file to write.
    """
    config = ExportConfig(
        model=model,
        weights=weights,
        out=out,
        opset=None if how.opset == "auto" else _number("--opset", how.opset, "auto"),
        batch=None if how.batch == "dynamic" else _number("--batch", how.batch, "dynamic"),
        simplify=how.simplify,
        input_shape=shape_of(how.input_shape),
        max_opset=find_release(how.jetpack).max_opset if how.jetpack else None,
    )
    with together():
        result = run_export(config)
        if how.json is not None:
            write_atomic(how.json, record_json(SCHEMA, {"model": model, **asdict(result)}))
    if not how.quiet:
        batch = f"batch {result.batch}" if result.batch else "dynamic batch"
        terminal.say(
            f"Wrote {result.out}: opset {result.opset}, {batch}, {result.nodes} nodes, accepted by ONNX's checker",
            f"Largest difference to torch: {result.max_difference:.2e} (at most {TOLERANCE:.0e} is allowed)",
        )


def _number(option: str, text: str, word: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{option} makes no sense", expected=f"{word} or a number", received=repr(text))
    return int(text)


def shape_of(text: str) -> tuple[int, int, int]:
    sides = text.lower().split("x")
    if len(sides) != 3 or not all(side.isdecimal() for side in sides):
        raise UsageError("--input-shape makes no sense", expected="such as 3x32x32", received=repr(text))
    channels, height, width = map(int, sides)
    if not channels * height * width:
        raise UsageError("--input-shape makes no sense", expected="sides of 1 or more", received=repr(text))
    return channels, height, width
