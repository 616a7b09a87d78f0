"""Run an engine with TensorRT: the same interface as the onnxruntime runner, so the same evaluation runs over both.

`open_runner` takes the one that a file needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dlaflow.build.api import Messages, import_rtx, import_tensorrt, load_plugins, make_logger, require_core
from dlaflow.build.device_memory import Array, DeviceBuffer, DeviceMemory, open_memory
from dlaflow.build.manifest import Here, read_manifest, verify
from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape
from dlaflow.quantize.feed import Batch, NetworkInput, only_array
from dlaflow.reading import open_regular
from dlaflow.runtime.ort import OrtRunner
from dlaflow.targets.features import has

_RTX = "tensorrt_rtx"
_NUMPY: Mapping[str, DTypeLike] = {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32, "INT8": np.int8}
_FED = ("FLOAT", "HALF")

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
_PLAN_MAGIC = (b"ftrt", b"ptrt")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """`dla_core` to run on (None: the one it was built for, from the manifest, since an engine keeps no core number),
    plugin libraries to load first.

    `trt` and `memory` replace the bindings and the device memory that would be found.
    """

    dla_core: int | None = None
    plugins: tuple[str, ...] = ()
    trt: ModuleType | None = field(default=None, repr=False)
    memory: DeviceMemory | None = field(default=None, repr=False)


class TensorRTRunner:
    """One engine, ready to run.

    `input_name` is the engine's only input, `batch` its fixed batch (None: open), `shape` the input without the batch.
    The manifest beside the engine is checked first. Raises InputError for an engine that does not fit this machine or
    cannot be fed with images, EnvironmentLacksError without TensorRT, a GPU or the DLA core.
    """

    def __init__(self, engine: str | Path, options: EngineOptions | None = None) -> None:
        options = options or EngineOptions()
        path = Path(engine)
        trt = options.trt or _bindings_for(path)
        self._memory = options.memory or open_memory()
        capability = self._memory.compute_capability
        self.manifest = verify(path, Here(trt.__name__, trt.__version__, capability))
        self._messages = Messages()
        # The library keeps no reference of its own to any of these.
        self._logger = make_logger(trt, self._messages)
        load_plugins(trt, self._logger, options.plugins)
        self._runtime = trt.Runtime(self._logger)
        built_for = self.manifest.config.dla_core if self.manifest else None
        core = built_for if options.dla_core is None else options.dla_core
        require_core(self._runtime.num_DLA_cores, core, trt.__version__)
        if core is not None:
            self._runtime.DLA_core = core
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise self._messages.failure()
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._messages.failure()
        self._tensors: NamedTensors | IndexedTensors
        if trt.__name__ == _RTX or has("tensors_by_name", trt.__version__):
            self._tensors = NamedTensors(trt, self._engine, self._context)
        else:
            self._tensors = IndexedTensors(self._engine, self._context)
        self._input = _only_input(self._tensors.all)
        require_plain(self._tensors.all)
        self._outputs = tuple(tensor for tensor in self._tensors.all if not tensor.is_input)
        self._buffers: dict[str, DeviceBuffer] = {}
        self.input_name = self._input.name
        self.output_names = [tensor.name for tensor in self._outputs]
        self._least, self._most = self._input.smallest[0], self._input.largest[0]
        # A dynamic model built with one shape still shows an open batch; its profile tells that there is only one.
        self.batch: int | None = self._most if self._least == self._most else None
        self.shape: tuple[int | None, ...] = tuple(size if size > 0 else None for size in self._input.shape[1:])
        self.inputs = (NetworkInput(self.input_name, self.shape, "float32", self.batch),)

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """The first output for a batch of any length, float32 [n, ...]; to a fixed batch it is cut and filled up."""
        step, images = self._most, np.asarray(only_array(batch), np.float32)
        pieces = [
            self._run_piece(images[start : start + step], self._outputs[:1])[0] for start in range(0, len(images), step)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def run_all(self, batch: Batch) -> list[NDArray[np.float32]]:
        """All outputs for at most one fixed batch of images, in the order of `output_names`."""
        return self._run_piece(np.asarray(only_array(batch), np.float32), self._outputs)

    def time(self, batch: NDArray[np.float32], *, runs: int, warm_up: int = 10) -> tuple[float, ...]:
        """Milliseconds of `runs` runs of one batch, each waited for, without the copies; `warm_up` runs go before.

        Raises InputError when the batch does not fit the engine.
        """
        self._feed(self._filled(batch))
        times = []
        for index in range(warm_up + runs):
            started = time.perf_counter()
            self._enqueue()
            self._memory.synchronize()
            if index >= warm_up:
                times.append((time.perf_counter() - started) * 1e3)
        return tuple(times)

    def _run_piece(self, piece: NDArray[np.float32], wanted: Sequence[IOTensor]) -> list[NDArray[np.float32]]:
        filled = self._filled(piece)
        self._feed(filled)
        self._enqueue()
        found = [tensor.empty(self._tensors.shape_now(tensor.name)) for tensor in wanted]
        for tensor, values in zip(wanted, found, strict=True):
            self._buffers[tensor.name].download(values)
        self._memory.synchronize()
        # What has no row an image stays whole.
        return [
            np.asarray(values[: len(piece)] if values.shape[:1] == (len(filled),) else values, np.float32)
            for values in found
        ]

    def _filled(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(piece) >= self._least:
            return piece
        return np.concatenate([piece, np.repeat(piece[-1:], self._least - len(piece), axis=0)])

    def _feed(self, piece: NDArray[np.float32]) -> None:
        self._require_shape(piece.shape)
        if any(size < 0 for size in self._input.shape):
            self._tensors.set_shape(self._input.name, piece.shape)
        fed = np.ascontiguousarray(piece, dtype=self._input.empty((0,)).dtype)
        self._buffer(self._input.name, fed.nbytes).upload(fed)
        for tensor in self._outputs:
            shape = self._tensors.shape_now(tensor.name)
            self._buffer(tensor.name, tensor.empty(shape).nbytes)

    def _enqueue(self) -> None:
        addresses = {name: buffer.address for name, buffer in self._buffers.items()}
        if not self._tensors.enqueue(addresses, self._memory.stream):
            raise self._messages.failure()

    def _buffer(self, name: str, size: int) -> DeviceBuffer:
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = self._memory.allocate(size)
        return self._buffers[name]

    def _require_shape(self, shape: tuple[int, ...]) -> None:
        lowest, highest = self._input.smallest, self._input.largest
        if len(shape) != len(lowest) or any(
            not low <= got <= high for low, got, high in zip(lowest, shape, highest, strict=True)
        ):
            raise InputError(
                "the images do not fit the engine",
                expected=f"{self._input.name} {lowest}" + (f" to {highest}" if lowest != highest else ""),
                received=shape,
                then="Compare the images' size and layout with the model's input.",
            )


def _bindings_for(engine: Path) -> ModuleType:
    """TensorRT-RTX for an engine whose manifest names it, else TensorRT."""
    manifest = read_manifest(engine)
    return import_rtx() if manifest and manifest.built_for.product == _RTX else import_tensorrt()


def _only_input(tensors: tuple[IOTensor, ...]) -> IOTensor:
    inputs = [tensor for tensor in tensors if tensor.is_input]
    if len(inputs) != 1:
        raise InputError(
            "the engine's inputs cannot be fed with images",
            expected="one input",
            received=", ".join(tensor.name for tensor in inputs) or "none",
        )
    return inputs[0]


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


class NamedTensors:
    """TensorRT 10 and later: everything goes by the tensor's name."""

    def __init__(self, trt: ModuleType, engine: object, context: object) -> None:
        self._engine = cast(Any, engine)  # the bindings have no types
        self._context = cast(Any, context)
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
        self._engine = cast(Any, engine)  # the bindings have no types
        self._context = cast(Any, context)
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


def is_engine(path: str | Path) -> bool:
    """Whether a file is a TensorRT engine, by its name or its first bytes."""
    if Path(path).suffix in ENGINE_SUFFIXES:
        return True
    try:
        with open_regular(path) as file:
            return file.read(4) in _PLAN_MAGIC
    except (OSError, InputError):
        return False


def open_runner(
    path: str | Path, options: EngineOptions | None = None, shapes: Sequence[FixedShape] = ()
) -> OrtRunner | TensorRTRunner:
    """The runner for an engine or an ONNX model; both have the same interface.

    `shapes` are for models: an engine has the sizes that it was built with. Raises InputError or EnvironmentLacksError
    as the runners do.
    """
    return TensorRTRunner(path, options) if is_engine(path) else OrtRunner(path, shapes=shapes)
