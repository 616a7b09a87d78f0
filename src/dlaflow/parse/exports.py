"""What trtexec exports: the layer profile, the times of every query, the outputs, and the layers of the final engine;
and the statistics of NVIDIA's cuDLA samples. Several documents may stand in one file, when runs were appended.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from dlaflow.parse.log import Profile, ProfileRow
from dlaflow.parse.text import (
    Source,
    as_fields,
    as_float,
    as_int,
    as_items,
    as_text,
    documents_of,
    integer,
    integers,
    lines_of,
    number,
    text_of,
)

_ITEM = re.compile(
    r'\{\s*"count"\s*:\s*(?P<count>\d+)\s*\}'
    r'|\{\s*"name"\s*:\s*"(?P<name>.{0,8000}?)"\s*,\s*"timeMs"\s*:\s*(?P<timeMs>[^\s,]+)\s*,\s*"averageMs"\s*:\s*(?P<averageMs>[^\s,]+)'
    r'\s*,(?:\s*"medianMs"\s*:\s*(?P<medianMs>[^\s,]+)\s*,)?\s*"percentage"\s*:\s*(?P<percentage>[^\s}]+)\s*\}?'
)


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """The profiles of one file. `complete` is false when its end is torn or lines could not be read."""

    profiles: tuple[Profile, ...]
    complete: bool


def parse_profile(source: Source) -> ProfileFile:
    """Read the profiles of `--exportProfile` from a path or from text: one JSON array a run.

    The C++ code writes names unescaped, so a name with a quote or a backslash breaks the JSON: then each row is read
    alone. Never fails on text; raises InputError when the file cannot be read.
    """
    text = text_of(source)
    found = documents_of(text)
    if found.rest:
        return _by_rows(text)
    profiles = tuple(profile for value in found.values if (profile := _profile(value)) is not None)
    return ProfileFile(profiles, complete=bool(profiles))


def _profile(value: object) -> Profile | None:
    iterations: int | None = None
    rows = []
    for item in as_items(value):
        fields = as_fields(item)
        if "count" in fields:
            iterations = as_int(fields["count"])
        elif isinstance(name := fields.get("name"), str) and "percentage" in fields:
            figures = [as_float(fields.get(key)) for key in ("timeMs", "averageMs", "percentage")]
            total, average, percent = (math.nan if figure is None else figure for figure in figures)
            rows.append(ProfileRow(name, total, average, as_float(fields.get("medianMs")), percent))
    return Profile(iterations, tuple(rows)) if rows or iterations is not None else None


def _by_rows(text: str) -> ProfileFile:
    """Each row stands on its own: read what can be read."""
    documents: list[list[dict[str, object]]] = [[]]
    for match in _ITEM.finditer(text):
        if match["count"]:
            documents.append([{"count": integer(match["count"]) or 0}])
        else:
            figures = {key: number(match[key] or "") for key in ("timeMs", "averageMs", "medianMs", "percentage")}
            documents[-1].append({"name": match["name"], **figures})
    left = _ITEM.sub("", text).strip("\ufeff[], \t\r\n")
    profiles = tuple(profile for document in documents if (profile := _profile(document)) is not None)
    return ProfileFile(profiles, complete=not left and text.rstrip().endswith("]"))


@dataclass(frozen=True, slots=True)
class QuerySpan:
    """Milliseconds since the run began; None where the release does not write it."""

    start: float | None
    end: float | None


@dataclass(frozen=True, slots=True)
class Query:
    """One inference. `end_to_end_ms` is missing from 8.4 on, `enqueue` in 7.0."""

    enqueue: QuerySpan
    h2d: QuerySpan
    compute: QuerySpan
    d2h: QuerySpan
    h2d_ms: float | None
    compute_ms: float | None
    d2h_ms: float | None
    latency_ms: float | None
    end_to_end_ms: float | None


@dataclass(frozen=True, slots=True)
class TimesFile:
    """All queries of a file, warm-ups included up to 8.4.

    `swapped`: the file is of 7.1 or 7.2, which write the start of enqueue and input under each other's name;
    the record has them right.
    """

    queries: tuple[Query, ...]
    swapped: bool
    complete: bool


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """An output of `--exportOutput`; `dimensions` lack the batch in implicit-batch engines of 7.x."""

    name: str
    dimensions: tuple[int, ...]
    values: tuple[float, ...]


def parse_times(source: Source) -> TimesFile:
    """Read the query times of `--exportTimes`; never fails on text. Raises InputError when the file cannot be read."""
    text = text_of(source)
    closed = _closed(text)
    found = documents_of(closed)
    records = [as_fields(item) for value in found.values for item in as_items(value)]
    records = [record for record in records if "computeMs" in record]
    swapped = _is_swapped(records)
    complete = not found.rest and closed is text
    return TimesFile(tuple(_query(record, swapped) for record in records), swapped, complete)


def _closed(text: str) -> str:
    """Close an array that was torn after a whole element, so that what is there can be read."""
    body = text.rstrip()
    if not body.startswith("[") or body.endswith("]"):
        return text
    end = body.rfind("}")
    return body[: end + 1] + "]" if end > 0 else text


def _is_swapped(records: list[dict[str, object]]) -> bool:
    """Whether the copy-in time equals the span named enqueue rather than the one named input."""
    votes = 0
    for record in records[:50]:
        named, other = _length(record, "In"), _length(record, "Enq")
        copy = as_float(record.get("inMs"))
        if copy is not None and named is not None and other is not None:
            votes += 1 if abs(other - copy) < abs(named - copy) else -1
    return votes > 0


def _span(record: dict[str, object], name: str) -> QuerySpan:
    return QuerySpan(as_float(record.get(f"start{name}Ms")), as_float(record.get(f"end{name}Ms")))


def _length(record: dict[str, object], name: str) -> float | None:
    span = _span(record, name)
    return None if span.start is None or span.end is None else span.end - span.start


def _query(record: dict[str, object], swapped: bool) -> Query:
    def span(*names: str) -> QuerySpan:
        return _span(record, next((each for each in names if f"start{each}Ms" in record), names[0]))

    enqueue, copy_in = span("Enq"), span("H2d", "In")
    if swapped:
        enqueue, copy_in = copy_in, enqueue
    return Query(
        enqueue=enqueue,
        h2d=copy_in,
        compute=span("Compute"),
        d2h=span("D2h", "Out"),
        h2d_ms=as_float(record.get("h2dMs", record.get("inMs"))),
        compute_ms=as_float(record.get("computeMs")),
        d2h_ms=as_float(record.get("d2hMs", record.get("outMs"))),
        latency_ms=as_float(record.get("latencyMs")),
        end_to_end_ms=as_float(record.get("endToEndMs")),
    )


def parse_output(source: Source) -> tuple[OutputTensor, ...]:
    """Read the outputs of `--exportOutput`; never fails on text. Raises InputError when the file cannot be read."""
    tensors = []
    for value in documents_of(_closed(text_of(source))).values:
        for item in as_items(value):
            fields = as_fields(item)
            if "values" not in fields:
                continue
            dims = integers(as_text(fields.get("dimensions")).split("x"))
            values = tuple(number for each in as_items(fields["values"]) if (number := as_float(each)) is not None)
            tensors.append(OutputTensor(as_text(fields.get("name")), dims, values))
    return tuple(tensors)


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
_KNOWN = frozenset(
    {"Name", "LayerType", "Inputs", "Outputs", "ParameterType", "TacticName", "TacticValue", "StreamId", "Metadata"}
)


def parse_layer_info(source: Source) -> LayerInfo:
    """Read `--exportLayerInfo`, the engine inspector's JSON or the text of `--dumpLayerInfo`, from a path or from text.

    Without `--profilingVerbosity=detailed` at build time only names are there. No public file with DLA layers exists:
    that their `LayerType` is `DLA` is taken from a report. Several documents are joined. Never fails on text; raises
    InputError when the file cannot be read.
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
    _, _, body = text.partition('"Layers"')
    elements = documents_of(body.lstrip(" :[\r\n\t"), between=",").values
    layers = tuple(_layer(element) for element in elements if isinstance(element, dict))
    return LayerInfo(layers, (), detailed=bool(layers), complete=False)


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
            dimensions=integers(dimensions.split(",")),
            format=prose,
            datatype=datatype_of(prose),
            location=location,
        )
        for name, location, dimensions, prose in _DUMP_TENSOR.findall(text)
    )


@dataclass(frozen=True, slots=True)
class CudlaLayer:
    """One layer inside a DLA loadable. `other` keeps the columns without a field of their own, in file order."""

    name: str
    start_ms: float | None
    end_ms: float | None
    compute_precision: str
    other: tuple[tuple[str, str], ...]


def parse_cudla_csv(source: Source) -> tuple[CudlaLayer, ...]:
    """Read the layer statistics (CSV) of NVIDIA's cuDLA samples by their header; rows that do not fit are left out.

    Written from the manual and its one printed sample, which puts names in single quotes: untested on real files.
    Raises InputError when the file cannot be read.
    """
    lines = (line.replace("\0", "") for line in lines_of(source))
    header: list[str] = []
    layers = []
    for line in lines:
        cells = _cudla_cells(line.strip())
        if "layer_name" in cells:
            header = cells
        elif header and len(cells) >= 3:
            layers.append(_cudla_layer(dict(zip(header, cells, strict=False))))
    return tuple(layers)


def _cudla_cells(line: str) -> list[str]:
    quote = "'" if line.startswith("'") else '"'
    try:
        return [cell.strip() for row in csv.reader([line], quotechar=quote, skipinitialspace=True) for cell in row]
    except csv.Error:
        return []


def _cudla_layer(cells: dict[str, str]) -> CudlaLayer:
    own = {"layer_name", "start_ms", "end_ms", "compute_precision", "compute_precisions"}
    return CudlaLayer(
        name=cells.get("layer_name", ""),
        start_ms=number(cells.get("start_ms", "")),
        end_ms=number(cells.get("end_ms", "")),
        compute_precision=cells.get("compute_precision", cells.get("compute_precisions", "")),
        other=tuple((key, value) for key, value in cells.items() if key not in own),
    )
