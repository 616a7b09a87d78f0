"""What is wrong with a calibration cache, alone or against the model that it is meant for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dlaflow.files import sha256_of
from dlaflow.graph.layer import ElementWise, Layer
from dlaflow.graph.load import load_model
from dlaflow.graph.lower import lower
from dlaflow.quantize.cache import CacheFile
from dlaflow.quantize.calibration import read_calibration, sidecar_of

_HUGE = 1e4
_TINY = 1e-7
"""Scales beyond these stand for activations above a million or below 0.00001: no trained network has them."""

_FLOATS = frozenset({"float32", "float16"})
_EQUAL_INPUTS = frozenset({"SUM", "SUB", "MAX", "MIN"})
_EQUAL = 1e-6
_CONVOLUTION = frozenset({"CONVOLUTION", "SCALE"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `kind` is a word such as missing, zero, infinite, unequal; `tensor` is "" for the whole file."""

    kind: str
    tensor: str
    message: str


def lint_cache(cache: CacheFile) -> list[Problem]:
    """What can be said without a model."""
    found = []
    if not cache.header:
        found.append(
            Problem("header", "", "no first line such as TRT-8502-EntropyCalibration2: TensorRT refuses the file")
        )
    elif cache.header.endswith("\r"):
        found.append(Problem("line ends", "", "lines end in CRLF, which TensorRT never writes: `tr -d '\\r'` mends it"))
    elif not cache.header.endswith("-EntropyCalibration2"):
        found.append(Problem("calibrator", "", f"{cache.header}: the DLA takes EntropyCalibration2 only"))
    seen: dict[str, float] = {}
    for entry in cache.entries:
        if not entry.name:
            continue
        if entry.name in seen and seen[entry.name] != entry.scale:
            found.append(Problem("duplicate", entry.name, f"two scales: {seen[entry.name]:g} and {entry.scale:g}"))
        seen[entry.name] = entry.scale
        found += _value(entry.name, entry.scale)
    return found


def lint_for_model(cache: CacheFile, path: Path, model: Path, tensorrt: str | None = None) -> list[Problem]:
    """What the cache at `path` does to `model`, as TensorRT `tensorrt` (default: the header's) parses it.

    Raises InputError when the model cannot be read.
    """
    release = tensorrt or cache.tensorrt or "8.5.2"
    network = lower(load_model(model), tensorrt=release)
    made = (tensor for layer in network.layers for tensor in layer.outputs)
    known = {tensor.name: tensor for tensor in (*network.inputs, *made)}
    constants = {name for name, tensor in known.items() if tensor.constant}
    found = [item for item in lint_cache(cache) if item.kind != "zero" or item.tensor not in constants]
    if tensorrt and cache.tensorrt and cache.tensorrt != tensorrt:
        message = f"the header is for TensorRT {cache.tensorrt}, not {tensorrt}: `dlaflow cache rename` changes it"
        found.append(Problem("release", "", message))
    found += _fingerprint(path, model)
    scales = cache.scales
    for name, tensor in known.items():
        if name not in scales and name not in constants and tensor.dtype in _FLOATS:
            found.append(Problem("missing", name, "no scale: the layers that touch it rise to FP16 or leave the DLA"))
    strangers = sorted(set(scales) - set(known))
    found += [
        Problem("stranger", name, f"{model.name} has no such tensor under TensorRT {release}") for name in strangers
    ]
    # A scale of exactly 1 behind a convolution is the sign for the compiler to fuse it with the sum that follows.
    convolved = {tensor.name for layer in network.layers if layer.kind in _CONVOLUTION for tensor in layer.outputs}
    compared = {name: scale for name, scale in scales.items() if scale != 1.0 or name not in convolved}
    for layer in network.layers:
        found += _unequal(layer, compared)
    return found


def _value(name: str, scale: float) -> list[Problem]:
    if math.isnan(scale) or math.isinf(scale):
        return [Problem("infinite", name, "the calibration broke down here: calibrate again")]
    if scale < 0:
        return [Problem("negative", name, f"scale {scale:g}")]
    if scale == 0:
        return [Problem("zero", name, "a zero scale: harmless on constants, wrong on activations")]
    if scale > _HUGE or scale < _TINY:
        return [Problem("huge" if scale > _HUGE else "tiny", name, f"scale {scale:g}: a range of {scale * 127:g}")]
    return []


def _fingerprint(path: Path, model: Path) -> Iterator[Problem]:
    sidecar = sidecar_of(path)
    if sidecar.is_file() and read_calibration(sidecar).model_sha256 != sha256_of(model):
        yield Problem(
            "other model", "", f"{sidecar.name} says that the cache was made for another file than {model.name}"
        )


def _unequal(layer: Layer, scales: dict[str, float]) -> Iterator[Problem]:
    """Concat wants one scale for all, a sum, difference, maximum or minimum one for its inputs."""
    summed = isinstance(layer.attributes, ElementWise) and layer.attributes.operation in _EQUAL_INPUTS
    if layer.folded or not (summed or layer.kind == "CONCATENATION"):
        return
    tensors = [*layer.inputs, *(layer.outputs if layer.kind == "CONCATENATION" else ())]
    values = {tensor.name: scales[tensor.name] for tensor in tensors if tensor.name in scales and not tensor.constant}
    if values and max(values.values()) > min(values.values()) * (1 + _EQUAL):
        text = ", ".join(f"{name} {scale:.4g}" for name, scale in values.items())
        what = "inputs and output" if layer.kind == "CONCATENATION" else "inputs"
        yield Problem("unequal", layer.name, f"{layer.kind}: the DLA wants one scale for its {what}, found {text}")
