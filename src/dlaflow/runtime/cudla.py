"""cuDLA, hybrid mode: load a DLA loadable on a core, run it, time it. Standard library, Python 3.8.

It serves this process, and it travels in the board's agent, where `main` is a program of its own: nothing of dlaflow
is imported. NVIDIA's binding `cuda.bindings.cudla` makes the calls where it is installed (CUDA 13), else ctypes over
libcudla.so.1 in the binding's own words. Structures, numbers and the order of calls are those of NVIDIA's cudla.h and
samples; tests compare with the header of nvidia-cudla 13.2.51 and 13.5.25 and with the binding's classes. What a
release has is probed by symbol, never by version.

    CUDA context, stream -> CreateDevice -> ModuleLoadFromMemory -> descriptors, checked before anything is allocated
    -> cudaMalloc and MemRegister -> copies and SubmitTask on the stream -> MemUnregister, ModuleUnload, DestroyDevice
    -> cudaFree
"""

from __future__ import annotations

import ctypes
import glob
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn, TypeVar

_Answer = TypeVar("_Answer")
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


_REPORT, _DMESG = "Report it with --debug", "Look into dmesg; run it again"
_STATUS = f"""
1 InvalidParam|an argument is wrong, or memory of another kind was handed in|{_REPORT}
2 OutOfResources|no handle or memory is left: 16 handles a DLA|Close what else uses this DLA core
3 CreationFailed|the handle was not made|Is there such a core? May this user open /dev/nvhost*nvdla*?
4 InvalidAddress|the memory is not registered with this handle|{_REPORT}
5 Os|the operating system refused|Look into dmesg, and at the groups video and render
6 Cuda|CUDA failed|Does another CUDA program work on this GPU?
7 Umd|a TensorRT engine is no loadable, nor is one for other DLA software|Build it with --standalone on this release
8 InvalidDevice|there is no such DLA, or the handle is gone|Choose --core 0 or 1; Thor has no DLA
9 InvalidAttribute|this release does not know what was asked|Leave out --statistics
10 IncompatibleDlaSWVersion|built for another release of the DLA's software|Build it for this release
11 MemoryRegistered|the memory is registered already|{_REPORT}
12 InvalidModule|the loadable is not loaded|{_REPORT}
13 UnsupportedOperation|a discrete GPU, a second loadable on a handle, a CUDA graph|Use the integrated GPU and no graph
14 NvSci|NvSciBuf or NvSciSync failed|Only standalone mode uses them: report it with --debug
15 DriverNotFound|the DLA's driver library is not here|In a container: --runtime nvidia; else use a Jetson
0x40000001 DlaErrInvalidInput|the DLA got an input that it cannot read|Build the loadable again
0x40000002 DlaErrInvalidPreAction|what the task was to wait for is wrong|{_REPORT}
0x40000003 DlaErrNoMem|the DLA has no memory|Close what else uses it
0x40000004 DlaErrProcessorBusy|the DLA is busy|Try again
0x40000005 DlaErrTaskStatusMismatch|the task did not end as expected|{_DMESG}
0x40000006 DlaErrEngineTimeout|the task took too long|Lock the clocks, or cut the model up
0x40000007 DlaErrDataMismatch|the DLA's data are not what was expected|{_DMESG}
0x7FFFFFFF Unknown|cuDLA does not say|Look into dmesg
"""
STATUS: dict[int, tuple[str, ...]] = {
    int(row.split()[0], 0): tuple(row.partition(" ")[2].split("|")) for row in _STATUS.strip().splitlines()
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
    """A descriptor as the library filled it in. Raises CudlaError for a name without an end."""
    held = bytes(raw.name)
    name = held.split(b"\0")[0].decode("utf-8", "backslashreplace")
    if b"\0" not in held:
        _refuse(name, "its name does not end within 81 bytes")
    dims = (int(raw.n), int(raw.c), int(raw.h), int(raw.w))
    form, kind, category = int(raw.dataFormat), int(raw.dataType), int(raw.dataCategory)
    pixel, mapping = int(raw.pixelFormat), int(raw.pixelMapping)
    strides = tuple(map(int, raw.stride))
    return Tensor(name, int(raw.size), dims, form, kind, category, pixel, mapping, strides)


def check_tensors(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Raises CudlaError where the numbers of a loadable's tensors cannot be true."""
    if not inputs or not outputs:
        raise CudlaError("the loadable has no input or no output", _OTHER_FILE, lacks=False)
    for tensor in (*inputs, *outputs):
        _check_tensor(tensor)
    total = sum(each.size for each in (*inputs, *outputs))
    if total > MOST_BYTES:
        raise CudlaError(f"the loadable's tensors take {total} bytes", _OTHER_FILE, lacks=False)


def _check_tensor(tensor: Tensor) -> None:
    n, c, h, w = tensor.dims
    if len(tensor.strides) != STRIDES:
        _refuse(tensor.name, f"{len(tensor.strides)} strides for {STRIDES}")
    if not 1 <= n <= MOST_BATCH or not all(1 <= side <= MOST_SIDE for side in (c, h, w)):
        sides = f"at most {MOST_BATCH} images and {MOST_SIDE} on each side are possible"
        _refuse(tensor.name, f"dimensions {tensor.dims}, {sides}")
    if tensor.type not in ELEMENT_BYTES:
        _refuse(tensor.name, f"data type {tensor.type} is none of {sorted(ELEMENT_BYTES)}")
    if not n * c * h * w * ELEMENT_BYTES[tensor.type] <= tensor.size <= MOST_BYTES:
        _refuse(tensor.name, f"{tensor.size} bytes for {tensor.dims}, which no memory layout needs")


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


class Library:
    """libcudla.so.1 through ctypes, in the words of NVIDIA's binding: handles and addresses are whole numbers.

    Raises CudlaError for a status that is no success.
    """

    def __init__(self, library: ctypes.CDLL | None = None) -> None:
        self._library = library or open_library("libcudla.so.1", folders=_FOLDERS)

    def get_version(self) -> int:
        """1,000,000 times the major, 1,000 times the minor number, and the patch."""
        number = _U64()
        self._call("GetVersion", ctypes.byref(number))
        return number.value

    def device_get_count(self) -> int:
        """The DLA cores."""
        count = _U64()
        self._call("DeviceGetCount", ctypes.byref(count))
        return count.value

    def create_device(self, device: int, flags: int) -> int:
        """A handle of core `device`."""
        made = _PTR()
        self._call("CreateDevice", _U64(device), ctypes.byref(made), _U32(flags))
        return made.value or 0

    def destroy_device(self, dev_handle: int) -> None:
        """Give a handle back."""
        self._call("DestroyDevice", _PTR(dev_handle))

    def module_load_from_memory(self, dev_handle: int, p_module: bytes, module_size: int, flags: int) -> int:
        """A module; the bytes must live as long."""
        made = _PTR()
        size = ctypes.c_size_t(module_size)
        self._call("ModuleLoadFromMemory", _PTR(dev_handle), p_module, size, ctypes.byref(made), _U32(flags))
        return made.value or 0

    def module_unload(self, h_module: int, flags: int) -> None:
        """Give a module back."""
        self._call("ModuleUnload", _PTR(h_module), _U32(flags))

    def module_get_attributes(self, h_module: int, attr_type: int) -> Any:
        """A count, or as many descriptors as the library counts; a caller looks at the count first."""
        answer = ModuleAttribute()
        counting = _COUNTED_BY.get(attr_type, attr_type)
        self._call("ModuleGetAttributes", _PTR(h_module), counting, ctypes.byref(answer))
        count = int(answer.numInputTensors)
        if counting == attr_type:
            return count
        held = (TensorDescriptor * count)()
        answer.inputTensorDesc = ctypes.cast(held, ctypes.POINTER(TensorDescriptor))
        self._call("ModuleGetAttributes", _PTR(h_module), attr_type, ctypes.byref(answer))
        return held

    def mem_register(self, dev_handle: int, ptr: int, size: int, flags: int) -> int:
        """The pointer that tasks know CUDA memory by."""
        made = _PTR()
        place = ctypes.byref(made)
        self._call("MemRegister", _PTR(dev_handle), _PTR(ptr), ctypes.c_size_t(size), place, _U32(flags))
        return made.value or 0

    def mem_unregister(self, dev_handle: int, dev_ptr: int) -> None:
        """Give such a pointer back; the memory stays."""
        self._call("MemUnregister", _PTR(dev_handle), _PTR(dev_ptr))

    def submit_task(self, dev_handle: int, ptr_to_tasks: int, num_tasks: int, stream: int, flags: int) -> None:
        """Queue tasks on a CUDA stream."""
        task = _PTR(ptr_to_tasks)
        self._call("SubmitTask", _PTR(dev_handle), task, _U32(num_tasks), _PTR(stream), _U32(flags))

    def get_last_error(self, dev_handle: int) -> int:
        """The status of the tasks behind the handle, which means something once its stream was waited for."""
        return self._status("GetLastError", _PTR(dev_handle))

    def get_external_export_table(self, flags: int) -> int:
        """The address of the table of functions for statistics, which the binding does not have."""
        table = _PTR()
        self._call("GetExternalExportTable", ctypes.byref(table), _U32(flags))
        return table.value or 0

    def _call(self, name: str, *arguments: Any) -> None:
        status = self._status(name, *arguments)
        if status:
            raise status_error(f"cudla{name}", status)

    def _status(self, name: str, *arguments: Any) -> int:
        function = getattr(self._library, f"cudla{name}", None)
        if function is None:
            raise CudlaError(f"this libcudla.so.1 has no cudla{name}", "Leave out --statistics, or update JetPack")
        function.restype = ctypes.c_int32
        return int(function(*arguments))


_COUNTED_BY = {INPUTS: NUM_INPUTS, OUTPUTS: NUM_OUTPUTS, STATISTICS: NUM_STATISTICS}


def open_cudla() -> Any:
    """NVIDIA's binding, where it is installed and finds the library, else `Library`, which has its words.

    Raises CudlaError.
    """
    with suppress(Exception):  # for another Python, without numpy, without the library: ctypes tells what lacks
        binding = importlib.import_module("cuda.bindings.cudla")
        binding.get_version()
        return binding
    return Library()


class Cuda:
    """Device memory and one stream through ctypes over CUDA's runtime library, which lies beside cuDLA's.

    Raises CudaError and CudlaError.
    """

    name = "libcudart"

    def __init__(self, library: ctypes.CDLL | None = None) -> None:
        self._library = library or open_library(*_RUNTIMES, folders=_FOLDERS)
        # Both make the primary context, which must exist before a handle and outlive it.
        self.call("cudaFree", _PTR(0))
        self.call("cudaSetDevice", 0)
        self._stream = self._made("cudaStreamCreateWithFlags", _NON_BLOCKING)
        self._held: list[ctypes.c_void_p] = []

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return self._stream.value or 0

    def allocate(self, size: int) -> CudaBuffer:
        """`size` bytes, until `close`."""
        address = self._made("cudaMalloc", ctypes.c_size_t(size))
        if not address.value:
            raise CudlaError(f"CUDA gave no {size} bytes", "Close what else uses the GPU")
        self._held.append(address)
        return CudaBuffer(self, address, size)

    def copy(self, target: Any, source: Any, size: int, kind: int) -> None:
        """Queue a copy."""
        self.call("cudaMemcpyAsync", target, source, ctypes.c_size_t(size), kind, self._stream)

    def synchronize(self) -> None:
        """Wait until the stream is done."""
        self.call("cudaStreamSynchronize", self._stream)

    def timed(self, work: Callable[[], None]) -> float:
        """Milliseconds of what `work` queues on the stream, between two events around it; waits for it."""
        events: list[ctypes.c_void_p] = []
        try:
            for queue in (work, lambda: None):
                events.append(self._made("cudaEventCreate"))
                self.call("cudaEventRecord", events[-1], self._stream)
                queue()
            self.synchronize()
            span = ctypes.c_float()
            self.call("cudaEventElapsedTime", ctypes.byref(span), *events)
            return span.value
        finally:
            for event in events:
                self.call("cudaEventDestroy", event)

    def close(self) -> None:
        """Give memory and stream back."""
        for address in self._held:
            self.call("cudaFree", address)
        self.call("cudaStreamDestroy", self._stream)

    def call(self, name: str, *arguments: Any) -> None:
        """One call. Raises CudaError with CUDA's own name of the error."""
        status = getattr(self._library, name)(*arguments)
        if status:
            self._library.cudaGetErrorName.restype = ctypes.c_char_p
            said = (self._library.cudaGetErrorName(status) or b"?").decode("ascii", "replace")
            raise CudaError(f"CUDA refused {name}: {status} {said}")

    def _made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        made = _PTR()
        self.call(name, ctypes.byref(made), *arguments)
        return made


class CudaBuffer:
    """A piece of device memory of `size` bytes; its copies are queued and done once the stream was waited for."""

    def __init__(self, cuda: Cuda, address: ctypes.c_void_p, size: int) -> None:
        self._cuda, self._place, self.size = cuda, address, size
        self.address: int = address.value or 0

    def upload(self, data: bytes) -> None:
        """Fill it; the bytes must live until the stream was waited for."""
        self._cuda.copy(self._place, data, len(data), _TO_DEVICE)

    def download(self) -> Any:
        """A host buffer that will hold its bytes."""
        data = ctypes.create_string_buffer(self.size)
        self._cuda.copy(data, self._place, self.size, _TO_HOST)
        return data


class CudaError(CudlaError):
    """A refusal of the CUDA runtime."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "Close what else uses the GPU; `dlaflow doctor` tells whether one is there")


class Session:
    """One loadable on one core: `inputs` and `outputs` are known at once, memory is taken at the first run.

    `library` replaces what `open_cudla` finds; `memory` opens device memory with the interface of `Cuda`, once the
    core is known to be there. Close it (it is a context) before it goes.
    """

    def __init__(
        self, loadable: bytes, core: int = 0, library: Any = None, memory: Callable[[], Any] | None = None
    ) -> None:
        self._library = library or open_cudla()
        self._undo: list[Callable[[], None]] = []
        self._buffers: dict[str, list[tuple[Any, int]]] = {}
        self._bytes = loadable  # must live as long as the module
        try:
            number = self._call("get_version")
            self.version = f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}"
            count = self._call("device_get_count")
            if not 0 <= core < count:
                then = f"Choose --core 0 to {count - 1}" if count else "Thor and discrete GPUs have none"
                raise CudlaError(f"there is no DLA core {core}; cuDLA counts {count}", then)
            self._cuda = (memory or Cuda)()
            self._undo.append(self._cuda.close)
            binding = "ctypes" if isinstance(self._library, Library) else "cuda.bindings.cudla"
            self.through = f"{binding}, memory by {self._cuda.name}"
            self._device = self._made("create_device", core, 0, undo=("destroy_device",))
            loading = (self._device, self._bytes, len(loadable), 0)
            self._module = self._made("module_load_from_memory", *loading, undo=("module_unload", 0))
            self.inputs = tuple(map(tensor_of, self._descriptors(NUM_INPUTS, INPUTS)))
            self.outputs = tuple(map(tensor_of, self._descriptors(NUM_OUTPUTS, OUTPUTS)))
            check_tensors(self.inputs, self.outputs)
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
            with suppress(Exception):  # never with a task in flight; what it failed of was told or is told now
                self._cuda.synchronize()
        for step in reversed(undo):
            with suppress(CudlaError):
                step()
        self._buffers.clear()

    def run(self, inputs: Sequence[bytes]) -> list[bytes]:
        """The outputs' bytes for the inputs' bytes, one or several tasks behind each other in each.

        Raises CudlaError, also for a task that failed on the DLA.
        """
        count = self._count(inputs)
        self._allocate()
        found: list[list[bytes]] = [[] for _ in self.outputs]
        for index in range(count):
            held = [data[index * t.size : (index + 1) * t.size] for data, t in zip(inputs, self.inputs)]
            for place, data in zip(found, self._explained(self._run_one, held)):
                place.append(data)
        return [b"".join(parts) for parts in found]

    def _run_one(self, inputs: list[bytes]) -> list[bytes]:
        filled = inputs + [bytes(each.size) for each in self.outputs]
        downloads: list[Any] = []
        self._copied = filled, downloads  # they must live until the stream was waited for, here or when it is closed
        for (buffer, _), data in zip(self._buffers["input"] + self._buffers["output"], filled):
            buffer.upload(data)
        self._submit()
        downloads.extend(buffer.download() for buffer, _ in self._buffers["output"])
        self._cuda.synchronize()
        return [bytes(each) for each in downloads]

    def time(self, inputs: Sequence[bytes], runs: int, warm_up: int) -> list[float]:
        """Milliseconds of each of `runs` tasks over the first inputs, by CUDA events around it on its stream."""
        self.run(self._firsts(inputs))
        times = [self._explained(self._cuda.timed, self._submit) for _ in range(warm_up + runs)]
        return times[warm_up:]

    def statistics(self, inputs: Sequence[bytes], megahertz: int) -> list[str]:
        """One task's times of each layer as CSV, a text a statistics buffer; the DLA's clock is the caller's word.

        Raises CudlaError where this cuDLA or this loadable has none.
        """
        translate = self._translator()
        sizes = [int(raw.size) for raw in self._descriptors(NUM_STATISTICS, STATISTICS)]
        if not sizes:
            raise CudlaError("the loadable keeps no statistics", "Leave out --statistics")
        if not all(0 < size <= MOST_BYTES for size in sizes):
            raise CudlaError(f"cuDLA describes statistics buffers of {sizes[:4]} bytes", _OTHER_FILE, lacks=False)
        if "statistics" not in self._buffers:
            self._buffers["statistics"] = [self._register(size, TASK_STATISTICS) for size in sizes]
        self.run(self._firsts(inputs))
        texts = []
        for index, (buffer, _) in enumerate(self._buffers["statistics"]):
            download, length = buffer.download(), _U64()
            self._explained(self._cuda.synchronize)
            raw = bytes(download)
            translate(raw, megahertz, index, _CSV_LENGTH, length)
            if length.value > _MOST_CSV:
                raise CudlaError(f"cuDLA announces statistics of {length.value} bytes", "Leave out --statistics")
            text = ctypes.create_string_buffer(length.value + 1)
            translate(raw, megahertz, index, _CSV_TEXT, _U64(ctypes.addressof(text)))
            texts.append(text.value.decode("utf-8", "backslashreplace"))
        return texts

    def _translator(self) -> Callable[[bytes, int, int, int, Any], None]:
        """etiTranslateStats, the first function of the table that only ctypes can reach."""
        library = self._library if isinstance(self._library, Library) else Library()
        table = library.get_external_export_table(0)
        first = ctypes.cast(table, ctypes.POINTER(_PTR))[0] if table else None
        if not first:
            raise CudlaError("this cuDLA translates no statistics", "Leave out --statistics")
        kinds = (ctypes.c_int, _PTR, ctypes.c_char_p, _U32, _U32, ctypes.c_int, _PTR)
        function = ctypes.CFUNCTYPE(*kinds)(first)

        def translate(raw: bytes, megahertz: int, index: int, what: int, place: Any) -> None:
            status = function(self._device, raw, megahertz, index, what, ctypes.byref(place))
            if status:
                raise status_error("etiTranslateStats", status)

        return translate

    def _firsts(self, inputs: Sequence[bytes]) -> list[bytes]:
        return [data[: each.size] for data, each in zip(inputs, self.inputs)]

    def _descriptors(self, counting: int, describing: int) -> list[TensorDescriptor]:
        """The descriptors of a kind, whose count is looked at first. Of those of statistics only the size counts."""
        count = self._call("module_get_attributes", self._module, counting)
        if not 0 <= count <= MOST_TENSORS:  # the binding makes a signed number of it
            raise CudlaError(f"cuDLA counts {count & 0xFFFFFFFF} tensors of a kind", _OTHER_FILE, lacks=False)
        found = self._call("module_get_attributes", self._module, describing) if count else ()
        return [TensorDescriptor.from_buffer_copy(raw) for raw in found]

    def _allocate(self) -> None:
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            if kind not in self._buffers:
                self._buffers[kind] = [self._register(each.size) for each in tensors]
        inputs = [registered for _, registered in self._buffers["input"]]
        outputs = [registered for _, registered in self._buffers["output"] + self._buffers.get("statistics", [])]
        # The arrays must live as long as the task points to them.
        self._arrays = (_PTR * len(outputs))(*outputs), (_PTR * len(inputs))(*inputs)
        self._task = Task(self._module, self._arrays[0], len(outputs), len(inputs), self._arrays[1], None, None)

    def _register(self, size: int, flags: int = 0) -> tuple[Any, int]:
        """Device memory for copies, and the registered pointer that tasks know it by."""
        buffer = self._cuda.allocate(size)
        what = (self._device, buffer.address, size, flags)
        registered = self._call("mem_register", *what)
        self._undo.append(lambda: self._call("mem_unregister", self._device, registered))
        return buffer, registered

    def _submit(self) -> None:
        self._call("submit_task", self._device, ctypes.addressof(self._task), 1, self._cuda.stream, 0)

    def _explained(self, work: Callable[..., _Answer], *given: Any) -> _Answer:
        """What `work`, which waits for the stream, answers. Where it fails the DLA's own reason goes before CUDA's."""
        try:
            return work(*given)
        except Exception:
            status = self._call("get_last_error", self._device)
            if status:
                raise status_error("cudlaGetLastError", status) from None
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

    def _made(self, name: str, *arguments: Any, undo: tuple[Any, ...]) -> int:
        """A handle, which `undo` gives back."""
        made: int = self._call(name, *arguments)
        self._undo.append(lambda: self._call(undo[0], made, *undo[1:]))
        return made

    def _call(self, name: str, *arguments: Any) -> Any:
        """A call of cuDLA. Raises CudlaError."""
        try:
            return getattr(self._library, name)(*arguments)
        except CudlaError:
            raise
        except Exception as error:
            # The binding's own errors have the status, unless it is one that the binding does not know.
            status, call = getattr(error, "status", None), f"cudla{name.title().replace('_', '')}"
            if isinstance(status, int):
                raise status_error(call, status) from None
            raise CudlaError(f"{call} failed: {type(error).__name__} {error}", "Look into dmesg") from None


DESCRIPTION, TIMES, STATISTICS_TEXTS = "tensors.json", "times.json", "statistics.json"


def main(arguments: list[str]) -> int:
    """The program on a board: `--loadable=F --core=N [--inputs=F,F --runs=N --warmUp=N --megahertz=N]`.

    Writes into the working folder: tensors.json, output0.raw ..., times.json, statistics.json. What went wrong is its
    last line, as JSON.
    """
    options = dict(argument[2:].partition("=")[::2] for argument in arguments)
    try:
        with Session(_content(options["loadable"]), int(options.get("core", "0"))) as session:
            told = {"cudla": session.version, "through": session.through}
            _write(DESCRIPTION, {**told, "inputs": session.inputs, "outputs": session.outputs})
            if "inputs" in options:
                _work(session, [_content(name) for name in options["inputs"].split(",")], options)
    except CudlaError as error:
        sys.stdout.write(json.dumps({"what": error.what, "then": error.then, "lacks": error.lacks}) + "\n")
        return 1
    return 0


def _work(session: Session, inputs: list[bytes], options: dict[str, str]) -> None:
    if "runs" in options:
        _write(TIMES, session.time(inputs, int(options["runs"]), int(options.get("warmUp", "0"))))
    if "megahertz" in options:
        _write(STATISTICS_TEXTS, session.statistics(inputs, int(options["megahertz"])))
    if "runs" not in options and "megahertz" not in options:
        for number, data in enumerate(session.run(inputs)):
            with open(f"output{number}.raw", "wb") as raw:
                raw.write(data)


def _write(name: str, told: Any) -> None:
    with open(name, "w", encoding="utf-8") as file:
        json.dump(told, file)


def _content(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read()
