"""cache: calibration caches put together, renamed, and translated from and to Q/DQ models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from dlaflow.api.claims import OutFile, Use
from dlaflow.api.images import ImageOptions, select
from dlaflow.api.keywords import File
from dlaflow.errors import InputError, UsageError
from dlaflow.files import is_stream, together, waiting, write_atomic
from dlaflow.graph.load import as_model
from dlaflow.progress import Progress, silent
from dlaflow.quantize.cache import CacheFile, Entry, header_for_reader, read_cache, save_cache, write_cache
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import CalibrationConfig, scales_by_name
from dlaflow.quantize.coverage import cover, renamed
from dlaflow.quantize.images import in_batches
from dlaflow.quantize.infer import Inferred, fill, infer_scales
from dlaflow.quantize.model import index, network_inputs
from dlaflow.quantize.plan import plan, with_residual_ones, without_float_nodes
from dlaflow.quantize.qdq import write_qdq
from dlaflow.quantize.strip import float_nodes_of, layer_precisions, strip_qdq

_SAMPLES = 512


def merge_caches(caches: Sequence[Path], out: Path, tensorrt: str | None = None) -> CacheFile:
    """Put caches together and write `out`; for a tensor in several, the last file decides.

    The header is the first file's, or that of `tensorrt`. Raises InputError for a file that is no cache.
    """
    read = [read_cache(path) for path in caches]
    scales = {name: scale for each in read for name, scale in each.scales.items()}
    return _saved(header_for_reader(tensorrt) if tensorrt else read[0].header, scales, out)


def rename_cache(
    file: Path, pairs: Sequence[str], out: Path, tensorrt: str | None = None, model: Path | None = None
) -> CacheFile:
    """Change names given as OLD=NEW and, with `tensorrt`, the header; write `out`.

    With `model` the parser's own tensors get the names of that release too. Raises UsageError for a renaming that makes
    no sense and InputError for a tensor that the cache does not have.
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
        return _saved(header, moved.scales, out)
    save_cache(changed, out)
    return changed


def _saved(header: str, scales: Mapping[str, float], out: Path) -> CacheFile:
    cache = CacheFile(header, tuple(Entry(name, scale) for name, scale in scales.items()))
    save_cache(cache, out)
    return cache


@dataclass(frozen=True, kw_only=True)
class FromQdqOptions(ImageOptions):
    """What to write of a Q/DQ model, and where the scales come from that it lacks."""

    cache: OutFile
    """The calibration cache."""
    plain: OutFile
    """The model without Q/DQ."""
    layer_precisions: OutFile | None = None
    """The value for trtexec's --layerPrecisions: layers that were not quantised, as name:fp16."""
    tensorrt: str = "8.5.2"
    """The version in the cache's header; it also decides the names of the parser's own tensors."""
    fill: File | None = None
    """A cache of the plain model, for tensors that the Q/DQ model has no scale for."""
    data: Annotated[Sequence[str], Use.READ] = ()
    """The same from images: the plain model is calibrated on them (entropy)."""
    guess: bool = False
    """Also infer scales that may clip: back through means and gates, one for all operands of a sum or Concat."""
    residual_ones: bool = False
    """Write 1.0 for an unscaled convolution before a residual sum: DLA software 3.13 or later then fuses both."""


@dataclass(frozen=True, slots=True)
class Translated:
    """How many scales the cache has, the tensors without one, and the layers that were not quantised.

    `inferred` are the scales that follow from operators, `measured` counts those of `--fill` or `--data`.
    """

    scales: int
    missing: tuple[str, ...]
    float_nodes: tuple[str, ...]
    inferred: Mapping[str, Inferred]
    measured: int


def from_qdq(model: Path, options: FromQdqOptions, progress: Progress = silent) -> Translated:
    """Translate a Q/DQ model into a plain model and a cache.

    A tensor takes the scale that the model has for it, else a measured one, else one that follows from its operator.
    Raises UsageError for a release that reads no cache, InputError for a model or images that cannot be used.
    """
    header_for_reader(options.tensorrt)
    if is_stream(options.plain):
        raise UsageError("the plain model is read again", expected="a file", received=options.plain)
    if options.fill is not None and options.data:
        raise UsageError("two sources of scales", expected="--fill or --data", received="both")
    stripped = strip_qdq(model)
    with together():
        write_atomic(options.plain, stripped.model.SerializeToString())
        plain = waiting(Path(options.plain))
        graph = index(stripped.model)
        tensors = plan(graph)
        beside = _measured(plain, options, progress)
        if beside and beside.keys().isdisjoint(tensors.tensors):
            raise InputError(
                f"{options.fill} is not of this model", expected="its tensors", received=", ".join(list(beside)[:3])
            )
        measured = fill(graph, tensors, stripped.scales, beside)
        known = {**stripped.scales, **measured}
        inferred = infer_scales(graph, tensors, known, guess=options.guess)
        known |= {name: found.scale for name, found in inferred.items()}
        covered = cover(plain, scales_by_name(known), options.tensorrt)
        scales = covered.scales
        if options.residual_ones:
            kept = {
                name for node in graph.proto.graph.node if node.name in stripped.float_nodes for name in node.output
            }
            scales = with_residual_ones(graph, scales, set(tensors.tensors) - stripped.scales.keys() - kept)
        write_cache(scales, options.tensorrt, Path(options.cache))
        if options.layer_precisions is not None:
            write_atomic(options.layer_precisions, f"{layer_precisions(stripped.float_nodes)}\n")
    inferred = {name: found for name, found in inferred.items() if scales.get(name) == found.scale}
    missing = tuple(name for name in covered.missing if name not in scales)
    return Translated(len(scales), missing, tuple(stripped.float_nodes), inferred, len(measured))


def _measured(plain: Path, options: FromQdqOptions, progress: Progress) -> Mapping[str, float]:
    """The scales of `--fill`, or of a calibration on `--data`."""
    if options.fill is not None:
        return read_cache(Path(options.fill)).scales
    if not options.data:
        return {}
    inputs = network_inputs(as_model(plain).proto)
    images = select(options.data, options, inputs, train=True, default=_SAMPLES, progress=progress).images
    config = CalibrationConfig(images=len(images))
    return calibrate(plain, lambda: in_batches(images, options.batch), config, progress).scales


def to_qdq(cache: Path, model: Path, out: Path, precisions: Path | None = None) -> None:
    """Write the Q/DQ version of a plain model from its cache; entries that the model does not have are left out.

    The layers in the file `precisions`, such as `from_qdq` writes, stay in FP16. Raises UsageError for layers that the
    model does not have, InputError for files that cannot be used.
    """
    float_nodes = float_nodes_of(precisions) if precisions is not None else ()
    without_float_nodes(index(as_model(model).proto), {}, float_nodes)
    write_qdq(model, scales_by_name(read_cache(cache).scales), out, float_nodes=float_nodes)
