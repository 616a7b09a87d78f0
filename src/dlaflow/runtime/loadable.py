"""Feed a DLA loadable with float arrays: the interface of the other runners, so the same evaluation runs over it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dlaflow.build.device_memory import DeviceBuffer, DeviceMemory, cuda_python_memory, torch_memory
from dlaflow.errors import DlaflowError, EnvironmentLacksError, InputError, unknown_name
from dlaflow.quantize.feed import Batch, NetworkInput, by_name
from dlaflow.runtime.cudla import Cuda, CudlaError, Tensor
from dlaflow.runtime.layouts import Layout, Rounding, from_elements, layout_of, require_scale, to_elements

_Asked = ParamSpec("_Asked")
_Answer = TypeVar("_Answer")
_COLOURS = 3
"""Channels of an image; dla_hwc4 counts the fourth, which is padding."""


class Device(Protocol):
    """What runs bytes: a cuDLA session here, or one on a board. It raises CudlaError."""

    version: str
    through: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def run(self, inputs: Sequence[bytes]) -> list[bytes]:
        """The outputs' bytes of one or several tasks behind each other."""

    def time(self, inputs: Sequence[bytes], runs: int, warm_up: int) -> list[float]:
        """Milliseconds of each run."""

    def statistics(self, inputs: Sequence[bytes], megahertz: int) -> list[str]:
        """Times of each layer as CSV."""


@dataclass(frozen=True, slots=True)
class Quantising:
    """How floats become INT8: `scales` by tensor name, and the `rounding` of x / scale."""

    scales: Mapping[str, float] = field(default_factory=dict)
    rounding: Rounding = "half-away"


class LoadableRunner:
    """One loadable, ready to run; its names are without the apostrophe that the builder puts behind them.

    Raises InputError for a layout that is not known and for an INT8 tensor without a scale.
    """

    def __init__(self, device: Device, how: Quantising | None = None) -> None:
        self._device, self._how = device, how or Quantising()
        self.input_layouts = {plain(each.name): layout_of(each) for each in device.inputs}
        self.output_layouts = {plain(each.name): layout_of(each) for each in device.outputs}
        layouts = self.input_layouts | self.output_layouts
        if len(layouts) != len(device.inputs) + len(device.outputs):
            raise InputError("two tensors of the loadable have one name", received=", ".join(layouts))
        for name, scale in self._how.scales.items():
            if name in layouts and not 0 < scale < np.inf:
                raise InputError(f"the scale of {name} makes no sense", expected="above 0", received=scale)
        batches = {layout.tensor.dims[0] for layout in layouts.values()}
        self.batch: int = max(batches)
        if len(batches) != 1:
            raise InputError("the loadable's tensors have several batches", received=sorted(batches))
        self.output_names = list(self.output_layouts)
        self.inputs = tuple(
            NetworkInput(name, _shape(layout), "float32", self.batch) for name, layout in self.input_layouts.items()
        )

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """The first output for a batch of any length, float32 [n, c, h, w]; the last task is filled up."""
        return self.run_all(batch)[0]

    def run_all(self, batch: Batch) -> list[NDArray[np.float32]]:
        """All outputs in the order of `output_names`."""
        arrays = by_name(batch, self.inputs)
        for name, layout in self.output_layouts.items():
            require_scale(layout, self._how.scales.get(name))
        answers = answered(self._device.run, self.packed(arrays))
        count = len(next(iter(arrays.values())))
        found = []
        for (name, layout), data in zip(self.output_layouts.items(), answers, strict=True):
            size = layout.tensor.size
            parts = [layout.unpack(data[start : start + size]) for start in range(0, len(data), size)]
            found.append(from_elements(np.concatenate(parts), layout, self._how.scales.get(name))[:count])
        return found

    def time(self, batch: Batch, *, runs: int, warm_up: int = 10) -> tuple[float, ...]:
        """Milliseconds of `runs` tasks over one batch, by CUDA events, without the copies."""
        return tuple(answered(self._device.time, self.packed(by_name(batch, self.inputs)), runs, warm_up))

    def statistics(self, batch: Batch, megahertz: int) -> list[str]:
        """One task's times of each layer as cuDLA's CSV; it counts ticks, and `megahertz` is the DLA's clock."""
        return list(answered(self._device.statistics, self.packed(by_name(batch, self.inputs)), megahertz))

    def packed(self, arrays: Mapping[str, NDArray[np.generic]]) -> list[bytes]:
        """The bytes of each input [n, c, h, w], whole tasks; the last is filled with its last image."""
        return [b"".join(self._tasks(name, arrays[name])) for name in self.input_layouts]

    def _tasks(self, name: str, values: NDArray[np.generic]) -> list[bytes]:
        layout = self.input_layouts[name]
        shaped = values.reshape(len(values), *_free(values, layout)) if values.ndim else values[None]
        elements = to_elements(shaped, layout, self._how.scales.get(name), self._how.rounding)
        missing = -len(elements) % self.batch
        if not len(elements):
            raise InputError(f"no values for {name}", expected=layout.tensor.dims, received=values.shape)
        whole = np.concatenate([elements, np.repeat(elements[-1:], missing, axis=0)]) if missing else elements
        return [layout.pack(whole[start : start + self.batch]) for start in range(0, len(whole), self.batch)]


def plain(name: str) -> str:
    """A tensor's name as the model has it: TensorRT's builder puts an apostrophe behind it."""
    return name.removesuffix("'")


def scales_of(given: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """`NAME=NUMBER` of `--scale`. Raises UsageError for a name that the loadable does not have, InputError."""
    found = {}
    for text in given:
        name, _, number = text.rpartition("=")
        if name not in names:
            raise unknown_name("tensor in --scale", name, names)
        try:
            found[name] = float(number)
        except ValueError:
            raise InputError("--scale makes no sense", expected="NAME=NUMBER", received=text) from None
    return found


def answered(ask: Callable[_Asked, list[_Answer]], *given: _Asked.args, **named: _Asked.kwargs) -> list[_Answer]:
    """What the device answers; its CudlaError becomes an error of dlaflow."""
    try:
        return ask(*given, **named)
    except CudlaError as error:
        raise explained(error) from None


def explained(error: CudlaError) -> DlaflowError:
    """The same failure with dlaflow's exit code: the machine lacks something, or the loadable cannot be used."""
    kind = EnvironmentLacksError if error.lacks else InputError
    return kind(error.what, then=f"{error.then.removesuffix('.')}.")


def _shape(layout: Layout) -> tuple[int, int, int]:
    _, c, h, w = layout.tensor.dims
    return (_COLOURS if layout.name == "dla_hwc4" and c > _COLOURS else c), h, w


def _free(values: NDArray[np.generic], layout: Layout) -> tuple[int, ...]:
    """The shape of an image; values of fewer axes take those of the tensor, which has four, where they are as many."""
    own = layout.tensor.dims[1:]
    return own if values.ndim != 4 and np.prod(values.shape[1:]) == np.prod(own) else values.shape[1:]


def device_memory() -> Cuda | _ArrayMemory:
    """CUDA memory for a session: cuda-python's, or torch's where this process uses torch already, else libcudart's.

    To import torch takes seconds and a GiB of a small board, so that it comes last. Raises CudlaError.
    """
    found = _unless_closed(cuda_python_memory) or (_unless_closed(torch_memory) if "torch" in sys.modules else None)
    if found is None:
        try:
            return Cuda()
        except CudlaError:
            found = _unless_closed(torch_memory)
            if found is None:
                raise
    return _ArrayMemory(found)


def _unless_closed(open_one: Callable[[], DeviceMemory | None]) -> DeviceMemory | None:
    """Memory, or None where this way is closed."""
    with suppress(EnvironmentLacksError):
        return open_one()
    return None


class _ArrayMemory:
    """cuda-python's or torch's memory, which copies arrays, as a session knows it, which has bytes."""

    def __init__(self, memory: DeviceMemory) -> None:
        self._memory = memory
        self.name, self.stream, self.synchronize = memory.name, memory.stream, memory.synchronize
        self.timed = memory.timed

    def allocate(self, size: int) -> _Bytes:
        return _Bytes(self._memory.allocate(size))

    def close(self) -> None:
        """Nothing: memory goes with its buffers, which the session lets go of last."""


class _Bytes:
    def __init__(self, buffer: DeviceBuffer) -> None:
        self._buffer, self.address = buffer, buffer.address

    def upload(self, data: bytes) -> None:
        self._buffer.upload(np.frombuffer(data, np.uint8))

    def download(self) -> NDArray[np.uint8]:
        values = np.empty(self._buffer.size, np.uint8)
        self._buffer.download(values)
        return values
