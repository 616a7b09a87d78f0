"""Tensors whose data lies in another file beside the model, read only when a rule asks for one."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError

if TYPE_CHECKING:
    import onnx

_DIGITS = 18
"""An offset of more digits is beyond any file system."""


def read_external(tensor: onnx.TensorProto, folder: Path) -> onnx.TensorProto:
    """A tensor with external data as one that holds its data itself.

    Raises InputError when the location leaves `folder`, is absent, is no file or holds too few bytes.
    """
    import onnx

    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _inside(entries.get("location", ""), folder, tensor.name)
    offset = _number(entries, "offset", tensor.name, 0)
    wanted = -(-prod(tensor.dims) * _bits(tensor.data_type) // 8)
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
    if path.exists() and not path.is_file():
        raise InputError(f"{path}, the external data of tensor {tensor!r}, is no file", expected="a file on a disk")
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
