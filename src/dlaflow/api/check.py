"""check: an ONNX model and a target → the placement."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.api.claims import OutFile
from dlaflow.api.keywords import File, keywords
from dlaflow.files import write_atomic
from dlaflow.graph.layer import Network
from dlaflow.graph.load import Model, load_model
from dlaflow.placement.check import check_network, network_of, shapes_of
from dlaflow.rewrites.matching import with_rewrites
from dlaflow.targets.options import TargetOptions
from dlaflow.targets.target import Target
from dlaflow.types import Device, Placement, Verdict

if TYPE_CHECKING:
    from dlaflow.placement.extract import Extracted
    from dlaflow.report.notebook import ShownPlacement


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model as its target sees it: the loaded file, the layers that TensorRT makes of it, and where they run."""

    model: Model
    network: Network
    placement: Placement


def predict(model: Path, target: Target, *, digest: bool = True) -> Prediction:
    """Load a model, turn it into layers and place them, each once; a finding names the rewrites that match there.

    Without `digest` the model's sha256 is left empty.
    Raises InputError for an unusable file and UsageError for shapes that do not fit it.
    """
    loaded = load_model(model, digest=digest)
    shapes = shapes_of(loaded, target)
    network = network_of(loaded, target, shapes)
    return Prediction(loaded, network, with_rewrites(check_network(loaded, network, target), loaded, target, shapes))


def fails(placement: Placement, fail_on: str) -> bool:
    """Whether the placement holds what `--fail-on` asked for; `unknown` includes `fallback` and open sizes."""
    from dlaflow.report.verdict import opening

    unwanted = {Verdict.FALLBACK} if fail_on == "fallback" else {Verdict.FALLBACK, Verdict.UNKNOWN}
    running = [layer for layer in placement.layers if layer.device is not Device.FOLDED]
    found = {finding.verdict for finding in placement.findings} | {layer.verdict for layer in running}
    if any(
        finding.verdict is Verdict.CONDITIONAL and finding.rewrites for layer in running for finding in layer.findings
    ):
        found.add(Verdict.FALLBACK)  # until `dlaflow fix` has changed the model
    return bool(found & unwanted) or (fail_on == "unknown" and opening(placement) is not None)


def extracted(found: Prediction, target: Target, what: str, out: str | os.PathLike[str]) -> Extracted:
    """Write `what` of a predicted model to `out`, as `dlaflow.placement.extract` cuts it out.

    Raises UsageError for what the model does not have, InputError for weights that cannot be read.
    """
    from dlaflow.placement.extract import extract

    piece = extract(found.model, found.network, found.placement, target, what)
    write_atomic(out, piece.content)
    return piece


@dataclass(frozen=True, kw_only=True)
class CheckArguments(TargetOptions):
    """The arguments of `check`."""

    model: File = field(kw_only=False)
    """The ONNX file."""
    extract: tuple[str, OutFile] | None = None
    """(node, file): write the smallest model that shows what is said of a node, a layer, `A:B` or a loadable."""


@keywords(CheckArguments)
def check(given: CheckArguments) -> ShownPlacement:
    """Predict what of an ONNX model runs on the DLA, why not, and what to change; no board is needed.

    Returns a `dlaflow.types.Placement`. Raises UsageError for unknown names and InputError for an unusable file.
    """
    from dlaflow.report.notebook import ShownPlacement, show

    found = predict(Path(given.model), given.target())
    if given.extract is not None:
        extracted(found, given.target(), *given.extract)
    return show(ShownPlacement, found.placement)
