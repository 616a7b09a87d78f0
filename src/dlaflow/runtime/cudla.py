"""cuDLA through ctypes, hybrid mode: load a DLA loadable on a core, run it, time it. Standard library, Python 3.8.

It serves this process, and it travels in the board's agent, where `main` is a program of its own: nothing of dlaflow
is imported. Structures, numbers and the order of calls are those of NVIDIA's cudla.h and samples; tests compile the
header of nvidia-cudla 13.2.51 and 13.5.25 and compare. What a release has is probed by symbol, never by version.

    CUDA context, stream -> CreateDevice -> ModuleLoadFromMemory -> descriptors, checked before anything is allocated
    -> cudaMalloc and MemRegister -> copies and SubmitTask on the stream -> MemUnregister, ModuleUnload, DestroyDevice
    -> cudaFree
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

_U8, _U32, _U64, _PTR = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p

NAME_BYTES, STRIDES = 81, 8
MOST_TENSORS = 128
"""Tensors of a kind; TensorRT builds no loadable with so many."""
MOST_SIDE, MOST_BATCH = 8192, 4096
"""What the DLA documents for C, H and W, and for N."""
MOST_BYTES = 4 << 30
"""All tensors together: the memory of a board's DLA is a few GiB."""

ELEMENT_BYTES = {1: 4, 2: 2, 3: 2, 4: 1, 5: 1, 6: 2}
"""Bytes of an element by dataType: float, half, int16, int8, uint8, uint16."""
NUM_INPUTS, NUM_OUTPUTS, INPUTS, OUTPUTS, NUM_STATISTICS, STATISTICS = range(6)
TASK_STATISTICS = 2
_CSV_LENGTH, _CSV_TEXT = 0, 1
_MOST_CSV = 64 << 20
_EXTERNAL_DEVICE = 911
_NON_BLOCKING, _TO_DEVICE, _TO_HOST = 1, 1, 2


class TensorDescriptor(ctypes.Structure):
    """cudlaModuleTensorDescriptor."""

    _fields_ = [
        ("name", _U8 * NAME_BYTES),
        ("size", _U64),
        *((side, _U64) for side in "nchw"),
        *((name, _U8) for name in ("dataFormat", "dataType", "dataCategory", "pixelFormat", "pixelMapping")),
        ("stride", _U32 * STRIDES),
    ]


class ModuleAttribute(ctypes.Union):
    """cudlaModuleAttribute."""

    _fields_ = [("numInputTensors", _U32), ("inputTensorDesc", ctypes.POINTER(TensorDescriptor))]


class Task(ctypes.Structure):
    """cudlaTask: outputs stand before inputs."""

    _fields_ = [
        ("moduleHandle", _PTR),
        ("outputTensor", ctypes.POINTER(_PTR)),
        ("numOutputTensors", _U32),
        ("numInputTensors", _U32),
        ("inputTensor", ctypes.POINTER(_PTR)),
        ("waitEvents", _PTR),
        ("signalEvents", _PTR),
    ]


class Tensor(NamedTuple):
    """A checked descriptor. `dims` are n, c, h, w; `strides` are bytes: element, line, surface, and what follows."""

    name: str
    size: int
    dims: tuple[int, int, int, int]
    format: int
    type: int
    category: int
    pixel_format: int
    pixel_mapping: int
    strides: tuple[int, ...]


STATUS: dict[int, tuple[str, str, str]] = {
    1: ("InvalidParam", "an argument is wrong, or memory of another kind was handed in", "Report it with --debug"),
    2: ("OutOfResources", "no handle or memory is left: 16 handles a DLA", "Close what else uses this DLA core"),
    3: (
        "CreationFailed",
        "the handle was not made",
        "Is there such a core? May this user open /dev/nvhost*nvdla*?",
    ),
    4: ("InvalidAddress", "the memory is not registered with this handle", "Report it with --debug"),
    5: ("Os", "the operating system refused", "Look into dmesg, and at the groups video and render"),
    6: ("Cuda", "CUDA failed", "Does another CUDA program work on this GPU?"),
    7: (
        "Umd",
        "the DLA's runtime refused: a TensorRT engine is no loadable, or it was built for other DLA software",
        "Build it with --standalone for this board's release",
    ),
    8: ("InvalidDevice", "there is no such DLA, or the handle is gone", "Choose --core 0 or 1; Thor has no DLA"),
    9: ("InvalidAttribute", "this release does not know what was asked", "Leave out --statistics"),
    10: ("IncompatibleDlaSWVersion", "built for another release of the DLA's software", "Build it for this release"),
    11: ("MemoryRegistered", "the memory is registered already", "Report it with --debug"),
    12: ("InvalidModule", "the loadable is not loaded", "Report it with --debug"),
    13: (
        "UnsupportedOperation",
        "not possible here: a discrete GPU, a second loadable on a handle, a capture into a CUDA graph",
        "Run on the integrated GPU, outside of a capture",
    ),
    14: ("NvSci", "NvSciBuf or NvSciSync failed", "Only standalone mode uses them: report it with --debug"),
    15: (
        "DriverNotFound",
        "the DLA's driver library is not here",
        "In a container: --runtime nvidia; else use a Jetson",
    ),
    0x40000001: ("DlaErrInvalidInput", "the DLA got an input that it cannot read", "Build the loadable again"),
    0x40000002: ("DlaErrInvalidPreAction", "what the task was to wait for is wrong", "Report it with --debug"),
    0x40000003: ("DlaErrNoMem", "the DLA has no memory", "Close what else uses it"),
    0x40000004: ("DlaErrProcessorBusy", "the DLA is busy", "Try again"),
    0x40000005: ("DlaErrTaskStatusMismatch", "the task did not end as expected", "Look into dmesg; run it again"),
    0x40000006: (
        "DlaErrEngineTimeout",
        "the task took too long",
        "Lock the clocks, or cut the model up",
    ),
    0x40000007: ("DlaErrDataMismatch", "the DLA's data are not what was expected", "Look into dmesg; run it again"),
    0x7FFFFFFF: ("Unknown", "cuDLA does not say", "Look into dmesg"),
}
"""Status -> cudla.h's name without cudlaError, its cause, what to do."""


class CudlaError(Exception):
    """What went wrong, `what`, and what to do, `then`. `lacks`: the machine lacks something, else the file is wrong."""

    def __init__(self, what: str, then: str, lacks: bool = True) -> None:
        super().__init__(f"{what}. {then}.")
        self.what, self.then, self.lacks = what, then, lacks


def status_error(call: str, status: int) -> CudlaError:
    """The error for a status that `call` returned; it may come from a task that was queued before."""
    name, cause, then = STATUS.get(status, ("", "a status that cudla.h does not have", "Look into dmesg"))
    return CudlaError(f"{call} answered {status:#x} {name}: {cause}".replace(" :", ":"), then, lacks=status != 7)


def tensor_of(raw: TensorDescriptor) -> Tensor:
    """A descriptor as the library filled it in. Raises CudlaError, before anything is allocated by its numbers."""
    held = bytes(raw.name)
    name = held.split(b"\0")[0].decode("utf-8", "backslashreplace")
    if b"\0" not in held:
        _refuse(name, "its name does not end within 81 bytes")
    dims = (int(raw.n), int(raw.c), int(raw.h), int(raw.w))
    form, kind, category = int(raw.dataFormat), int(raw.dataType), int(raw.dataCategory)
    pixel, mapping = int(raw.pixelFormat), int(raw.pixelMapping)
    strides = tuple(map(int, raw.stride))
    return check_tensor(Tensor(name, int(raw.size), dims, form, kind, category, pixel, mapping, strides))


def check_tensor(tensor: Tensor) -> Tensor:
    """The descriptor itself, when its numbers can be true. Raises CudlaError."""
    n, c, h, w = tensor.dims
    if not 1 <= n <= MOST_BATCH or not all(1 <= side <= MOST_SIDE for side in (c, h, w)):
        sides = f"at most {MOST_BATCH} images and {MOST_SIDE} on each side are possible"
        _refuse(tensor.name, f"dimensions {tensor.dims}, {sides}")
    if tensor.type not in ELEMENT_BYTES:
        _refuse(tensor.name, f"data type {tensor.type} is none of {sorted(ELEMENT_BYTES)}")
    if not n * c * h * w * ELEMENT_BYTES[tensor.type] <= tensor.size <= MOST_BYTES:
        _refuse(tensor.name, f"{tensor.size} bytes for {tensor.dims}, which no memory layout needs")
    return tensor


def _refuse(name: str, why: str) -> NoReturn:
    raise CudlaError(f"cuDLA describes tensor {name!r} in a way that cannot be true: {why}", _OTHER_FILE, lacks=False)


_OTHER_FILE = "Build the loadable again, for this board's release"


def open_library(*names: str, folders: Sequence[str] = ()) -> ctypes.CDLL:
    """The first shared library of these names, by the loader, or else in `folders` (patterns). Raises CudlaError."""
    found = [path for folder in folders for name in names for path in sorted(glob.glob(os.path.join(folder, name)))]
    reasons = []
    for path in (*names, *found):
        library = _opened(path)
        if isinstance(library, ctypes.CDLL):
            return library
        reasons.append(library)
    # cuDLA's library itself may be here and what it needs, the DLA's driver, not: that reason comes last.
    raise CudlaError(f"{names[0]} cannot be loaded ({reasons[-1]})", _NO_LIBRARY)


def _opened(path: str) -> ctypes.CDLL | str:
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        return str(error)


_NO_LIBRARY = "Run on a Jetson with a DLA and CUDA (JetPack 6: package libcudla-12-6)"
_RUNTIMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
_FOLDERS = ("/usr/local/cuda*/lib64", "/usr/local/cuda*/targets/*/lib", "/usr/lib/aarch64-linux-gnu")


class Cuda:
    """The few calls of the CUDA runtime that a run needs, and one stream. The runtime lies beside cuDLA's library."""

    def __init__(self, library: ctypes.CDLL | None = None) -> None:
        self._library = library or open_library(*_RUNTIMES, folders=_FOLDERS)
        # Both make the primary context, which must exist before a handle and outlive it.
        self.call("cudaFree", _PTR(0))
        self.call("cudaSetDevice", 0)
        self.stream = _PTR()
        self.call("cudaStreamCreateWithFlags", ctypes.byref(self.stream), _NON_BLOCKING)

    def call(self, name: str, *arguments: Any) -> None:
        """One call. Raises CudlaError with CUDA's own name of the error."""
        status = getattr(self._library, name)(*arguments)
        if status:
            self._library.cudaGetErrorName.restype = ctypes.c_char_p
            said = (self._library.cudaGetErrorName(status) or b"?").decode("ascii", "replace")
            raise CudaError(status, f"CUDA refused {name}: {status} {said}")

    def allocate(self, size: int) -> int:
        """The address of `size` bytes of device memory."""
        address = _PTR()
        self.call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(size))
        if not address.value:
            raise CudlaError(f"CUDA gave no {size} bytes", "Close what else uses the GPU")
        return address.value

    def upload(self, address: int, data: bytes) -> None:
        """Queue a copy to the device."""
        self.call("cudaMemcpyAsync", _PTR(address), data, ctypes.c_size_t(len(data)), _TO_DEVICE, self.stream)

    def download(self, address: int, size: int) -> Any:
        """Queue a copy to a host buffer, which holds it once the stream is done."""
        data = ctypes.create_string_buffer(size)
        self.call("cudaMemcpyAsync", data, _PTR(address), ctypes.c_size_t(size), _TO_HOST, self.stream)
        return data

    def clear(self, address: int, size: int) -> None:
        """Queue zeros."""
        self.call("cudaMemsetAsync", _PTR(address), 0, ctypes.c_size_t(size), self.stream)

    def synchronize(self) -> None:
        """Wait until the stream is done."""
        self.call("cudaStreamSynchronize", self.stream)


class CudaError(CudlaError):
    """A refusal of the CUDA runtime with its number."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what, "Close what else uses the GPU; `dlaflow doctor` tells whether one is there")
        self.status = status


class Session:
    """One loadable on one core: `inputs` and `outputs` are known at once, memory is taken at the first run.

    `library` and `cuda` replace the libraries that would be found. Close it (it is a context) before it goes.
    """

    def __init__(
        self, loadable: bytes, core: int = 0, library: ctypes.CDLL | None = None, cuda: ctypes.CDLL | None = None
    ) -> None:
        self._library = library or open_library("libcudla.so.1", folders=_FOLDERS)
        self._undo: list[Callable[[], None]] = []
        self._memory: dict[str, list[tuple[int, int, int]]] = {}
        self._task = Task()
        self._bytes = loadable  # must live as long as the module
        try:
            self.version = self._version()
            self._check_core(core)
            self._cuda = Cuda(cuda)
            self._later(self._cuda.call, "cudaStreamDestroy", self._cuda.stream)
            self._device, self._module = _PTR(), _PTR()
            self._call("CreateDevice", _U64(core), ctypes.byref(self._device), _U32(0))
            self._later(self._call, "DestroyDevice", self._device)
            size = ctypes.c_size_t(len(loadable))
            self._call("ModuleLoadFromMemory", self._device, self._bytes, size, ctypes.byref(self._module), _U32(0))
            self._later(self._call, "ModuleUnload", self._module, _U32(0))
            self.inputs = self._tensors(NUM_INPUTS, INPUTS)
            self.outputs = self._tensors(NUM_OUTPUTS, OUTPUTS)
            if not self.inputs or not self.outputs:
                raise CudlaError("the loadable has no input or no output", _OTHER_FILE, lacks=False)
            total = sum(each.size for each in (*self.inputs, *self.outputs))
            if total > MOST_BYTES:
                raise CudlaError(f"the loadable's tensors take {total} bytes", _OTHER_FILE, lacks=False)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all back, the last taken first; device memory goes after the handle. A second time does nothing."""
        undo, self._undo = self._undo, []
        if undo:
            with suppress(CudlaError):  # never with a task in flight
                self._cuda.synchronize()
        for step in reversed(undo):
            with suppress(CudlaError):
                step()

    def run(self, inputs: Sequence[bytes]) -> list[bytes]:
        """The outputs' bytes for the inputs' bytes, one or several tasks behind each other in each.

        Raises CudlaError, also for a task that failed on the DLA.
        """
        count = self._count(inputs)
        self._allocate()
        found: list[list[bytes]] = [[] for _ in self.outputs]
        for index in range(count):
            held = [data[index * t.size : (index + 1) * t.size] for data, t in zip(inputs, self.inputs)]
            for (address, _, _), data in zip(self._memory["input"], held):
                self._cuda.upload(address, data)
            for address, _, size in self._memory["output"]:
                self._cuda.clear(address, size)
            self._submit()
            buffers = [self._cuda.download(address, size) for address, _, size in self._memory["output"]]
            self._wait()
            for place, buffer in zip(found, buffers):
                place.append(buffer.raw)
        return [b"".join(parts) for parts in found]

    def time(self, inputs: Sequence[bytes], runs: int, warm_up: int) -> list[float]:
        """Milliseconds of each of `runs` tasks over the first inputs, by CUDA events around it on its stream."""
        self.run(self._firsts(inputs))
        events = [_PTR(), _PTR()]
        times: list[float] = []
        made: list[Any] = []
        try:
            for event in events:
                self._cuda.call("cudaEventCreate", ctypes.byref(event))
                made.append(event)
            for index in range(warm_up + runs):
                self._cuda.call("cudaEventRecord", events[0], self._cuda.stream)
                self._submit()
                self._cuda.call("cudaEventRecord", events[1], self._cuda.stream)
                self._wait()
                span = ctypes.c_float()
                self._cuda.call("cudaEventElapsedTime", ctypes.byref(span), events[0], events[1])
                if index >= warm_up:
                    times.append(span.value)
        finally:
            for event in made:
                self._cuda.call("cudaEventDestroy", event)
        return times

    def statistics(self, inputs: Sequence[bytes], megahertz: int) -> list[str]:
        """One task's times of each layer as CSV, a text a statistics buffer; the DLA's clock is the caller's word.

        Raises CudlaError where this cuDLA or this loadable has none.
        """
        table = self._export_table()
        if not self._statistics():
            raise CudlaError("the loadable keeps no statistics", "Leave out --statistics")
        self._allocate(statistics=True)
        self.run(self._firsts(inputs))
        texts = []
        for index, (address, _, size) in enumerate(self._memory["statistics"]):
            raw = self._cuda.download(address, size)
            self._wait()
            length = _U64()
            self._translate(table, raw, megahertz, index, _CSV_LENGTH, length)
            if length.value > _MOST_CSV:
                raise CudlaError(f"cuDLA announces statistics of {length.value} bytes", "Leave out --statistics")
            text = ctypes.create_string_buffer(length.value + 1)
            self._translate(table, raw, megahertz, index, _CSV_TEXT, _U64(ctypes.addressof(text)))
            texts.append(text.value.decode("utf-8", "backslashreplace"))
        return texts

    def _translate(self, table: Any, raw: Any, megahertz: int, index: int, what: int, place: Any) -> None:
        status = table(self._device, raw, _U32(megahertz), _U32(index), what, ctypes.byref(place))
        if status:
            raise status_error("etiTranslateStats", status)

    def _firsts(self, inputs: Sequence[bytes]) -> list[bytes]:
        return [data[: each.size] for data, each in zip(inputs, self.inputs)]

    def _export_table(self) -> Any:
        table = _PTR()
        self._call("GetExternalExportTable", ctypes.byref(table), _U32(0))
        first = ctypes.cast(table, ctypes.POINTER(_PTR))[0] if table.value else None
        if not first:
            raise CudlaError("this cuDLA translates no statistics", "Leave out --statistics")
        kinds = (ctypes.c_int, _PTR, _PTR, _U32, _U32, ctypes.c_int, _PTR)
        return ctypes.CFUNCTYPE(*kinds)(first)

    def _version(self) -> str:
        number = _U64()
        self._call("GetVersion", ctypes.byref(number))
        return f"{number.value // 1000000}.{number.value // 1000 % 1000}.{number.value % 1000}"

    def _check_core(self, core: int) -> None:
        count = _U64()
        self._call("DeviceGetCount", ctypes.byref(count))
        if not 0 <= core < count.value:
            then = f"Choose --core 0 to {count.value - 1}" if count.value else "Thor and discrete GPUs have none"
            raise CudlaError(f"there is no DLA core {core}; cuDLA counts {count.value}", then)

    def _tensors(self, counting: int, describing: int) -> tuple[Tensor, ...]:
        answer = ModuleAttribute()
        self._call("ModuleGetAttributes", self._module, counting, ctypes.byref(answer))
        count = int(answer.numInputTensors)
        if count > MOST_TENSORS:
            raise CudlaError(f"cuDLA counts {count} tensors of a kind", _OTHER_FILE, lacks=False)
        held = (TensorDescriptor * max(count, 1))()
        answer.inputTensorDesc = ctypes.cast(held, ctypes.POINTER(TensorDescriptor))
        if count:
            self._call("ModuleGetAttributes", self._module, describing, ctypes.byref(answer))
        return tuple(tensor_of(raw) for raw in held[:count])

    def _statistics(self) -> tuple[int, ...]:
        """The bytes of each statistics buffer. Of their descriptors only the size means something."""
        answer = ModuleAttribute()
        self._call("ModuleGetAttributes", self._module, NUM_STATISTICS, ctypes.byref(answer))
        count = int(answer.numInputTensors)
        held = (TensorDescriptor * max(min(count, MOST_TENSORS), 1))()
        answer.inputTensorDesc = ctypes.cast(held, ctypes.POINTER(TensorDescriptor))
        if 0 < count <= MOST_TENSORS:
            self._call("ModuleGetAttributes", self._module, STATISTICS, ctypes.byref(answer))
        sizes = tuple(int(raw.size) for raw in held[:count])
        if count > MOST_TENSORS or any(not 0 < size <= MOST_BYTES for size in sizes):
            raise CudlaError(f"cuDLA describes {count} statistics buffers of {sizes[:4]} bytes", _OTHER_FILE, False)
        return sizes

    def _allocate(self, statistics: bool = False) -> None:
        if "input" not in self._memory:
            self._memory["input"] = [self._register(each.size) for each in self.inputs]
            self._memory["output"] = [self._register(each.size) for each in self.outputs]
            self._memory["statistics"] = []
        if statistics and not self._memory["statistics"]:
            self._memory["statistics"] = [self._register(size, TASK_STATISTICS) for size in self._statistics()]
        inputs = [registered for _, registered, _ in self._memory["input"]]
        outputs = [registered for kind in ("output", "statistics") for _, registered, _ in self._memory[kind]]
        # The arrays must live as long as the task points to them.
        self._arrays = (_PTR * len(outputs))(*outputs), (_PTR * len(inputs))(*inputs)
        self._task = Task(self._module, self._arrays[0], len(outputs), len(inputs), self._arrays[1], None, None)

    def _register(self, size: int, flags: int = 0) -> tuple[int, int, int]:
        """Device memory: its CUDA address for copies, its registered pointer for tasks, its size."""
        address, registered = self._cuda.allocate(size), _PTR()
        # At the bottom of the pile: it goes after the handle.
        self._undo.insert(1, lambda: self._cuda.call("cudaFree", _PTR(address)))
        place = ctypes.byref(registered)
        self._call("MemRegister", self._device, _PTR(address), ctypes.c_size_t(size), place, _U32(flags))
        self._later(self._call, "MemUnregister", self._device, registered)
        return address, registered.value or 0, size

    def _submit(self) -> None:
        one = _U32(1)
        self._call("SubmitTask", self._device, ctypes.byref(self._task), one, self._cuda.stream, _U32(0))

    def _wait(self) -> None:
        try:
            self._cuda.synchronize()
        except CudaError as error:
            if error.status != _EXTERNAL_DEVICE:
                raise
            self._call("GetLastError", self._device)
            raise

    def _count(self, inputs: Sequence[bytes]) -> int:
        """How many tasks the inputs are for."""
        sizes = [len(data) for data in inputs]
        counts = {size // each.size for size, each in zip(sizes, self.inputs)}
        exact = all(size % each.size == 0 for size, each in zip(sizes, self.inputs))
        if len(sizes) != len(self.inputs) or not exact or len(counts) != 1 or 0 in counts:
            wanted = ", ".join(f"{each.name} {each.size}" for each in self.inputs)
            raise CudlaError(f"inputs of {sizes} bytes do not fit the loadable's {wanted}", "Pack them again", False)
        return counts.pop()

    def _call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, f"cudla{name}", None)
        if function is None:
            raise CudlaError(f"this libcudla.so.1 has no cudla{name}", "Leave out --statistics, or update JetPack")
        function.restype = ctypes.c_int32
        status = function(*arguments)
        if status:
            raise status_error(f"cudla{name}", status)

    def _later(self, *step: Any) -> None:
        self._undo.append(lambda: step[0](*step[1:]))


DESCRIPTION, TIMES = "tensors.json", "times.json"


def main(arguments: list[str]) -> int:
    """The program on a board: `--loadable=F --core=N [--inputs=F,F --runs=N --warmUp=N --megahertz=N]`.

    Writes into the working folder: tensors.json, output0.raw ..., times.json, statistics0.csv ... What went wrong is
    its last line, as JSON.
    """
    options = dict(argument[2:].partition("=")[::2] for argument in arguments)
    try:
        with Session(_content(options["loadable"]), int(options.get("core", "0"))) as session:
            tensors = {"cudla": session.version, "inputs": session.inputs, "outputs": session.outputs}
            with open(DESCRIPTION, "w", encoding="utf-8") as file:
                json.dump(tensors, file)
            if "inputs" in options:
                _work(session, [_content(name) for name in options["inputs"].split(",")], options)
    except CudlaError as error:
        sys.stdout.write(json.dumps({"what": error.what, "then": error.then, "lacks": error.lacks}) + "\n")
        return 1
    return 0


def _work(session: Session, inputs: list[bytes], options: dict[str, str]) -> None:
    if "runs" in options:
        with open(TIMES, "w", encoding="utf-8") as file:
            json.dump(session.time(inputs, int(options["runs"]), int(options.get("warmUp", "0"))), file)
    if "megahertz" in options:
        for number, text in enumerate(session.statistics(inputs, int(options["megahertz"]))):
            with open(f"statistics{number}.csv", "w", encoding="utf-8") as file:
                file.write(text)
    if "runs" not in options and "megahertz" not in options:
        for number, data in enumerate(session.run(inputs)):
            with open(f"output{number}.raw", "wb") as raw:
                raw.write(data)


def _content(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read()
