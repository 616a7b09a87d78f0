"""Reading protobuf's wire format by hand, so that an ONNX file's weights can be stepped over instead of read.

`strip` copies a message and leaves out the data fields of large tensors; where those tensors stand in the file is kept,
so that one of them can be read later. Only messages that hold weights are opened, all others are copied as they are.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

Buffer = mmap.mmap | bytes

KEEP_BYTES = 33_000
"""A tensor whose whole message is smaller stays: 4,096 int64 values and a long name."""

MAX_DEPTH = 100
"""Messages inside messages: what protobuf itself reads. Each subgraph of an If, Loop or Scan is three."""

MAX_FIELDS = 2_000_000
"""Fields of one message, such as the nodes of a graph: real ones have some ten thousand, padding has any number."""

_VARINT, _LENGTH = 0, 2
_FIXED = {1: 8, 5: 4}
"""Wire types of a fixed length, with their bytes."""


class WireError(ValueError):
    """The bytes are not the message that they should be."""


class Message(Enum):
    """The messages of onnx.proto that lead to tensors."""

    MODEL = "ModelProto"
    GRAPH = "GraphProto"
    NODE = "NodeProto"
    ATTRIBUTE = "AttributeProto"
    FUNCTION = "FunctionProto"
    TENSOR = "TensorProto"


_CHILDREN: dict[Message, dict[int, Message]] = {
    Message.MODEL: {7: Message.GRAPH, 25: Message.FUNCTION},
    Message.GRAPH: {1: Message.NODE, 5: Message.TENSOR},
    Message.FUNCTION: {7: Message.NODE},
    Message.NODE: {5: Message.ATTRIBUTE},
    Message.ATTRIBUTE: {5: Message.TENSOR, 6: Message.GRAPH, 10: Message.TENSOR, 11: Message.GRAPH},
}
_TENSOR_DATA = frozenset({4, 5, 6, 7, 9, 10, 11})
"""float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data."""
_TENSOR_NAME = 8
_NODE_OUTPUT = 2


@dataclass(frozen=True, slots=True)
class Span:
    """Where a TensorProto stands in the file: the bytes from `start` to `end`."""

    start: int
    end: int


@dataclass(slots=True)
class Stripped:
    """A message without its large data, and where the tensors that were cut stand, by name."""

    data: bytes
    spans: dict[str, Span] = field(default_factory=dict)


def strip(buffer: Buffer) -> Stripped:
    """Copy a ModelProto without the data of large tensors.

    A cut tensor is known by its own name, or by its node's output when it belongs to a Constant node. Raises WireError
    when the bytes are no protobuf message, end too early or are nested deeper than protobuf reads.
    """
    chunks: list[bytes] = []
    spans: dict[str, Span] = {}
    _copy(buffer, Span(0, len(buffer)), Message.MODEL, chunks, _Names(spans, MAX_DEPTH))
    return Stripped(b"".join(chunks), spans)


def with_initializers(data: bytes, buffer: mmap.mmap, spans: Iterable[Span]) -> bytes:
    """The ModelProto `data` with the tensors that stand at `spans` of `buffer` as initializers, copied once.

    protobuf adds up a message that comes in two parts, and the order of initializers means nothing.
    """
    with memoryview(buffer) as view:
        parts = [part for span in spans for part in (_head(5, span.end - span.start), view[span.start : span.end])]
        return b"".join([data, _head(7, sum(map(len, parts))), *parts])


def _head(number: int, length: int) -> bytes:
    """What stands before the `length` bytes of field `number`."""
    return _varint(number << 3 | _LENGTH) + _varint(length)


@dataclass(slots=True)
class _Names:
    """Collects spans; `owner` is the output of the node that is being copied, `left` how much deeper it may go."""

    spans: dict[str, Span]
    left: int
    owner: str = ""


def _copy(buffer: Buffer, span: Span, message: Message, chunks: list[bytes], names: _Names) -> None:
    if message is Message.TENSOR:
        _copy_tensor(buffer, span, chunks, names)
        return
    children = _CHILDREN[message]
    if message is Message.NODE:
        names.owner = _node_output(buffer, span)
    pending = span.start
    for number, start, inner in _fields(buffer, span):
        child = children.get(number)
        if child is None or inner.end - inner.start < KEEP_BYTES:
            continue
        chunks.append(buffer[pending:start])
        nested: list[bytes] = []
        if not names.left:
            raise WireError(f"more than {MAX_DEPTH} messages inside each other")
        names.left -= 1
        _copy(buffer, inner, child, nested, names)
        names.left += 1
        chunks.append(_head(number, sum(len(part) for part in nested)))
        chunks.extend(nested)
        pending = inner.end
    chunks.append(buffer[pending : span.end])


def _copy_tensor(buffer: Buffer, span: Span, chunks: list[bytes], names: _Names) -> None:
    name = ""
    pending = span.start
    for number, start, inner in _fields(buffer, span):
        if number == _TENSOR_NAME:
            name = buffer[inner.start : inner.end].decode("utf-8", "replace")
        elif number in _TENSOR_DATA:
            chunks.append(buffer[pending:start])
            pending = inner.end
    chunks.append(buffer[pending : span.end])
    for known in (names.owner, name):
        if known:
            names.spans.setdefault(known, span)
    names.owner = ""


def _node_output(buffer: Buffer, span: Span) -> str:
    for number, _, inner in _fields(buffer, span):
        if number == _NODE_OUTPUT:
            return buffer[inner.start : inner.end].decode("utf-8", "replace")
    return ""


def _fields(buffer: Buffer, span: Span) -> Iterator[tuple[int, int, Span]]:
    """The fields of a message: number, where the tag starts, and the payload."""
    position = span.start
    left = MAX_FIELDS
    while position < span.end:
        start = position
        left -= 1
        if not left:
            raise WireError(f"more than {MAX_FIELDS:,} fields in one message")
        tag, position = _read_varint(buffer, position, span.end)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError("field number 0")
        if kind == _LENGTH:
            length, position = _read_varint(buffer, position, span.end)
            payload = Span(position, position + length)
        elif kind == _VARINT:
            _, after = _read_varint(buffer, position, span.end)
            payload = Span(position, after)
        elif kind in _FIXED:
            payload = Span(position, position + _FIXED[kind])
        else:
            raise WireError(f"wire type {kind}")
        if payload.end > span.end:
            raise WireError("a field runs past the end")
        yield number, start, payload
        position = payload.end


def _read_varint(buffer: Buffer, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end:
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise WireError("a number is too long")
    raise WireError("the file ends inside a number")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
