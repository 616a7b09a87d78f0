"""`dlaflow check`: a model and a target → a placement → the answer, and files for people and machines."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import Parameter

from dlaflow.api.claims import Written
from dlaflow.cli import terminal
from dlaflow.cli.options import Target
from dlaflow.errors import EXIT_DONE, EXIT_FINDINGS
from dlaflow.files import together, write_atomic
from dlaflow.types import Measurement, Placement

if TYPE_CHECKING:
    from dlaflow.estimate.answer import Estimate


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where the answer goes besides the terminal."""

    json: Written | None = None
    """Write the whole placement to this file (schema dlaflow.placement/1)."""
    sarif: Written | None = None
    """Write the findings as SARIF 2.1.0, which code hosts show beside a change."""
    html: Written | None = None
    """Write a page that shows the placement."""
    model_explorer: Written | None = None
    """Write node data for Google's Model Explorer, coloured by device."""
    extract: tuple[str, Written] | None = None
    """NODE OUT.onnx: write the smallest model that shows what is said of NODE: the name of a node, a layer or a tensor,
    A:B for what lies between two tensors, or the index of a loadable."""
    quiet: terminal.Quiet = False

    @property
    def files(self) -> bool:
        """Whether any file is written: they name the model by its sha256, the terminal does not."""
        return any((self.json, self.sarif, self.html, self.model_explorer, self.extract))


def check(
    model: Path,
    /,
    *,
    on: Target = Target(),
    out: Outputs = Outputs(),
    against: str | None = None,
    layers: bool = False,
    fail_on: Literal["fallback", "unknown"] | None = None,
) -> int:
    """Tell what of a model will run on the DLA, why not, and what to change.

    The answer comes first: the share of the work on the DLA, the loadables and the switches; then the reasons, grouped,
    each with what to use instead. No board is needed.

    Examples:

        dlaflow check model.onnx --board agx-orin-64gb --jetpack 5.1.1 --precision int8

        dlaflow check model.onnx --board orin-nx-16gb --jetpack 6.2 --json placement.json --fail-on fallback

        dlaflow check model.onnx --board agx-orin-64gb --jetpack 6.2 --against 5.1.1

        dlaflow check yolo.onnx --board orin-nx-16gb --shape images:1x3x640x640

        dlaflow check yolo.onnx --board orin-nx-16gb --extract /model.9/m/MaxPool pool.onnx

    Parameters
    ----------
    model
        The ONNX file. Its weights are not read unless a rule needs them.
    against
        Another JetPack or DRIVE OS release of the same board: tell what changes between the two.
    layers
        List every layer with its device.
    fail_on
        Exit with 1 when a layer falls back to the GPU (fallback), or when that cannot even be ruled out (unknown): the
        rules are silent, or an input leaves its size open and no --shape names it.
    """
    from dlaflow.api.check import extracted, fails, predict
    from dlaflow.placement.check import check_model
    from dlaflow.report.check_text import WIDTH, comparison_text, extract_text, layer_text, placement_text

    target = on.target()
    other = target.on_release(against) if against is not None else None
    found = predict(model, target, digest=out.files)
    placement = found.placement
    if out.html or not out.quiet:
        from dlaflow.api.estimate import estimate_of

        expected = estimate_of(found, target, fixed=out.html is not None)
    with together():
        _write(placement, out)
        piece = extracted(found, target, *out.extract) if out.extract else None
        if out.html:
            _write_page(placement, expected.measurements(), out.html)
    if not out.quiet:
        width = min(terminal.columns(WIDTH), WIDTH)
        sys.stdout.write(placement_text(placement, _in_a_line(expected), width) + "\n")
        if layers:
            sys.stdout.write("\n" + layer_text(placement) + "\n")
        if piece and out.extract:
            sys.stdout.write("\n" + extract_text(piece, out.extract[1], width) + "\n")
        if other is not None:
            sys.stdout.write("\n" + comparison_text(placement, check_model(found.model, other)) + "\n")
    return EXIT_FINDINGS if fail_on and fails(placement, fail_on) else EXIT_DONE


def _write(placement: Placement, outputs: Outputs) -> None:
    if outputs.json:
        from dlaflow.report.json import placement_json

        write_atomic(outputs.json, placement_json(placement))
    if outputs.sarif:
        from dlaflow.report.sarif import sarif_json

        write_atomic(outputs.sarif, sarif_json(placement))
    if outputs.model_explorer:
        from dlaflow.report.model_explorer import node_data_json

        write_atomic(outputs.model_explorer, node_data_json(placement))


def _in_a_line(found: Estimate) -> str:
    """The expected latency in a line; empty where no data supports an answer."""
    if found.latency is None:
        return ""
    spans = f"{found.latency.value:.3g} ms ({found.latency.low:.3g} to {found.latency.high:.3g}) a batch estimated"
    if found.gpu_alone is None:
        return spans
    return (
        f"{spans}, GPU alone {found.gpu_alone.value:.3g} ms ({found.gpu_alone.low:.3g} to {found.gpu_alone.high:.3g})"
    )


def _write_page(placement: Placement, expected: list[Measurement], path: Path) -> None:
    """The placement as a page with the network drawn as a graph and the expected latency."""
    from dlaflow.placement.switches import edges
    from dlaflow.report.html import render
    from dlaflow.report.records import RunRecord, Variant

    name = Path(placement.model.path).stem
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    variant = Variant(name, placement=placement, measurements=expected, edges=edges(placement.layers))
    write_atomic(path, render(RunRecord(name, created, variants=[variant])))
