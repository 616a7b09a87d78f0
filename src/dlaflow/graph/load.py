"""The one way to hold an ONNX file: a checked graph without its weights, which are read when they are asked for.

`load_model` reads the structure and small tensors only. What needs one weight asks `Model.initializer`, which reads
those bytes and no others; what executes the model or writes another one from it asks for `Model.whole`.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError
from dlaflow.files import sha256_of
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.bounds import check_tensor
from dlaflow.graph.inline import all_nodes, called_functions, first_line, subgraphs
from dlaflow.graph.inputs import batch_of, fix_inputs
from dlaflow.graph.tensor_type import TensorType
from dlaflow.graph.verify import verify
from dlaflow.graph.wire import KEEP_BYTES, MAX_DEPTH, Span, Stripped, WireError, strip, with_initializers
from dlaflow.reading import CONNECTIONS, MODEL_BYTES, NODES, ONNX_BYTES, check_regular, open_regular

if TYPE_CHECKING:
    import numpy as np
    import onnx

_DIGITS = 18
"""An offset of more digits is beyond any file system."""
_MAGIC = {
    b"PK\x03\x04": "a zip file, such as a PyTorch checkpoint",
    b"ftrt": "a TensorRT engine",
    b"\x89HDF": "an HDF5 file, such as Keras weights",
    b"version https://git-lfs": "a Git LFS pointer: the file itself was not fetched",
    b"TRT-": "a calibration cache",
    b"\x80\x02": "a pickle",
    b"\x80\x04": "a pickle",
}


@dataclass(frozen=True)
class Model:
    """A checked ONNX model whose large tensors carry no data.

    `proto` has local functions inlined and its nodes in topological order; `opset` is that of the default domain.
    `sha256` is of the file, empty where nobody asked for it.
    """

    path: Path
    sha256: str
    proto: onnx.ModelProto
    opset: int
    spans: Mapping[str, Span] = field(default_factory=dict, repr=False)
    tensors: Mapping[str, onnx.TensorProto] = field(default_factory=dict, repr=False)
    functions: tuple[tuple[str, str], ...] = ()
    """The nodes that called local functions, as (name of the node, name of the function)."""
    fixed: tuple[FixedShape, ...] = ()
    """The shapes that were put in for inputs that the file leaves open."""
    types: Mapping[str, TensorType] = field(default_factory=dict, repr=False)
    """The types of tensors where whoever made the model knows them: inference only does the rest."""

    def tensor(self, name: str) -> onnx.TensorProto:
        """An initializer with its data, or the tensor of the Constant node whose output is `name`.

        Raises InputError when there is none, or when its external file is missing, too short or outside the folder.
        """
        import onnx

        span = self.spans.get(name)
        if span is None:
            tensor = self.tensors.get(name)
            if tensor is None:
                raise InputError(f"{self.path} has no initializer named {name!r}")
        else:
            with self.path.open("rb") as file:
                file.seek(span.start)
                tensor = onnx.TensorProto.FromString(file.read(span.end - span.start))
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor = _read_external(tensor, self.path.parent)
        return tensor

    def initializer(self, name: str) -> np.ndarray:
        """The values of `tensor`.

        Raises InputError as that does, and for data that is no array.
        """
        from onnx import numpy_helper

        tensor = self.tensor(name)
        try:
            return numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise InputError(f"initializer {name!r} of {self.path} cannot be read: {first_line(error)}") from None

    def whole(self) -> onnx.ModelProto:
        """The graph with all its weights, read anew each time, so that the caller may change it.

        Nodes and tensors have the names and the order of `proto`; weights in other files come along. Raises InputError
        for what ONNX's own checker refuses and for external data that cannot be read.
        """
        import onnx

        proto, _ = verify(onnx.load(str(self.path), format="protobuf", load_external_data=False), self.path)
        for _, tensor in stored_tensors(proto.graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                tensor.CopyFrom(_read_external(tensor, self.path.parent))
        # The checker asks the outputs for shapes, which neither onnxruntime nor TensorRT needs.
        outputs = onnx.GraphProto(output=proto.graph.output).output
        del proto.graph.output[:]
        try:
            onnx.checker.check_model(proto)
        except Exception as error:  # the checker raises its own ValidationError, and what protobuf raises
            raise InputError(
                f"{self.path} is not a usable model",
                expected="a valid ONNX file",
                received=first_line(error),
                then="Export it again.",
            ) from None
        proto.graph.output.extend(outputs)
        if self.fixed:
            fix_inputs(proto.graph, batch_of(proto.graph, None, self.fixed), self.fixed)
        return proto

    def serialized(self) -> bytes:
        """`proto` as it is here, outputs added by the caller too, with its weights: what a runtime reads.

        Where all weights are initializers of this file they are copied once, and neither parsed nor checked. Raises
        InputError as `whole` does where they are not.
        """
        import onnx

        slim = onnx.ModelProto()
        slim.CopyFrom(self.proto)
        cut = [name for name, tensor in stored_tensors(slim.graph) if lacks_values(tensor)]
        own = {tensor.name: tensor for tensor in slim.graph.initializer if lacks_values(tensor)}
        outside = any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in own.values())
        if outside or sorted(cut) != sorted(own) or not own.keys() <= self.spans.keys():
            whole = self.whole()
            del whole.graph.output[:]
            whole.graph.output.extend(slim.graph.output)
            return bytes(whole.SerializeToString())
        for tensor in own.values():
            slim.graph.initializer.remove(tensor)
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return with_initializers(slim.SerializeToString(), mapped, [self.spans[name] for name in own])


def as_model(model: Model | str | Path, fixed: Sequence[FixedShape] = ()) -> Model:
    """`model` itself, or what `load_model` makes of the file of that name and `fixed`."""
    return model if isinstance(model, Model) else load_model(model, digest=False, fixed=fixed)


def without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model in memory whose large initializers have a type and a shape, and no data."""
    import onnx

    slim = onnx.ModelProto(
        ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions, graph=onnx.GraphProto()
    )
    graph = slim.graph
    graph.name = proto.graph.name
    for field_name in ("node", "input", "output", "value_info"):
        getattr(graph, field_name).extend(getattr(proto.graph, field_name))
    for tensor in proto.graph.initializer:
        large = tensor.ByteSize() >= KEEP_BYTES
        kept = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims) if large else tensor
        graph.initializer.append(kept)
    return slim


def load_model(path: str | Path, *, digest: bool = True, fixed: Sequence[FixedShape] = ()) -> Model:
    """Read and check an ONNX file; without `digest` its sha256 stays empty, as only that reads every byte of it.

    `fixed` are the shapes of inputs that it leaves open, the batch too; UsageError says which one does not fit.
    Raises InputError, with one line that says what is wrong, for anything that is not a usable ONNX model: no such
    file, a folder or a pipe, another format, a truncated file, an opset newer than known, an input that nothing
    produces, an output that is produced twice, a cycle, local functions or subgraphs without end, a tensor of an
    unknown type or of a size that no board holds. An operator that nobody knows is not an error.
    """
    import onnx

    source = Path(path)
    stripped = _read(source)
    MODEL_BYTES.check(len(stripped.data), f"{source} without its large tensors")
    try:
        proto = onnx.ModelProto.FromString(stripped.data)
    except Exception as error:  # google.protobuf.message.DecodeError, whose module depends on the backend
        if type(error).__name__ != "DecodeError":
            raise
        raise _not_onnx(source, f"damaged bytes, or more than {MAX_DEPTH} messages inside each other") from None
    _check_names(proto, source)
    functions = called_functions(proto)
    proto, opset = verify(proto, source)
    tensors: dict[str, onnx.TensorProto] = {}
    for name, tensor in stored_tensors(proto.graph):
        tensors.setdefault(name, tensor)
    for tensor in tensors.values():
        check_tensor(tensor, source)
    if fixed:
        fix_inputs(proto.graph, batch_of(proto.graph, None, fixed), fixed)
    digested = sha256_of(source) if digest else ""
    return Model(source, digested, proto, opset, stripped.spans, tensors, functions, tuple(fixed))


def stored_tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Initializers and the values of Constant nodes by the names that nodes take them by, the outer graph's first."""
    yield from ((tensor.name, tensor) for tensor in graph.initializer)
    inner = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                inner.append(attribute.g)
            elif node.op_type == "Constant" and attribute.name == "value" and node.output:
                yield node.output[0], attribute.t
    for subgraph in inner:
        yield from stored_tensors(subgraph)


def lacks_values(tensor: onnx.TensorProto) -> bool:
    """Whether the data of a tensor was left in the file, or lies in another one."""
    fields = {field.name for field, _ in tensor.ListFields()}
    return bool(prod(tensor.dims)) and not any(name.endswith("_data") for name in fields - {"external_data"})


def _read(source: Path) -> Stripped:
    try:
        with open_regular(source, ONNX_BYTES) as file:
            head = file.read(32)
            if not head:
                raise InputError(f"{source} is empty", expected="an ONNX file")
            for magic, what in _MAGIC.items():
                if head.startswith(magic):
                    raise _not_onnx(source, what)
            if head[5:9] == b"\0\0\0{":  # behind the length of its header, eight bytes
                raise _not_onnx(source, "weights in safetensors' format, without their network")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                return strip(mapped)
    except WireError as error:
        raise _not_onnx(source, f"{error}; the file may be truncated") from None
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}", then="Check the path.") from None


def _check_names(proto: onnx.ModelProto, source: Path) -> None:
    """Raise InputError for names that are no UTF-8 (protobuf hands those over as bytes) and too many nodes."""
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    count = 0
    graphs = [proto.graph]
    for node, _ in all_nodes(nodes):
        count += 1
        graphs += subgraphs(node)
        CONNECTIONS.check(max(len(node.input), len(node.output)), f"{source}: node {node.name!r} ({node.op_type})")
        _check_text((node.name, node.op_type, node.domain, *node.input, *node.output), source)
        _check_text((each.name for each in node.attribute), source)
    NODES.check(count, f"{source}: the graph")
    for graph in graphs:
        for listed in (graph.input, graph.output, graph.value_info, graph.initializer):
            _check_text((each.name for each in listed), source)
        for value in (*graph.input, *graph.output, *graph.value_info):
            _check_text((dim.dim_param for dim in value.type.tensor_type.shape.dim), source)
    _check_text((entry.domain for entry in proto.opset_import), source)
    for function in proto.functions:
        _check_text((function.name, function.domain, *function.input, *function.output), source)


def _check_text(names: Iterable[object], source: Path) -> None:
    if wrong := next((name for name in names if not isinstance(name, str)), None):
        raise _not_onnx(source, f"a name that is not UTF-8: {wrong!r:.60}")


def _not_onnx(source: Path, received: str) -> InputError:
    return InputError(
        f"{source} is not a readable ONNX file",
        expected="a serialized ModelProto",
        received=received,
        then="Export the model again, for instance with torch.onnx.export.",
    )


def external_files(path: Path) -> set[Path]:
    """The files beside a model that hold its weights; none where it cannot be read, which is told by who needs it."""
    import onnx

    try:
        proto = onnx.load(str(path), format="protobuf", load_external_data=False)
    except Exception:  # whatever protobuf raises
        return set()
    tensors = [tensor for _, tensor in stored_tensors(proto.graph) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    return {path.parent / entry.value for each in tensors for entry in each.external_data if entry.key == "location"}


def _read_external(tensor: onnx.TensorProto, folder: Path) -> onnx.TensorProto:
    """A tensor with external data as one that holds its data itself.

    Raises InputError when the location leaves `folder`, is absent, is no file or holds too few bytes.
    """
    import onnx

    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _inside(entries.get("location", ""), folder, tensor.name)
    offset = _number(entries, "offset", tensor.name, 0)
    wanted = -(-prod(tensor.dims) * _bits(tensor.data_type) // 8)
    ONNX_BYTES.check(wanted, f"tensor {tensor.name!r} in {path}")
    try:
        with path.open("rb") as file:
            held = os.fstat(file.fileno()).st_size - offset
            file.seek(min(offset, os.fstat(file.fileno()).st_size))
            data = file.read(max(0, min(wanted, held)))
    except OSError as error:
        raise InputError(
            f"cannot read {path}, the external data of tensor {tensor.name!r}: {error.strerror}",
            then="Copy the data file beside the model.",
        ) from None
    if len(data) < wanted:
        raise InputError(
            f"{path} ends before tensor {tensor.name!r} does",
            expected=f"{wanted} bytes at offset {offset}",
            received=f"{len(data)} bytes",
        )
    return onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=data)


def _inside(location: str, folder: Path, tensor: str) -> Path:
    """The file of a location, which must be a regular one below the model's folder."""
    base = folder.resolve()
    path = (base / location).resolve() if "\0" not in location else base
    if not location or not path.is_relative_to(base) or path == base:
        raise InputError(
            f"the external data of tensor {tensor!r} lies outside the model's folder",
            expected=f"a file under {base}",
            received=repr(location),
            then="Save the model again with its data beside it.",
        )
    check_regular(path, "Copy the data file beside the model.")
    return path


def _bits(data_type: int) -> int:
    """How many bits an element takes in raw data; types below a byte are packed.

    Raises InputError for strings, which raw data cannot hold.
    """
    from onnx import TensorProto, helper

    name = TensorProto.DataType.Name(data_type)
    if name == "STRING":
        raise InputError("external data cannot hold strings", expected="a numeric element type", received=name)
    packed = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
    return packed.get(name) or helper.tensor_dtype_to_np_dtype(data_type).itemsize * 8


def _number(entries: dict[str, str], key: str, tensor: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise InputError(
            f"the external data of tensor {tensor!r} has a bad {key}",
            expected=f"a number of at most {_DIGITS} digits",
            received=repr(text[:40]),
        )
    return int(text)
