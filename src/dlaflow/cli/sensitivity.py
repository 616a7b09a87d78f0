"""`dlaflow sensitivity`: which layers INT8 hurts, and the smallest set to keep in FP16."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from dlaflow.api.claims import Written
from dlaflow.api.sensitivity import Ranked, SensitivityOptions, rank_layers
from dlaflow.cli import terminal
from dlaflow.cli.options import Source, group
from dlaflow.files import record_json, together, write_atomic

SCHEMA = "dlaflow.sensitivity/1"


@group
@dataclass(frozen=True, kw_only=True)
class Searching(SensitivityOptions):
    """What to look for and what to write."""

    json: Written | None = None
    """Write the ranking to this file."""
    quiet: terminal.Quiet = False


def sensitivity(model: Path, /, *, source: Source, how: Searching = Searching()) -> None:
    """Rank layers by the damage that INT8 alone does, and propose the smallest set to keep in FP16.

    Half of the images calibrate, the other half measures: top-1 where there are labels, else what the outputs have in
    common with those of the float model, as for `evaluate`.

    For example:

        dlaflow sensitivity model.onnx --data cifar10 --max-drop 0.1 --layer-precisions keep.txt --qdq mixed.onnx

    Parameters
    ----------
    model
        The float32 ONNX model.
    """
    with together():
        found = rank_layers(model, source.data, source, how, terminal.progress(quiet=how.quiet))
        if how.json is not None:
            write_atomic(how.json, record_json(SCHEMA, {"model": str(model), **asdict(found.sensitivity)}))
    if not how.quiet:
        _print(found)


def _print(ranked: Ranked) -> None:
    from rich.table import Table

    found = ranked.sensitivity
    table = Table("layer", "kind", title=f"INT8 in one layer alone, {found.images} images", title_justify="left")
    for heading in ("output error", "same class", "top-1"):
        table.add_column(heading, justify="right")
    for layer in found.layers:
        top1 = "" if layer.top1 is None else f"{layer.top1:.2%}"
        table.add_row(layer.node, layer.op, f"{layer.error:.2e}", f"{layer.agreement:.2%}", top1)
    console = terminal.console()
    console.print(table)
    what = "top-1" if ranked.labelled else "agreement"
    console.print(f"All layers in INT8 lose {found.drop_all:.2f} points of {what}; {found.max_drop:g} are allowed.")
    if not found.keep:
        console.print("No layer needs FP16.")
    else:
        console.print(f"Keep {len(found.keep)} in FP16 (then {found.drop:.2f} points): {', '.join(found.keep)}")
        if ranked.by_precisions:
            console.print("Say so with --fp16-nodes of calibrate, or trtexec's --layerPrecisions (--layer-precisions).")
        else:
            console.print("This release takes them from the file: write it with --qdq, or calibrate --fp16-nodes.")
        if found.drop > found.max_drop:
            console.print("Even so the limit is not met: try --method auto, or more images.")
