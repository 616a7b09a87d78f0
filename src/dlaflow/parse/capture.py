"""The records of an Nsight Systems capture. Times are nanoseconds on the capture's clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerRange:
    """One engine layer of one inference, as the host ran it.

    `device` is `DLA` (a task was submitted), `GPU` (work was launched) or empty (nothing was: constants, no-ops).
    `gpu_ns` is the busy time of what it launched, between `gpu_start` and `gpu_end` on the GPU.
    """

    name: str
    start: int
    end: int
    device: str
    submits: int = 0
    launches: int = 0
    gpu_ns: int = 0
    gpu_start: int | None = None
    gpu_end: int | None = None


@dataclass(frozen=True, slots=True)
class Enqueue:
    """One inference: the outermost `ExecutionContext::enqueue` range and the layers in it, by start.

    `gpu_before` is when the GPU ended its last work launched earlier; `gpu_after` when it began the first launched
    later, and `after_is_copy` whether that is a copy (an output on its way to the host).
    """

    thread: int
    start: int
    end: int
    layers: tuple[LayerRange, ...]
    gpu_before: int | None = None
    gpu_after: int | None = None
    after_is_copy: bool = False


@dataclass(frozen=True, slots=True)
class HardwareTask:
    """A task of an accelerator with its true busy time. `engine` is DLA0, DLA1 or PVA."""

    engine: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class CaptureInfo:
    """What the export states about itself. `exporter` and `schema` are versions, empty in very old exports.

    `l4t` is the device's Linux for Tegra (`35.4.1`), `command` what was profiled; nothing else of the system's
    environment is read. `domains` are the NVTX domains, `missing` the tables that are not there (exports are lazy: no
    table means no such event).
    """

    exporter: str
    schema: str
    l4t: str
    command: str
    gpu: str
    domains: tuple[str, ...]
    missing: tuple[str, ...]
    cuda_graphs: bool
