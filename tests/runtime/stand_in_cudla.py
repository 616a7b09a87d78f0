"""Compile and drive the pretended cuDLA of stand_in_cudla.c, and describe tensors as it wants them."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from dlaflow.runtime.cudla import STRIDES, Cuda, Library, Session, Tensor

SOURCE = Path(__file__).with_name("stand_in_cudla.c")
FLOAT16, INT8 = 2, 4


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
        gcc = shutil.which("gcc")
        if gcc is None:
            pytest.skip("no gcc to compile the pretended cuDLA with")
        runtime, library = folder / "libcudart.so.13", folder / "libcudla.so.1"
        base = [gcc, "-shared", "-fPIC", "-w", "-O1", *flags]
        subprocess.run([*base, "-DRUNTIME", str(SOURCE), "-o", str(runtime)], check=True)
        subprocess.run([*base, str(SOURCE), str(runtime), "-o", str(library), "-Wl,-rpath,$ORIGIN"], check=True)
        super().__init__(folder)


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
