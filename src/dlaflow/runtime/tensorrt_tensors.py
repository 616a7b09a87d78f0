"""Inputs and outputs of an engine: by tensor name (TensorRT 10 and later) or by binding index (8.x)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

from dlaflow.errors import InputError
from dlaflow.runtime.tensorrt_memory import Array

_NUMPY: Mapping[str, DTypeLike] = {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32, "INT8": np.int8}
_FED = ("FLOAT", "HALF")


@dataclass(frozen=True, slots=True)
class IOTensor:
    """One input or output. `shape` has -1 for an open dimension; `dtype` and `layout` are TensorRT's names.

    `smallest` and `largest` are what the engine's first profile allows an input with open dimensions, else `shape`.
    """

    name: str
    is_input: bool
    shape: tuple[int, ...]
    dtype: str
    layout: str
    smallest: tuple[int, ...] = ()
    largest: tuple[int, ...] = ()

    def empty(self, shape: Sequence[int]) -> Array:
        """A host array of this type for `shape`."""
        return np.zeros(tuple(shape), dtype=_NUMPY[self.dtype])


class Tensors(Protocol):
    """An engine's execution context seen through its tensors."""

    @property
    def all(self) -> tuple[IOTensor, ...]: ...
    def set_shape(self, name: str, shape: Sequence[int]) -> None: ...
    def shape_now(self, name: str) -> tuple[int, ...]: ...
    def enqueue(self, addresses: Mapping[str, int], stream: int) -> bool: ...


class NamedTensors:
    """TensorRT 10 and later: everything goes by the tensor's name."""

    def __init__(self, trt: ModuleType, engine: object, context: object) -> None:
        self._engine: _NamedEngine = engine  # type: ignore[assignment]  # the bindings have no types
        self._context: _NamedContext = context  # type: ignore[assignment]
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = {name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT}
        self.all = tuple(
            _with_range(
                IOTensor(
                    name,
                    name in inputs,
                    tuple(self._engine.get_tensor_shape(name)),
                    self._engine.get_tensor_dtype(name).name,
                    self._engine.get_tensor_format(name).name,
                ),
                lambda name=name: self._engine.get_tensor_profile_shape(name, 0),  # type: ignore[misc]
            )
            for name in names
        )

    def set_shape(self, name: str, shape: Sequence[int]) -> None:
        """Choose the shape of an input with open dimensions."""
        if not self._context.set_input_shape(name, tuple(shape)):
            raise _refused(name, shape)

    def shape_now(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor once the inputs have theirs."""
        return tuple(self._context.get_tensor_shape(name))

    def enqueue(self, addresses: Mapping[str, int], stream: int) -> bool:
        """Queue one run on the stream."""
        for name, address in addresses.items():
            self._context.set_tensor_address(name, address)
        return bool(self._context.execute_async_v3(stream))


class IndexedTensors:
    """TensorRT 8.x: tensors are bindings with an index."""

    def __init__(self, engine: object, context: object) -> None:
        self._engine: _IndexedEngine = engine  # type: ignore[assignment]  # the bindings have no types
        self._context: _IndexedContext = context  # type: ignore[assignment]
        self.all = tuple(
            _with_range(
                IOTensor(
                    self._engine.get_binding_name(index),
                    self._engine.binding_is_input(index),
                    tuple(self._engine.get_binding_shape(index)),
                    self._engine.get_binding_dtype(index).name,
                    self._engine.get_binding_format(index).name,
                ),
                lambda index=index: self._engine.get_profile_shape(0, index),  # type: ignore[misc]
            )
            for index in range(self._engine.num_bindings)
        )
        self._index = {tensor.name: index for index, tensor in enumerate(self.all)}

    def set_shape(self, name: str, shape: Sequence[int]) -> None:
        """Choose the shape of an input with open dimensions."""
        if not self._context.set_binding_shape(self._index[name], tuple(shape)):
            raise _refused(name, shape)

    def shape_now(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor once the inputs have theirs."""
        return tuple(self._context.get_binding_shape(self._index[name]))

    def enqueue(self, addresses: Mapping[str, int], stream: int) -> bool:
        """Queue one run on the stream."""
        return bool(self._context.execute_async_v2([addresses[tensor.name] for tensor in self.all], stream))


def _with_range(tensor: IOTensor, ask: Callable[[], Sequence[Sequence[int]]]) -> IOTensor:
    """The tensor with its allowed shapes; `ask` gives smallest, usual and largest of an input with open dimensions."""
    if not tensor.is_input or min(tensor.shape, default=0) >= 0:
        return replace(tensor, smallest=tensor.shape, largest=tensor.shape)
    smallest, _, largest = ask()
    return replace(tensor, smallest=tuple(smallest), largest=tuple(largest))


def require_plain(tensors: Sequence[IOTensor]) -> None:
    """Raises InputError for a tensor that is not linear FP32 or FP16: images cannot be fed to it as they are."""
    for tensor in tensors:
        if tensor.layout != "LINEAR" or tensor.dtype not in _FED:
            raise InputError(
                f"{'input' if tensor.is_input else 'output'} {tensor.name} has a format for the DLA",
                expected="FLOAT or HALF, LINEAR",
                received=f"{tensor.dtype}, {tensor.layout}",
                then="To evaluate it, build with GPU fallback and without I/O formats.",
            )


def _refused(name: str, shape: Sequence[int]) -> InputError:
    return InputError(
        f"the engine refuses this shape for {name}",
        expected="a shape within its profile",
        received=tuple(shape),
        then="Build it for that batch, or feed the batch it was built for.",
    )


class _Named(Protocol):
    @property
    def name(self) -> str: ...


class _NamedEngine(Protocol):
    num_io_tensors: int

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> object: ...
    def get_tensor_shape(self, name: str) -> Sequence[int]: ...
    def get_tensor_dtype(self, name: str) -> _Named: ...
    def get_tensor_format(self, name: str) -> _Named: ...
    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Sequence[Sequence[int]]: ...


class _NamedContext(Protocol):
    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...
    def get_tensor_shape(self, name: str) -> Sequence[int]: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class _IndexedEngine(Protocol):
    num_bindings: int

    def get_binding_name(self, index: int) -> str: ...
    def binding_is_input(self, index: int) -> bool: ...
    def get_binding_shape(self, index: int) -> Sequence[int]: ...
    def get_binding_dtype(self, index: int) -> _Named: ...
    def get_binding_format(self, index: int) -> _Named: ...
    def get_profile_shape(self, profile_index: int, binding: int) -> Sequence[Sequence[int]]: ...


class _IndexedContext(Protocol):
    def set_binding_shape(self, binding: int, shape: tuple[int, ...]) -> bool: ...
    def get_binding_shape(self, binding: int) -> Sequence[int]: ...
    def execute_async_v2(self, bindings: list[int], stream_handle: int) -> bool: ...
