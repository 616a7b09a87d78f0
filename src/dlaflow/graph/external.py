"""Tensors whose data lies in another file beside the model, read only when a rule asks for one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import onnx


def read_external(tensor: onnx.TensorProto, folder: Path) -> np.ndarray:
    """The values of a tensor with external data.

    Raises InputError when the location leaves `folder`, is absent or holds too few bytes.
    """
    import numpy as np
    from onnx import helper

    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    base = folder.resolve()
    path = (base / location).resolve()
    if not location or not path.is_relative_to(base) or path == base:
        raise InputError(
            f"the external data of tensor {tensor.name!r} lies outside the model's folder",
            expected=f"a file under {base}",
            received=repr(location),
            then="Save the model again with its data beside it.",
        )
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).newbyteorder("<")
    count = int(np.prod(tensor.dims, dtype=np.int64))
    offset = _number(entries, "offset", tensor.name, 0)
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(count * dtype.itemsize)
    except OSError as error:
        raise InputError(
            f"cannot read {path}, the external data of tensor {tensor.name!r}: {error.strerror}",
            then="Copy the data file beside the model.",
        ) from None
    if len(data) < count * dtype.itemsize:
        raise InputError(
            f"{path} ends before tensor {tensor.name!r} does",
            expected=f"{count * dtype.itemsize} bytes at offset {offset}",
            received=f"{len(data)} bytes",
        )
    return np.frombuffer(data, dtype=dtype).reshape(tuple(tensor.dims))


def _number(entries: dict[str, str], key: str, tensor: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not text.isdigit():
        raise InputError(f"the external data of tensor {tensor!r} has a bad {key}", expected="a number", received=text)
    return int(text)
