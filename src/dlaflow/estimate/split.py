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


def beside_another(work: Workload, engine: DlaEngine, conditions: Conditions, gpu: GpuModel | None) -> float:
    """The ms of an inference on one core while the other core runs the same: memory is shared, and so is the GPU.

    At each visit of the GPU between two loadables a share `meeting` of the time passes before its turn comes; at most
    both take turns. Never less than what the GPU needs for both.
    """
    split = split_of(work, engine, conditions, gpu)
    visits = max(0, work.program.loadables - 1)
    waiting = 1.0 - (1.0 - min(0.9, engine.parameters.meeting)) ** visits
    return max(split.total * (1.0 + waiting), conditions.cores * split.gpu)


def beside_busy_gpu(split: Split, program: Program, conditions: Conditions, rival_ms: float) -> float:
    """The ms of an inference on one core while inferences of `rival_ms` keep the GPU busy.

    At each visit of the GPU, format copies of inputs and outputs included, it waits for about one of them: ResNet-50
    with two loadables took 3.5 ms longer beside inferences of 1.0 ms (AGX Orin).
    """
    visits = max(0, program.loadables - 1) + (0 if conditions.native_io else 2)
    return split.total + visits * rival_ms


def gpu_only(work: Workload, gpu: GpuModel, precision: str, *, graphs: bool = False) -> float:
    """The ms of a program that runs wholly on the GPU."""
    return float(kernel_times(work.gpu, gpu.parameters, gpu.hardware, precision, graphs=graphs).sum())
