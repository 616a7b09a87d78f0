"""Run an engine with TensorRT: the same interface as the onnxruntime runner, so the same evaluation runs over both."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from dlaflow.build.api import Messages, import_rtx, import_tensorrt, load_plugins, make_logger
from dlaflow.build.manifest import Here, read_manifest, verify
from dlaflow.build.release import version_of
from dlaflow.errors import EnvironmentLacksError, InputError
from dlaflow.runtime.tensorrt_memory import DeviceBuffer, DeviceMemory, open_memory
from dlaflow.runtime.tensorrt_tensors import IndexedTensors, IOTensor, NamedTensors, Tensors, require_plain

_NAMES_FIRST = (10, 0, 0)
_RTX = "tensorrt_rtx"


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
        self._choose_core(built_for if options.dla_core is None else options.dla_core, trt.__version__)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise self._messages.failure()
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._messages.failure()
        self._tensors: Tensors
        if trt.__name__ == _RTX or version_of(trt.__version__) >= _NAMES_FIRST:
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

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The first output for a batch of any length, float32 [n, ...]; to a fixed batch it is cut and filled up."""
        step = self._most
        pieces = [self._run_piece(batch[start : start + step]) for start in range(0, len(batch), step)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

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

    def _run_piece(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        count = len(piece)
        self._feed(self._filled(piece))
        self._enqueue()
        first = self._outputs[0]
        values = first.empty(self._tensors.shape_now(first.name))
        self._buffers[first.name].download(values)
        self._memory.synchronize()
        return np.asarray(values[:count], np.float32)

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

    def _choose_core(self, core: int | None, tensorrt: str) -> None:
        """Raises EnvironmentLacksError unless the machine has that core."""
        if core is None:
            return
        cores = self._runtime.num_DLA_cores
        if not 0 <= core < cores:
            raise EnvironmentLacksError(
                f"this machine has no DLA core {core}",
                expected=f"a core below {cores}" if cores else "a DLA",
                received=f"{cores} DLA cores, says TensorRT {tensorrt}",
            )
        self._runtime.DLA_core = core


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
