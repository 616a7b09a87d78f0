"""Compile and drive the pretended cuDLA of stand_in_cudla.c, and describe tensors as it wants them."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from dlaflow.runtime.cudla import STRIDES, Cuda, Library, Session, Tensor

SOURCE = Path(__file__).with_name("stand_in_cudla.c")
COMPILED = "DLAFLOW_STAND_IN_CUDLA"
"""A folder of the libraries, compiled before: benchmarks/mutate_cudla.py saves itself hundreds of calls of gcc."""
FLOAT16, INT8 = 2, 4
WORK = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_void_p))
"""What a task does with the memory of its inputs and of its outputs: for `standin_set_compute`."""


class Loaded:
    """The two libraries of a folder, compiled already, in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cuda = ctypes.CDLL(str(folder / "libcudart.so.13"))
        self.dla = ctypes.CDLL(str(folder / "libcudla.so.1"))
        self.cuda.standin_faults.restype = ctypes.c_char_p

    def open(self, loadable: bytes, core: int = 0) -> Session:
        """A session on the pretended DLA, through ctypes."""
        return Session(loadable, core, Library(self.dla), lambda: Cuda(self.cuda))

    @property
    def faults(self) -> str:
        """The rules that were broken."""
        return self.cuda.standin_faults().decode()

    @property
    def held(self) -> int:
        """Streams, events, memory and handles that are not given back."""
        return self.cuda.standin_held() + self.dla.standin_handles()


class StandIn(Loaded):
    """The two libraries, compiled into a folder first."""

    def __init__(self, folder: Path, *flags: str) -> None:
        if COMPILED in os.environ and not flags:
            folder = Path(os.environ[COMPILED])
        else:
            compile_to(folder, *flags)
        super().__init__(folder)


def compile_to(folder: Path, *flags: str) -> None:
    """Compile both libraries; skips the test without a compiler."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("no gcc to compile the pretended cuDLA with")
    runtime, library = folder / "libcudart.so.13", folder / "libcudla.so.1"
    base = [gcc, "-shared", "-fPIC", "-w", "-O1", *flags]
    subprocess.run([*base, "-DRUNTIME", str(SOURCE), "-o", str(runtime)], check=True)
    subprocess.run([*base, str(SOURCE), str(runtime), "-o", str(library), "-Wl,-rpath,$ORIGIN"], check=True)


class PythonRuntime:
    """cuda.bindings.runtime's way of answering, (error, value...), over the pretended CUDA runtime."""

    class cudaMemcpyKind:
        cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost = 1, 2

    MADE: ClassVar = {"cudaMalloc", "cudaStreamCreate", "cudaEventCreate"}

    def __init__(self, cuda: ctypes.CDLL) -> None:
        self._cuda = cuda

    def __getattr__(self, name: str) -> Callable[..., tuple[float, ...]]:
        function = getattr(self._cuda, name)

        def call(*given: int) -> tuple[float, ...]:
            words = [ctypes.c_void_p(each) if each > 99 else each for each in given]
            if name in self.MADE:
                made = ctypes.c_void_p()
                return function(ctypes.byref(made), *words), made.value or 0
            if name == "cudaEventElapsedTime":
                span = ctypes.c_float()
                return function(ctypes.byref(span), *words), span.value
            return (function(*words),)

        return call


class Torch:
    """What of torch is used for device memory, over the pretended CUDA runtime: tensors of bytes, a stream, events."""

    uint8 = "uint8"

    def __init__(self, cuda: ctypes.CDLL) -> None:
        runtime = PythonRuntime(cuda)

        def answer(name: str, *given: float) -> float:
            status, *values = getattr(runtime, name)(*given)
            if status:
                raise RuntimeError(f"CUDA error: {status}\nmore")
            return values[0] if values else 0

        class Stream:
            def __init__(self) -> None:
                self.cuda_stream = answer("cudaStreamCreate")

            def synchronize(self) -> None:
                answer("cudaStreamSynchronize", self.cuda_stream)

            def __del__(self) -> None:
                answer("cudaStreamDestroy", self.cuda_stream)

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing, "torch's own default counts nothing"
                self.event = answer("cudaEventCreate")

            def record(self, stream: Stream) -> None:
                answer("cudaEventRecord", self.event, stream.cuda_stream)

            def elapsed_time(self, last: Event) -> float:
                return answer("cudaEventElapsedTime", self.event, last.event)

            def __del__(self) -> None:
                answer("cudaEventDestroy", self.event)

        class Bytes:
            def __init__(self, address: int, size: int, owner: object) -> None:
                self.address, self.size, self.owner = address, size, owner

            def data_ptr(self) -> int:
                return self.address

            def __getitem__(self, part: slice) -> Bytes:
                return Bytes(self.address, part.stop, self)

            def copy_(self, other: Bytes) -> None:
                """Both ways wait, as torch's do for memory that is not pinned."""
                (stream,) = current
                kind = 1 if isinstance(other.owner, np.ndarray) else 2
                answer("cudaMemcpyAsync", self.address, other.address, self.size, kind, stream.cuda_stream)
                stream.synchronize()

            def __del__(self) -> None:
                if self.owner is None:
                    answer("cudaFree", self.address)

        current: list[Stream] = []

        @contextmanager
        def use(stream: Stream) -> Iterator[None]:
            current.append(stream)
            yield
            current.pop()

        self.cuda = SimpleNamespace(Stream=Stream, Event=Event, stream=use, is_available=lambda: True)
        self.from_numpy = lambda array: Bytes(array.ctypes.data, array.nbytes, array)
        self.empty = lambda size, dtype, device: Bytes(answer("cudaMalloc", size), size, None)


def linear(name: str, dims: tuple[int, int, int, int], kind: int = INT8) -> Tensor:
    """A dla_linear descriptor, by the golden one's pattern."""
    n, c, h, w = dims
    size = 1 if kind == INT8 else 2
    line = -(-w * size // 64) * 64
    return Tensor(name, n * c * h * line, dims, 1, kind, 3, 0, 0, (size, line, h * line, h * line, 0, 0, 0, 0))


def loadable_of(inputs: list[Tensor], outputs: list[Tensor], statistics: int = 0) -> bytes:
    """The bytes of a loadable that the stand-in loads."""
    own = [linear("statistics", (1, 1, 1, 64))] * statistics
    head = b"STND" + struct.pack("<3I", len(inputs), len(outputs), statistics)
    return head + b"".join(map(packed, [*inputs, *outputs, *own]))


def packed(tensor: Tensor) -> bytes:
    """A descriptor as C lays it out."""
    kinds = tensor.format, tensor.type, tensor.category, tensor.pixel_format, tensor.pixel_mapping
    strides = (*tensor.strides, *[0] * STRIDES)[:STRIDES]
    return struct.pack("<81s7x5Q5B3x8I", tensor.name.encode(), tensor.size, *tensor.dims, *kinds, *strides)
