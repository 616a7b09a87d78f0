"""`--exportLayerInfo`, the engine inspector's JSON, and the text of `--dumpLayerInfo`: the layers of the final engine.

Without `--profilingVerbosity=detailed` at build time only names are there. No public file with DLA layers exists: that
their `LayerType` is `DLA` is taken from a report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from dlaflow.parse.json_documents import as_fields, as_int, as_items, as_text, documents_of
from dlaflow.parse.text import Source, integer, text_of


@dataclass(frozen=True, slots=True)
class InfoTensor:
    """A tensor of a layer. `format` is the engine's prose, `datatype` the type read from it (FP32, FP16, INT8, ...)."""

    name: str
    dimensions: tuple[int, ...]
    format: str
    datatype: str
    location: str = ""


@dataclass(frozen=True, slots=True)
class InfoLayer:
    """A layer of the engine. `type` is empty and the rest bare when the file holds names alone."""

    name: str
    type: str = ""
    inputs: tuple[InfoTensor, ...] = ()
    outputs: tuple[InfoTensor, ...] = ()
    parameter_type: str = ""
    tactic: str = ""
    stream: int | None = None
    onnx_layers: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """All layers in execution order. `bindings` is empty in early 8.2 files."""

    layers: tuple[InfoLayer, ...]
    bindings: tuple[str, ...]
    detailed: bool
    complete: bool = True


_TYPES = (
    ("INT8", re.compile(r"\bint8\b", re.IGNORECASE)),
    ("FP8", re.compile(r"\b(?:fp8|float8)\b", re.IGNORECASE)),
    ("INT4", re.compile(r"\bint4\b", re.IGNORECASE)),
    ("BF16", re.compile(r"\b(?:bf16|bfloat16)\b", re.IGNORECASE)),
    ("FP16", re.compile(r"\b(?:fp16|half|float16)\b", re.IGNORECASE)),
    ("INT64", re.compile(r"\bint64\b", re.IGNORECASE)),
    ("INT32", re.compile(r"\bint32\b", re.IGNORECASE)),
    ("UINT8", re.compile(r"\buint8\b", re.IGNORECASE)),
    ("BOOL", re.compile(r"\bbool\b", re.IGNORECASE)),
    ("FP32", re.compile(r"\b(?:fp32|float32|float)\b", re.IGNORECASE)),
)
_ONNX_LAYER = re.compile(r"\[ONNX Layer: (.*?)\](?=[\x1e\x1f\[]|$)")
_NAME_LINE = re.compile(r'^(?:\{"Layers": ?\[|"Bindings": ?\[|,)?\s*"(.*)"\s*,?\s*$')
_ONE_LINE = re.compile(r"^Name: .+, LayerType: ", re.MULTILINE)
_DECODER = json.JSONDecoder(strict=False)
_KNOWN = frozenset(
    {"Name", "LayerType", "Inputs", "Outputs", "ParameterType", "TacticName", "TacticValue", "StreamId", "Metadata"}
)


def parse_layer_info(source: Source) -> LayerInfo:
    """Read layer information from a path or from text; never fails on text. Several documents are joined.

    Raises InputError when the file cannot be read.
    """
    text = text_of(source)
    found = documents_of(text)
    layers: list[InfoLayer] = []
    bindings: list[str] = []
    for value in found.values:
        fields = as_fields(value)
        items = as_items(fields.get("Layers")) if "Layers" in fields else [value] if "Name" in fields else []
        layers.extend(_layer(item) for item in items)
        bindings.extend(name for name in as_items(fields.get("Bindings")) if isinstance(name, str))
    if found.rest and not layers and _ONE_LINE.search(text):
        return _by_dump(text)
    if found.rest and not layers:
        return _by_elements(found.rest) if '"LayerType"' in found.rest else _by_lines(found.rest)
    return LayerInfo(tuple(layers), tuple(bindings), any(layer.type for layer in layers), complete=not found.rest)


def _by_dump(text: str) -> LayerInfo:
    """The inspector's other format, one layer a line, as `--dumpLayerInfo` prints it too."""
    body, _, names = text.partition("\nBindings:")
    layers = parse_dumped_layers(line.rstrip("\r") for line in body.split("\n") if _ONE_LINE.match(line))
    bindings = tuple(line.strip() for line in names.split("\n") if line.strip())
    return LayerInfo(layers, bindings, detailed=True)


def _by_elements(text: str) -> LayerInfo:
    """The whole layers of a torn detailed file."""
    layers: list[InfoLayer] = []
    _, _, body = text.partition('"Layers"')
    rest = body.lstrip(" :[\r\n\t")
    while rest.startswith("{"):
        try:
            value, end = _DECODER.raw_decode(rest)
        except (ValueError, RecursionError):
            break
        layers.append(_layer(value))
        rest = rest[end:].lstrip(" ,\r\n\t")
    return LayerInfo(tuple(layers), (), detailed=bool(layers), complete=False)


def _by_lines(text: str) -> LayerInfo:
    """Names of a torn file, or of one that unescaped names broke: each stands on its own line."""
    layers: list[InfoLayer] = []
    bindings: list[str] = []
    current: list[str] = []
    for line in text.split("\n"):
        if line.lstrip(" ],").startswith('"Bindings"'):
            layers = [InfoLayer(name) for name in current]
            current = []
        if match := _NAME_LINE.match(line.lstrip(" ]")):
            current.append(match.group(1))
    if layers:
        bindings = current
    else:
        layers = [InfoLayer(name) for name in current]
    return LayerInfo(tuple(layers), tuple(bindings), detailed=False, complete=False)


def _layer(value: object) -> InfoLayer:
    if isinstance(value, str):
        return InfoLayer(value)
    fields = as_fields(value)
    metadata = as_text(fields.get("Metadata"))
    return InfoLayer(
        name=as_text(fields.get("Name")),
        type=as_text(fields.get("LayerType")),
        inputs=tuple(_tensor(item) for item in as_items(fields.get("Inputs"))),
        outputs=tuple(_tensor(item) for item in as_items(fields.get("Outputs"))),
        parameter_type=as_text(fields.get("ParameterType")),
        tactic=as_text(fields.get("TacticName")) or as_text(fields.get("TacticValue")),
        stream=as_int(fields.get("StreamId")),
        onnx_layers=tuple(_ONNX_LAYER.findall(metadata)),
        parameters=tuple((key, as_text(item)) for key, item in fields.items() if key not in _KNOWN),
    )


def _tensor(value: object) -> InfoTensor:
    fields = as_fields(value)
    dims = tuple(size for item in as_items(fields.get("Dimensions")) if (size := as_int(item)) is not None)
    prose = as_text(fields.get("Format/Datatype"))
    return InfoTensor(as_text(fields.get("Name")), dims, prose, datatype_of(prose), as_text(fields.get("Location")))


def datatype_of(prose: str) -> str:
    """The type in a `Format/Datatype` text, or empty."""
    return next((name for name, expression in _TYPES if expression.search(prose)), "")


_DUMP_TENSOR = re.compile(
    r"\{ Name: (.*?),(?: Location: (\w+),)? Dimensions: \[([\d,-]*)\], Format/Datatype: (.*?) ?\}(?=,? ?(?:\{|$|\]))"
)


def parse_dumped_layers(lines: Iterable[str]) -> tuple[InfoLayer, ...]:
    """The layers of `--dumpLayerInfo` (`LogRun.layer_information`): detailed lines, or bare names."""
    return tuple(_dumped(line) for line in lines)


def _dumped(line: str) -> InfoLayer:
    head, marker, rest = line.partition(", LayerType: ")
    if not marker or not head.startswith("Name: "):
        return InfoLayer(line.strip())
    kind, _, body = rest.partition(", Inputs: [")
    inputs, _, after = body.partition("], Outputs: [")
    return InfoLayer(
        head.removeprefix("Name: "),
        kind,
        _dumped_tensors(inputs),
        _dumped_tensors(after),
        parameter_type=_field("ParameterType", line),
        tactic=_field("TacticName", line) or _field("TacticValue", line),
        stream=integer(_field("StreamId", line)),
        onnx_layers=tuple(_ONNX_LAYER.findall(line)),
    )


def _field(name: str, line: str) -> str:
    match = re.search(rf", {name}: ([^,]*)", line)
    return match.group(1).strip() if match else ""


def _dumped_tensors(text: str) -> tuple[InfoTensor, ...]:
    return tuple(
        InfoTensor(
            name=name,
            dimensions=tuple(size for part in dimensions.split(",") if (size := integer(part)) is not None),
            format=prose,
            datatype=datatype_of(prose),
            location=location,
        )
        for name, location, dimensions, prose in _DUMP_TENSOR.findall(text)
    )
