"""`dlaflow loadable`: look at, run, time and evaluate a DLA loadable through cuDLA, on the board itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cyclopts import App
from numpy.typing import NDArray

from dlaflow.api import loadable as use
from dlaflow.api.claims import Written
from dlaflow.cli import terminal
from dlaflow.cli.options import InputTexts, Source, group
from dlaflow.errors import UsageError
from dlaflow.files import record_json, together, write_atomic
from dlaflow.quantize.feed import npz_of
from dlaflow.report.json import measurements_json
from dlaflow.runtime.loadable import LoadableRunner

_HELP = """Look at, run, time and evaluate a DLA loadable (a standalone build), through cuDLA's hybrid mode.

It needs a Jetson with a DLA, libcudla.so.1 and the CUDA runtime; no TensorRT and no package. From a desk:
`dlaflow remote BOARD loadable inspect|run|bench|evaluate`.

For example:

    dlaflow loadable inspect model.loadable

    dlaflow loadable run model.loadable --input x.npy --cache calib.cache --out outputs.npz

    dlaflow loadable bench model.loadable --core 1 --runs 200
"""
loadable = App(name="loadable", help=_HELP)


@group
@dataclass(frozen=True, kw_only=True)
class Where(use.LoadableOptions):
    """Where it runs, and how floats become INT8."""


@group
@dataclass(frozen=True, kw_only=True)
class Timing(use.LoadableTiming):
    """How tasks are timed."""


def require_clock(statistics: Path | None, timing: Timing) -> None:
    """Raises UsageError for a file of layer times without a clock, and the reverse."""
    if (statistics is None) != (timing.dla_mhz is None):
        raise UsageError("layer times need a file and the clock", expected="--statistics FILE --dla-mhz N")


@loadable.command
def inspect(
    file: Path, /, *, how: Where | None = None, json: Written | None = None, quiet: terminal.Quiet = False
) -> None:
    """Load a loadable and tell its inputs and outputs: name, layout, type, size, strides. The file is not parsed.

    Parameters
    ----------
    file
        The loadable.
    json
        Also write them to this file (schema dlaflow.loadable/1).
    """
    with use.opened(file, how or Where()) as (session, runner):
        version, through = session.version, session.through
        sides = ("input", runner.input_layouts), ("output", runner.output_layouts)
    if json is not None:
        rows = [
            {"side": side, "layout": layout.name, **layout.tensor._asdict()}
            for side, layouts in sides
            for layout in layouts.values()
        ]
        write_atomic(json, record_json("dlaflow.loadable/1", {"cudla": version, "through": through, "tensors": rows}))
    if quiet:
        return
    terminal.say(f"cuDLA {version} ({through})", *tensor_lines(runner))


def tensor_lines(runner: LoadableRunner) -> list[str]:
    """Each tensor of a loadable in a line."""
    lines = []
    for side, layouts in (("input ", runner.input_layouts), ("output", runner.output_layouts)):
        for name, layout in layouts.items():
            dims, strides = ("x".join(map(str, each)) for each in (layout.tensor.dims, layout.tensor.strides[:3]))
            lines.append(f"{side} {name} {dims} {layout.dtype.name}:{layout.name}, {layout.tensor.size:,} bytes, ")
            lines[-1] += f"strides {strides.replace('x', ', ')}"
    return lines


def output_lines(outputs: Mapping[str, NDArray[np.float32]]) -> list[str]:
    """Each output in a line: its shape and the range of its values."""
    return [
        f"{name} {list(values.shape)}: {values.min():.6g} to {values.max():.6g}, "
        f"mean {values.mean(dtype=np.float64):.6g}"
        for name, values in outputs.items()
    ]


@loadable.command
def run(
    file: Path,
    /,
    *,
    input: InputTexts,
    out: Written | None = None,
    how: Where | None = None,
    quiet: terminal.Quiet = False,
) -> None:
    """Run a loadable on arrays: packed into its layout, INT8 by the cache's scale, and back.

    Parameters
    ----------
    file
        The loadable.
    input
        A .npy [n, c, h, w], any n; NAME=FILE.npy for each of several inputs. Floats are quantised; an array of the
        tensor's own type is taken as it is.
    out
        The outputs by name, float32, to this .npz.
    """
    how = how or Where()
    with use.opened(file, how) as (_, runner):
        outputs = use.run_inputs(input, runner)
    if out is not None:
        write_atomic(out, npz_of(outputs))
    if not quiet:
        terminal.say(*output_lines(outputs))
        terminal.say(f"core {how.core}; INT8 inputs rounded {how.rounding}")


@loadable.command
def bench(
    file: Path,
    /,
    *,
    timing: Timing | None = None,
    statistics: Written | None = None,
    how: Where | None = None,
    json: Written | None = None,
    quiet: terminal.Quiet = False,
) -> None:
    """Time tasks on the DLA by CUDA events, without the copies; its layers one by one where cuDLA counts them.

    Parameters
    ----------
    file
        The loadable.
    statistics
        cuDLA's times of each layer as CSV to this file; needs --dla-mhz.
    json
        Also write the measurements to this file.
    """
    timing = timing or Timing()
    require_clock(statistics, timing)
    rows, texts = use.bench_loadable(file, how or Where(), timing)
    with together():
        if statistics is not None:
            write_atomic(statistics, "\n".join(texts))
        if json is not None:
            write_atomic(json, measurements_json(rows))
    if not quiet:
        for row in rows:
            spread = f" ± {row.spread:.4f}" if row.spread is not None else ""
            terminal.say(f"{row.quantity} {row.value:.4f}{spread} {row.unit}")
        terminal.say(f"{rows[0].n} tasks; {rows[0].detail}")
        terminal.say(*[f"DLA clock {timing.dla_mhz} MHz, as told"] if timing.dla_mhz else [])


@loadable.command
def evaluate(
    file: Path,
    /,
    *,
    source: Source,
    how: Where | None = None,
    json: Written | None = None,
    quiet: terminal.Quiet = False,
) -> None:
    """Measure the top-1 of a loadable on the DLA itself, with its 95% interval.

    Parameters
    ----------
    file
        The loadable.
    json
        Also write the measurements to this file.
    """
    accuracy, images = use.evaluate_loadable(file, source.data, source, how or Where(), terminal.progress(quiet=quiet))
    if json is not None:
        write_atomic(json, measurements_json([accuracy.top1_measurement(file.stem, images)]))
    terminal.say(terminal.top1_line(str(file), accuracy, images), quiet=quiet)
