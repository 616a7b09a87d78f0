"""The recipe that `dlaflow run MODEL.onnx` makes of one file: short, commented, and left behind for edits."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dlaflow.errors import InputError
from dlaflow.files import write_atomic
from dlaflow.graph.load import as_model
from dlaflow.quantize.model import has_qdq
from dlaflow.reading import TOML_BYTES, read_text
from dlaflow.recipe.load import spelled
from dlaflow.recipe.schema import DataSection
from dlaflow.targets.target import Target

FILE = "recipe.toml"
"""Its name in the folder of the run."""
_BATCH = 8
"""Images at once: any model's activations fit."""


@dataclass(frozen=True, slots=True)
class OwnModel:
    """One file and what it is for. `precision` None means INT8 where there are scales, `samples` calibrate."""

    model: Path
    target: Target
    precision: str | None = None
    data: DataSection | None = None
    samples: int = 512
    power_mode: str | None = None


def run_name(model: Path) -> str:
    """The name of the run of a file: what of its stem may name a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model.stem).lstrip("._-")[:100] or "model"


def own_recipe(own: OwnModel, folder: Path) -> str:
    """The TOML text of the recipe for one ONNX file, run in `folder`.

    Raises InputError when the model cannot be read.
    """
    scaled = has_qdq(as_model(own.model).proto)
    calibrated = own.data is not None and not scaled and own.precision != "fp16"
    precision = own.precision or ("int8" if scaled or calibrated else "fp16")
    steps = ["check", "estimate", *(["calibrate"] if calibrated else []), *(["evaluate"] if own.data else [])]
    recipe = folder / FILE
    body = [
        f"# Made for {spelled(str(own.model))}. Edit it, then run it again; --resume keeps what did not change:",
        f"#   dlaflow run {_quoted(recipe)} --out {_quoted(folder)} --resume",
        "# Paths count from the folder where dlaflow is started. `dlaflow run --help` tells more.",
        "",
        f"name = {spelled(run_name(own.model))}",
        f"steps = {spelled([*steps, 'build', 'report'])}",
        *_target(own, precision, scaled=scaled, calibrated=calibrated),
        *_variants(own),
        *_data(own, precision, calibrated=calibrated, scaled=scaled),
    ]
    return _sealed("\n".join(body) + "\n")


def leave_recipe(text: str, folder: Path) -> Path:
    """Write the recipe into the folder of its run.

    Raises InputError where the recipe there was edited.
    """
    path = folder / FILE
    if path.exists() and not _as_made(read_text(path, TOML_BYTES)):
        raise InputError(
            f"{path} was edited, and this would replace it",
            then=f"Run it: dlaflow run {_quoted(path)} --out {_quoted(folder)} --resume; or choose another --out.",
        )
    write_atomic(path, text)
    return path


def only_model(folder: Path) -> Path | None:
    """The one ONNX file in a folder; None where there is none or several."""
    found = [each for each in folder.glob("*.onnx") if each.is_file()]
    return found[0] if len(found) == 1 else None


def _target(own: OwnModel, precision: str, *, scaled: bool, calibrated: bool) -> Iterator[str]:
    target = own.target
    if own.precision:
        why = "as asked for"
    elif scaled:
        why = "the model holds its scales"
    else:
        why = "[data] gives the scales" if calibrated else "INT8 needs images for its scales: --data"
    yield from ("", "[target]", f"board = {spelled(target.board.id)}")
    key = "tensorrt" if target.release.family == "TensorRT" else "jetpack"
    yield f"{key} = {spelled(target.release.tensorrt if key == 'tensorrt' else target.release.name)}"
    yield f"precision = {spelled(precision)}  # {why}"
    if target.batch is not None:
        yield f"batch = {target.batch}"
    if target.mode != "hybrid":
        yield f"mode = {spelled(target.mode)}"
    if target.shapes:
        yield f"shape = {spelled([str(shape) for shape in target.shapes])}"
    if own.power_mode:
        yield from ("", "[estimate]", f"power_mode = {spelled(own.power_mode)}")


def _variants(own: OwnModel) -> Iterator[str]:
    yield from ("", "[[variant]]", 'name = "as_it_is"', f"onnx = {spelled(str(own.model))}")
    if own.target.board.dla_cores:
        yield from ("", '# What `dlaflow fix` makes of it. "tolerance" and "data" may change more than "exact".')
        yield from ("[[variant]]", 'name = "fixed"', 'from = "as_it_is"', 'fix = "exact"')


def _data(own: OwnModel, precision: str, *, calibrated: bool, scaled: bool) -> Iterator[str]:
    if own.data is None:
        return
    yield from ("", "[data]")
    if own.data.source:
        yield f"source = {spelled(list(own.data.source))}  # half of the images calibrates, the other measures"
    else:
        yield f"name = {spelled(own.data.name)}"
    for key in ("dir", "resize", "mean", "std", "layout"):
        if (value := getattr(own.data, key)) is not None:
            yield f"{key} = {spelled(value)}"
    if calibrated:
        yield from ("", "[calibrate]", f"samples = {own.samples}", f"batch_size = {_BATCH}")
        yield 'method = "entropy"  # or minmax, percentile, mse, auto'
    measured = ["fp32"] if scaled else ["fp32", precision]
    yield from ("", "[evaluate]", f"precisions = {spelled(measured)}", "limit = 1000", f"batch_size = {_BATCH}")


def _quoted(path: Path) -> str:
    """For a shell, in one line of a comment."""
    return shlex.quote(str(path)).replace("\n", "?")


def _sealed(text: str) -> str:
    seal = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text}\n# As made: {seal}. While that is so, `dlaflow run MODEL.onnx` replaces this file.\n"


def _as_made(text: str) -> bool:
    body, _, end = text.rpartition("\n# As made: ")
    return _sealed(body) == f"{body}\n# As made: {end}"
