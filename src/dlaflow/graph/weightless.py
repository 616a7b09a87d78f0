"""A model's graph without its weights, as ONNX text: enough to tell where layers run, nothing of what was learnt.

Shapes, axes and indices stay (whole numbers that the graph computes with), and so do lists of a few values, such as the
factors of a Resize. All other tensors keep name, type and shape: they are said to lie in a file that nobody has, which
the lowering takes for "a graph without its weights".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError
from dlaflow.graph.fold import MAX_ELEMENTS
from dlaflow.graph.inline import first_line, subgraphs
from dlaflow.graph.load import Model
from dlaflow.graph.lower.reading import PUBLIC_DOMAINS, is_public
from dlaflow.graph.verify import DEFAULT_DOMAINS
from dlaflow.graph.wire import MAX_DEPTH

if TYPE_CHECKING:
    import onnx

_LEFT_OUT = "weights-left-out"
_FEW = 8
"""So many values of any type stay: the factors of a Resize, the bounds of a Clip, a scale."""
_INTEGERS = (6, 7)  # TensorProto.INT32 and INT64
_LONG_TEXT = 64
_FREE_TEXT = frozenset(["value_string", "value_strings", "pool_strings", "stopwords", "pattern", "delimiter", "locale"])
"""ONNX's attributes that hold texts of the model's own; all others choose one of ONNX's words, such as a mode."""
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[\[{(<]|[\]})>]')


def graph_text(model: Model, rename: Callable[[str], str] = str, disguise: Callable[[str], str] = str) -> list[str]:
    """The graph of a loaded model as lines of ONNX text; `rename` is asked for each name of a node, a tensor or an open
    dimension, `disguise` for domains, operators, their attributes and texts that are not ONNX's or TensorRT's.

    Raises InputError for what ONNX text cannot say, such as a name with a line break.
    """
    import onnx
    import onnx.printer

    proto = onnx.ModelProto(ir_version=model.proto.ir_version)
    proto.graph.CopyFrom(model.proto.graph)
    used = {node.domain for graph in _graphs(proto.graph) for node in graph.node} | set(DEFAULT_DOMAINS)
    for entry in model.proto.opset_import:
        if entry.domain in used:
            proto.opset_import.add(domain=_domain(entry.domain, disguise), version=entry.version)
    learnt = {node.input[0] for graph in _graphs(proto.graph) for node in graph.node if node.op_type == _DEQUANTIZE}
    for graph in _graphs(proto.graph):
        for tensor in _tensors(graph):
            tensor.string_data[:] = [_disguised(text, disguise) for text in tensor.string_data]
        _strip(graph, learnt, rename)
        for node in graph.node:
            _disguise(node, disguise)
    lines = onnx.printer.to_text(proto).splitlines()
    again = graph_from_text(lines, model.path)
    if [node.name for node in again.graph.node] != [node.name for node in proto.graph.node]:
        raise InputError(f"{model.path} has names that ONNX text cannot hold", then="Use --hash-names.")
    return lines


_DEQUANTIZE = "DequantizeLinear"


def graph_from_text(lines: Sequence[str], source: Path) -> onnx.ModelProto:
    """The graph that `graph_text` wrote; `load_model` checks it once it is saved.

    Raises InputError for what is no such text, is nested too deeply, or names a file of weights.
    """
    import onnx.parser

    text = "\n".join(lines)
    if _depth(text) > MAX_DEPTH:
        raise InputError(f"the graph in {source} is nested too deeply", expected=f"at most {MAX_DEPTH} brackets")
    try:
        proto = onnx.parser.parse_model(text)
    except Exception as error:  # the parser raises its own ParseError, and what its C++ code raises
        raise InputError(f"the graph in {source} is no ONNX text", received=first_line(error)) from None
    for graph in _graphs(proto.graph):
        for tensor in _tensors(graph):
            if any(entry.key != "location" or entry.value != _LEFT_OUT for entry in tensor.external_data):
                raise InputError(f"the graph in {source} names a file of weights", received=repr(tensor.name))
    return proto


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from _graphs(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _strip(graph: onnx.GraphProto, learnt: set[str], rename: Callable[[str], str]) -> None:
    """Take weights, texts and inferred shapes out of one graph, and rename what is left.

    The value of a Constant node goes among the initializers when it is left out: ONNX text has no other place for it.
    """
    for tensor in _tensors(graph):
        _leave_out(tensor, learnt)
        tensor.name = _renamed(tensor.name, rename)
    for field in ("value_info", "sparse_initializer", "quantization_annotation", "metadata_props"):
        graph.ClearField(field)
    graph.name, graph.doc_string = "graph", ""
    for value in (*graph.input, *graph.output):
        value.name, value.doc_string = _renamed(value.name, rename), ""
        value.ClearField("metadata_props")
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:  # "2*batch" is no word of ONNX text
                dim.dim_param = re.sub(r"\W", "_", rename(dim.dim_param))
    for node in [node for node in graph.node if _is_left_out(node)]:
        graph.initializer.add().CopyFrom(node.attribute[0].t)
        graph.initializer[-1].name = _renamed(node.output[0], rename)
        graph.node.remove(node)
    for node in graph.node:
        node.name, node.doc_string = _renamed(node.name, rename), ""
        node.ClearField("metadata_props")
        for names in (node.input, node.output):
            names[:] = [_renamed(name, rename) for name in names]
        for attribute in node.attribute:
            attribute.doc_string = ""
            if len(attribute.s) > _LONG_TEXT:  # a plugin's weights or an engine, as text
                attribute.s = b""


def _domain(domain: str, disguise: Callable[[str], str]) -> str:
    return domain if domain in PUBLIC_DOMAINS else disguise(domain)


def _disguise(node: onnx.NodeProto, disguise: Callable[[str], str]) -> None:
    """Hide what of a node is somebody's own: its domain, its operator with its attributes' names, its texts."""
    import onnx.defs

    known, public = is_public(node), node.domain in PUBLIC_DOMAINS
    words = onnx.defs.get_schema(node.op_type).attributes if public and onnx.defs.has(node.op_type) else {}
    for attribute in node.attribute:
        if attribute.name not in words or attribute.name in _FREE_TEXT:
            if attribute.s:
                attribute.s = _disguised(attribute.s, disguise)
            attribute.strings[:] = [_disguised(text, disguise) for text in attribute.strings]
        if not known:
            attribute.name = disguise(attribute.name)
    node.domain = _domain(node.domain, disguise)
    if not known:
        node.op_type = disguise(node.op_type)


def _disguised(text: bytes, disguise: Callable[[str], str]) -> bytes:
    return disguise(text.decode(errors="surrogateescape")).encode(errors="surrogateescape")


def _renamed(name: str, rename: Callable[[str], str]) -> str:
    return rename(name) if name else ""


def _is_left_out(node: onnx.NodeProto) -> bool:
    return node.op_type == "Constant" and any(each.t.data_location == each.t.EXTERNAL for each in node.attribute)


def _leave_out(tensor: onnx.TensorProto, learnt: set[str]) -> None:
    count, name, kind, dims = prod(tensor.dims), tensor.name, tensor.data_type, list(tensor.dims)
    whole = kind in _INTEGERS and count <= MAX_ELEMENTS
    held = tensor.ByteSize() > len(name) + count // 8  # a large tensor of a loaded model has a shape and no data
    if held and tensor.data_location != 1 and (count <= _FEW or (whole and name not in learnt)):
        tensor.doc_string = ""
        return
    tensor.Clear()
    tensor.name, tensor.data_type = name, kind
    tensor.dims.extend(dims)
    if whole:  # a bias in INT32: inference reads whole numbers wherever they lie
        (tensor.int32_data if kind == _INTEGERS[0] else tensor.int64_data).extend([0] * count)
        return
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key="location", value=_LEFT_OUT)


def _depth(text: str) -> int:
    """How deep brackets stand inside each other, outside of quoted names."""
    depth = deepest = 0
    for token in _TOKEN.finditer(text):
        if token.group()[0] != '"':
            depth += 1 if token.group() in "[{(<" else -1
            deepest = max(deepest, depth)
    return deepest
