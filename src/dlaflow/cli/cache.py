"""`dlaflow cache`: look into calibration caches, check them, and translate between them and Q/DQ models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from dlaflow.cli import terminal
from dlaflow.cli.options import Out
from dlaflow.errors import EXIT_DONE, EXIT_FINDINGS, InputError, UsageError
from dlaflow.files import atomic_path, write_atomic
from dlaflow.quantize.cache import CacheFile, Entry, header_for_reader, hex_of, read_cache, save_cache, write_cache
from dlaflow.quantize.calibration import scales_by_name
from dlaflow.quantize.choices import without_float_nodes
from dlaflow.quantize.coverage import cover, renamed
from dlaflow.quantize.lint import lint_cache, lint_for_model
from dlaflow.quantize.model import index, load_onnx
from dlaflow.quantize.qdq import write_qdq
from dlaflow.quantize.strip import float_nodes_of, strip_qdq
from dlaflow.quantize.strip import layer_precisions as precisions_of
from dlaflow.version import __version__

_HELP = """Look into INT8 calibration caches, check them, and translate them.

For example:

    dlaflow cache lint calib.cache --model model.onnx

    dlaflow cache from-qdq qat.onnx --plain plain.onnx --cache calib.cache
"""
cache = App(name="cache", help=_HELP)

Json = Annotated[Path | None, Parameter(help="Also write what was found to this file (schema dlaflow.cache/1).")]


def _record(path: Path | None, found: dict[str, object]) -> None:
    """Write a file of `--json`, where one is wanted."""
    if path is not None:
        body = msgspec.json.encode({"schema": "dlaflow.cache/1", "dlaflow": __version__, **found})
        write_atomic(path, msgspec.json.format(body, indent=1) + b"\n")


@cache.command
def show(file: Path, /, *, json: Json = None, quiet: terminal.Quiet = False) -> None:
    """Print a cache: each tensor with its scale and the range that 127 stands for."""
    found = read_cache(file)
    _record(json, {"header": found.header, "scales": found.scales})
    console = terminal.console(quiet=quiet)
    console.print(f"{file}: {found.header or 'no header'}, {len(found.scales)} scales", markup=False)
    for entry in found.entries:
        if entry.name:
            console.print(
                f"{hex_of(entry.scale):>8}  {entry.scale:<12.6g} ±{entry.scale * 127:<12.6g} {entry.name}", markup=False
            )


@cache.command
def lint(
    file: Path,
    /,
    *,
    model: Path | None = None,
    tensorrt: str | None = None,
    json: Json = None,
    quiet: terminal.Quiet = False,
) -> int:
    """Check a cache; with a model also for missing and strange names, unequal scales and the wrong model.

    Exit code 1 when there are findings.

    Parameters
    ----------
    model
        The ONNX model that the cache is for.
    tensorrt
        The version that will read it (default: the one in its header).
    """
    found = read_cache(file)
    problems = lint_for_model(found, file, model, tensorrt) if model else lint_cache(found)
    _record(json, {"problems": msgspec.to_builtins(problems)})
    console = terminal.console(quiet=quiet)
    for problem in problems:
        console.print(f"{problem.kind:<11} {problem.tensor or file.name}: {problem.message}", markup=False)
    count = "1 finding" if len(problems) == 1 else f"{len(problems)} findings"
    console.print(f"{count} in {len(found.scales)} scales" if problems else f"{file} is in order")
    return EXIT_FINDINGS if problems else EXIT_DONE


@cache.command
def merge(first: Path, /, *others: Path, out: Out, tensorrt: str | None = None) -> None:
    """Put caches together; for a tensor in several, the last file decides. The header is the first file's."""
    merged = read_cache(first)
    scales = merged.scales
    for other in others:
        scales.update(read_cache(other).scales)
    header = header_for_reader(tensorrt) if tensorrt else merged.header
    save_cache(CacheFile(header, tuple(Entry(name, scale) for name, scale in scales.items())), out)
    terminal.console().print(f"Wrote {out}: {len(scales)} scales from {1 + len(others)} files")


@cache.command
def rename(file: Path, /, *pairs: str, out: Out, tensorrt: str | None = None, model: Path | None = None) -> None:
    """Change the header's version, or names of tensors given as OLD=NEW; everything else stays byte for byte.

    Parameters
    ----------
    tensorrt
        The version for the header.
    model
        With --tensorrt: the ONNX model; the parser's own tensors then get the names of that version too.
    """
    found = read_cache(file)
    if not pairs and tensorrt is None:
        raise UsageError("nothing to rename", expected="--tensorrt VERSION or OLD=NEW", received="neither")
    if model is not None and tensorrt is None:
        raise UsageError("--model makes no sense alone", expected="--tensorrt VERSION too", received="none")
    entries = list(found.entries)
    for pair in pairs:
        old, separator, new = pair.rpartition("=")
        if not separator or not old or not new:
            raise UsageError("a renaming makes no sense", expected="OLD=NEW", received=repr(pair))
        if old not in found.scales:
            raise InputError(f"{file} has no tensor {old!r}", then="`dlaflow cache show` lists them.")
        entries = [Entry(new, entry.scale) if entry.name == old else entry for entry in entries]
    header = header_for_reader(tensorrt) if tensorrt else found.header
    changed = replace(found, header=header, entries=tuple(entries))
    if model is not None and tensorrt is not None:
        moved = renamed(model, changed.scales, found.tensorrt or tensorrt, tensorrt)
        changed = CacheFile(header, tuple(Entry(name, scale) for name, scale in moved.scales.items()))
    save_cache(changed, out)
    terminal.console().print(f"Wrote {out}: {header}")


@cache.command
def diff(left: Path, right: Path, /, *, json: Json = None, quiet: terminal.Quiet = False) -> None:
    """Compare two caches: tensors that only one has, and scales that differ."""
    before, after = read_cache(left), read_cache(right)
    differing = {
        name: [before.scales.get(name), after.scales.get(name)]
        for name in dict.fromkeys([*before.scales, *after.scales])
        if before.scales.get(name) != after.scales.get(name)
    }
    _record(json, {"headers": [before.header, after.header], "differing": differing})
    console = terminal.console(quiet=quiet)
    if before.header != after.header:
        console.print(f"header   {before.header or 'none'} | {after.header or 'none'}", markup=False)
    for name, scale in before.scales.items():
        other = after.scales.get(name)
        if other is None:
            console.print(f"only in {left.name}  {name}", markup=False)
        elif hex_of(other) != hex_of(scale):
            ratio = f"{other / scale:.3f} times" if scale else "was zero"
            console.print(f"{scale:.6g} | {other:.6g}  ({ratio})  {name}", markup=False)
    for name in after.scales.keys() - before.scales.keys():
        console.print(f"only in {right.name}  {name}", markup=False)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Parts:
    """What to write of a Q/DQ model."""

    cache: Path
    """The calibration cache."""
    plain: Path
    """The model without Q/DQ."""
    layer_precisions: Path | None = None
    """The value for trtexec's --layerPrecisions: layers that were not quantised, as name:fp16."""
    tensorrt: str = "8.5.2"
    """The version in the cache's header; it also decides the names of the parser's own tensors."""


@cache.command(name="from-qdq")
def from_qdq(model: Path, /, *, parts: Parts) -> None:
    """Translate a Q/DQ model (pytorch-quantization, ModelOpt, onnxruntime) into a plain model and a cache."""
    import onnx

    header_for_reader(parts.tensorrt)
    stripped = strip_qdq(model)
    with atomic_path(parts.plain) as temporary:
        onnx.save(stripped.model, str(temporary))
    covered = cover(parts.plain, scales_by_name(stripped.scales), parts.tensorrt)
    write_cache(covered.scales, parts.tensorrt, parts.cache)
    if parts.layer_precisions is not None:
        write_atomic(parts.layer_precisions, precisions_of(stripped.float_nodes))
    console = terminal.console()
    console.print(f"Wrote {parts.plain} without Q/DQ and {parts.cache}: {len(covered.scales)} scales")
    for name in covered.missing:
        console.print(f"no scale for {name}: its layers run in FP16", markup=False)
    if stripped.float_nodes:
        console.print(
            f"{len(stripped.float_nodes)} layers were not quantised: {', '.join(stripped.float_nodes)}", markup=False
        )


@cache.command(name="to-qdq")
def to_qdq(file: Path, model: Path, /, *, out: Out, layer_precisions: Path | None = None) -> None:
    """Write the Q/DQ version of a plain model from its cache; entries that the model does not have are left out.

    Parameters
    ----------
    layer_precisions
        A file such as from-qdq writes: its layers stay in FP16.
    """
    float_nodes = float_nodes_of(layer_precisions) if layer_precisions is not None else ()
    without_float_nodes(index(load_onnx(model)), {}, float_nodes)
    write_qdq(model, scales_by_name(read_cache(file).scales), out, float_nodes=float_nodes)
    terminal.console().print(f"Wrote {out}: INT8 with Q/DQ")
