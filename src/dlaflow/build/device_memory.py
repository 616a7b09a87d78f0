"""Device memory through cuda-python or torch, whichever is there: allocate, copy, wait, time by events."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import EnvironmentLacksError

Array = NDArray[np.generic]


def open_memory() -> DeviceMemory:
    """Device memory through cuda-python, else through torch.

    Raises EnvironmentLacksError when neither is there or no GPU answers.
    """
    found = cuda_python_memory() or torch_memory()
    if found is not None:
        return found
    raise EnvironmentLacksError(
        "no way to the GPU's memory",
        expected="cuda-python, or torch with CUDA",
        received="torch without CUDA" if _first_module("torch") is not None else "neither",
        then="Install it on the board: pip install cuda-python.",
    )


def cuda_python_memory() -> CudaPythonMemory | None:
    """Through cuda-python; None where it is not installed. Raises EnvironmentLacksError."""
    runtime = _first_module("cuda.bindings.runtime", "cuda.cudart")
    return CudaPythonMemory(runtime) if runtime is not None else None


def torch_memory() -> TorchMemory | None:
    """Through torch; None where it is not installed or has no CUDA."""
    torch = _first_module("torch")
    return TorchMemory(torch) if torch is not None and torch.cuda.is_available() else None


class CudaPythonMemory:
    """One CUDA stream and the memory used on it, through NVIDIA's cuda-python, whose calls return (error, value...)."""

    name = "cuda-python"

    def __init__(self, runtime: ModuleType) -> None:
        self._runtime = runtime
        kinds = runtime.cudaMemcpyKind
        self._to_device, self._to_host = kinds.cudaMemcpyHostToDevice, kinds.cudaMemcpyDeviceToHost
        self._stream = self.call("cudaStreamCreate")

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream)  # type: ignore[call-overload, no-any-return]  # cuda-python's own handle type

    @property
    def compute_capability(self) -> str:
        """Of the current device, such as 8.7."""
        attributes = self._runtime.cudaDeviceAttr
        device = self.call("cudaGetDevice")
        parts = [
            self.call("cudaDeviceGetAttribute", getattr(attributes, f"cudaDevAttrComputeCapability{part}"), device)
            for part in ("Major", "Minor")
        ]
        return f"{parts[0]}.{parts[1]}"

    def allocate(self, size: int) -> DeviceBuffer:
        """`size` bytes, given back when the buffer goes."""
        return _CudaBuffer(self, size)

    def synchronize(self) -> None:
        """Wait until everything on the stream is done."""
        self.call("cudaStreamSynchronize", self._stream)

    def timed(self, work: Callable[[], None]) -> float:
        """Milliseconds of what `work` queues on the stream, between two events around it; waits for it."""
        events = [self.call("cudaEventCreate"), self.call("cudaEventCreate")]
        try:
            self.call("cudaEventRecord", events[0], self._stream)
            work()
            self.call("cudaEventRecord", events[1], self._stream)
            self.synchronize()
            return float(self.call("cudaEventElapsedTime", *events))  # type: ignore[arg-type]  # milliseconds
        finally:
            for event in events:
                self.call("cudaEventDestroy", event)

    def copy(self, target: int, source: int, size: int, *, to_device: bool) -> None:
        """Queue a copy of `size` bytes on the stream."""
        kind = self._to_device if to_device else self._to_host
        self.call("cudaMemcpyAsync", target, source, size, kind, self._stream)

    def call(self, name: str, *arguments: object) -> object:
        """One call of the CUDA runtime; its value, or None.

        Raises EnvironmentLacksError with CUDA's own name of the error.
        """
        error, *values = getattr(self._runtime, name)(*arguments)
        if int(error):
            raise EnvironmentLacksError(
                f"CUDA refused {name}: {getattr(error, 'name', error)}",
                then="Close what else uses the GPU; `dlaflow doctor` tells whether one is there.",
            )
        return values[0] if values else None


class _CudaBuffer:
    """A piece of device memory of fixed size in bytes; `upload` and `download` take C-contiguous arrays."""

    def __init__(self, memory: CudaPythonMemory, size: int) -> None:
        self._memory = memory
        self.size = size
        self.address = int(memory.call("cudaMalloc", size))  # type: ignore[call-overload]  # an address

    def upload(self, values: Array) -> None:
        self._memory.copy(self.address, values.ctypes.data, values.nbytes, to_device=True)
        # The host array may be freed or filled again right after this call.
        self._memory.synchronize()

    def download(self, values: Array) -> None:
        """Complete once the memory's `synchronize` returned."""
        self._memory.copy(values.ctypes.data, self.address, values.nbytes, to_device=False)

    def __del__(self) -> None:
        # Not there when the allocation itself failed.
        if hasattr(self, "address"):
            self._memory.call("cudaFree", self.address)


class TorchMemory:
    """One CUDA stream and the memory used on it, through torch's tensors, as the walk-through does it."""

    name = "torch"

    def __init__(self, torch: ModuleType) -> None:
        self._torch = torch
        self._stream = torch.cuda.Stream()

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream.cuda_stream)

    @property
    def compute_capability(self) -> str:
        """Of the current device."""
        major, minor = self._torch.cuda.get_device_capability()
        return f"{major}.{minor}"

    def allocate(self, size: int) -> DeviceBuffer:
        """`size` bytes, given back to torch when the buffer goes."""
        try:
            return _TorchBuffer(self._torch, self._stream, size)
        except RuntimeError as error:
            raise EnvironmentLacksError(
                f"CUDA refused {size} bytes: {str(error).splitlines()[0][:120]}", then="Close what else uses the GPU."
            ) from None

    def synchronize(self) -> None:
        """Wait until everything on the stream is done."""
        self._stream.synchronize()

    def timed(self, work: Callable[[], None]) -> float:
        """Milliseconds of what `work` queues on the stream, between two events around it; waits for it."""
        first, last = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record(self._stream)
        work()
        last.record(self._stream)
        self.synchronize()
        return float(first.elapsed_time(last))


class _TorchBuffer:
    def __init__(self, torch: ModuleType, stream: object, size: int) -> None:
        self._torch = torch
        self._stream = stream
        self._bytes = torch.empty(size, dtype=torch.uint8, device="cuda")
        self.size = size

    @property
    def address(self) -> int:
        return int(self._bytes.data_ptr())

    def upload(self, values: Array) -> None:
        # torch warns about arrays that it may not write to.
        ours = values if values.flags.writeable else values.copy()
        flat = self._torch.from_numpy(ours.reshape(-1).view(np.uint8))
        with self._torch.cuda.stream(self._stream):
            self._bytes[: values.nbytes].copy_(flat)

    def download(self, values: Array) -> None:
        flat = self._torch.from_numpy(values.reshape(-1).view(np.uint8))
        with self._torch.cuda.stream(self._stream):
            flat.copy_(self._bytes[: values.nbytes])


DeviceMemory = CudaPythonMemory | TorchMemory
DeviceBuffer = _CudaBuffer | _TorchBuffer


def _first_module(*names: str) -> ModuleType | None:
    for name in names:
        with suppress(ImportError):
            return importlib.import_module(name)
    return None
