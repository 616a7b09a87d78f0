"""One inference, piece by piece: DLA, GPU, crossings, launches, format copies. Shared by the estimate and the fit."""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.estimate.dla import Conditions, DlaEngine, StepTable, copy_times, host_factor, step_times
from dlaflow.estimate.gpu import GpuHardware, GpuParameters, Kernels, kernel_times
from dlaflow.estimate.program import Program
from dlaflow.types import Device


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A GPU generation's parameters on one board's GPU."""

    parameters: GpuParameters
    hardware: GpuHardware


@dataclass(frozen=True, slots=True)
class Workload:
    """A program with its numbers laid out for computing, made once and timed often."""

    program: Program
    dla: StepTable
    gpu: Kernels

    @classmethod
    def of(cls, program: Program) -> Workload:
        """Lay out a program."""
        steps = program.steps
        return cls(
            program,
            StepTable.of([step for step in steps if step.assignment.device is Device.DLA]),
            Kernels.of([step for step in steps if step.assignment.device is Device.GPU]),
        )


@dataclass(frozen=True, slots=True)
class Split:
    """Milliseconds of one inference of the whole batch, by where they go.

    `dla` is the work inside loadables, `gpu` the kernels of layers that fell back, `switches` the crossings between
    the two with their copies, `launch` the submission of loadables, `formats` the copies of network inputs and
    outputs.
    """

    dla: float
    gpu: float
    switches: float
    launch: float
    formats: float

    @property
    def total(self) -> float:
        """The latency in ms."""
        return self.dla + self.gpu + self.switches + self.launch + self.formats


def split_of(work: Workload, engine: DlaEngine, conditions: Conditions, gpu: GpuModel | None) -> Split:
    """The split of a program that runs on one DLA core, with what falls back on the GPU. `gpu` is None when unknown."""
    formats, switches = copy_times(work.program.copies, engine, conditions)
    kernels = float(work.gpu.launches.sum())
    slower = host_factor(engine, conditions)
    on_gpu = kernels * engine.parameters.gpu_step_ms * slower
    if gpu is not None and kernels:
        on_gpu += float(kernel_times(work.gpu, gpu.parameters, gpu.hardware, engine.precision, graphs=True).sum())
    return Split(
        dla=float(step_times(work.dla, engine, conditions).total.sum()),
        gpu=on_gpu,
        switches=switches,
        launch=work.program.loadables * engine.parameters.launch_ms * slower,
        formats=formats,
    )


def gpu_only(work: Workload, gpu: GpuModel, precision: str, *, graphs: bool = False) -> float:
    """The ms of a program that runs wholly on the GPU."""
    return float(kernel_times(work.gpu, gpu.parameters, gpu.hardware, precision, graphs=graphs).sum())
