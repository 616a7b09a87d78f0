"""`dlaflow cache`: look into calibration caches, check them, and translate between them and Q/DQ models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from dlaflow.api import cache as use
from dlaflow.api.claims import Written
from dlaflow.cli import terminal
from dlaflow.cli.options import Out, group
from dlaflow.errors import EXIT_DONE, EXIT_FINDINGS
from dlaflow.files import record_json, write_atomic
from dlaflow.quantize.cache import hex_of, read_cache
from dlaflow.quantize.lint import lint_cache, lint_for_model

_HELP = """Look into INT8 calibration caches, check them, and translate them.

For example:

    dlaflow cache lint calib.cache --model model.onnx

    dlaflow cache from-qdq qat.onnx --plain plain.onnx --cache calib.cache
"""
cache = App(name="cache", help=_HELP)

Json = Annotated[Written | None, Parameter(help="Also write what was found to this file (schema dlaflow.cache/1).")]


def _record(path: Path | None, found: dict[str, object]) -> None:
    """Write a file of `--json`, where one is wanted."""
    if path is not None:
        write_atomic(path, record_json("dlaflow.cache/1", found))


@cache.command
def show(file: Path, /, *, json: Json = None, quiet: terminal.Quiet = False) -> None:
    """Print a cache: each tensor with its scale and the range that 127 stands for."""
    found = read_cache(file)
    _record(json, {"header": found.header, "scales": found.scales})
    lines = (
        f"{hex_of(entry.scale):>8}  {entry.scale:<12.6g} ±{entry.scale * 127:<12.6g} {entry.name}"
        for entry in found.entries
        if entry.name
    )
    terminal.say(f"{file}: {found.header or 'no header'}, {len(found.scales)} scales", *lines, quiet=quiet)


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
    _record(json, {"problems": problems})
    lines = [f"{problem.kind:<11} {problem.tensor or file.name}: {problem.message}" for problem in problems]
    terminal.say(*lines, quiet=quiet)
    count = "1 finding" if len(problems) == 1 else f"{len(problems)} findings"
    summary = f"{count} in {len(found.scales)} scales" if problems else f"{file} is in order"
    terminal.console(quiet=quiet).print(summary)
    return EXIT_FINDINGS if problems else EXIT_DONE


@cache.command
def merge(first: Path, /, *others: Path, out: Out, tensorrt: str | None = None) -> None:
    """Put caches together; for a tensor in several, the last file decides. The header is the first file's."""
    merged = use.merge_caches([first, *others], out, tensorrt)
    terminal.say(f"Wrote {out}: {len(merged.scales)} scales from {1 + len(others)} files")


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
    changed = use.rename_cache(file, pairs, out, tensorrt, model)
    terminal.say(f"Wrote {out}: {changed.header}")


@cache.command
def diff(left: Path, right: Path, /, *, json: Json = None, quiet: terminal.Quiet = False) -> None:
    """Compare two caches: tensors that only one has, and scales that differ."""
    caches = read_cache(left), read_cache(right)
    (old, new), (was, now) = (cache.header for cache in caches), (cache.scales for cache in caches)
    differing = {name: [was.get(name), now.get(name)] for name in {**was, **now} if was.get(name) != now.get(name)}
    _record(json, {"headers": [old, new], "differing": differing})
    lines = [f"header   {old or 'none'} | {new or 'none'}"] if old != new else []
    for name, (scale, other) in differing.items():
        if scale is None or other is None:
            lines.append(f"only in {(right if scale is None else left).name}  {name}")
        elif hex_of(other) != hex_of(scale):
            ratio = f"{other / scale:.3f} times" if scale else "was zero"
            lines.append(f"{scale:.6g} | {other:.6g}  ({ratio})  {name}")
    terminal.say(*lines, quiet=quiet)


@group
@dataclass(frozen=True, kw_only=True)
class Parts(use.FromQdqOptions):
    """What to write of a Q/DQ model, and where the scales come from that it lacks."""

    quiet: terminal.Quiet = False


@cache.command(name="from-qdq")
def from_qdq(model: Path, /, *, parts: Parts) -> None:
    """Translate a Q/DQ model (pytorch-quantization, ModelOpt, onnxruntime) into a plain model and a cache.

    A tensor that the model has no pair around takes a measured scale (--fill or --data), else one that follows from its
    operator: 1 for a sigmoid, its output's for what goes into a Concat.
    """
    found = use.from_qdq(model, parts, terminal.progress(quiet=parts.quiet))
    lines = [f"Wrote {parts.plain} without Q/DQ and {parts.cache}: {found.scales} scales"]
    bounded = [name for name, scale in found.inferred.items() if not scale.may_clip]
    if found.measured:
        lines.append(f"{found.measured} of them are measured")
    if bounded:
        lines.append(f"{len(bounded)} follow from their operators and clip nothing: {', '.join(bounded)}")
    lines += [
        f"{name} has a guessed scale, {scale.scale:.4g} from {scale.origin}: it may clip; --fill or --data measures it"
        for name, scale in found.inferred.items()
        if scale.may_clip
    ]
    hint = "" if parts.fill or parts.data else "; --fill CACHE or --data IMAGES measures one"
    lines += [f"no scale for {name}: its layers run in FP16{hint}" for name in found.missing]
    if found.float_nodes:
        lines.append(f"{len(found.float_nodes)} layers were not quantised: {', '.join(found.float_nodes)}")
    terminal.say(*lines, quiet=parts.quiet)


@cache.command(name="to-qdq")
def to_qdq(file: Path, model: Path, /, *, out: Out, layer_precisions: Path | None = None) -> None:
    """Write the Q/DQ version of a plain model from its cache; entries that the model does not have are left out.

    Parameters
    ----------
    layer_precisions
        A file such as from-qdq writes: its layers stay in FP16.
    """
    use.to_qdq(file, model, out, layer_precisions)
    terminal.say(f"Wrote {out}: INT8 with Q/DQ")
