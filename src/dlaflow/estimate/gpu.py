"""How long the board's GPU takes: a roofline per kernel, with the same overlap of compute and memory as the DLA's.

Used for the layers that fall back, and for the same network on the GPU alone. Tensor-core utilisation falls with few
input channels a group and with few outputs per streaming multiprocessor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from dlaflow.estimate.dla import Array, column, overlapped
from dlaflow.estimate.program import TimedStep


@dataclass(frozen=True, slots=True)
class GpuParameters:
    """The fitted numbers of one GPU generation.

    `efficiency` is the share of the dense peak that large convolutions reach, `half_reduced` the input channels,
    `half_grouped` those of a group in grouped convolutions and `half_outputs` the outputs per multiprocessor at which
    it halves, `dram_share` the share of the memory rate that kernels reach, `resident_mb` the tensor size of which half
    stays in the cache from one kernel to the next, `kernel_us` the cost of a kernel in a captured graph,
    `plain_launch_us` what a kernel costs on top without one.
    """

    efficiency: float
    half_reduced: float
    half_grouped: float
    half_outputs: float
    dram_share: float
    resident_mb: float
    kernel_us: float
    plain_launch_us: float


GPU_PARAMETER_NAMES = tuple(field.name for field in fields(GpuParameters))


@dataclass(frozen=True, slots=True)
class GpuHardware:
    """The GPU of a board in one power mode: dense INT8 rate in TOPS, multiprocessors, memory rate in GB/s.

    `clock_share` and `cpu_share` are relative to the full clocks of GPU and CPU.
    """

    int8_tops: float
    multiprocessors: float
    dram_gb_s: float
    clock_share: float = 1.0
    cpu_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Kernels:
    """The numbers of the kernels of a program as columns of one length."""

    macs: Array
    tensors: Array
    weights: Array
    reduced: Array
    outputs: Array
    grouped: npt.NDArray[np.bool_]
    launches: Array
    width: Array

    @classmethod
    def of(cls, steps: Sequence[TimedStep]) -> Kernels:
        """Columns from steps."""
        return cls(
            macs=column([step.macs for step in steps]),
            tensors=column([step.inputs + step.outputs for step in steps]),
            weights=column([step.weights for step in steps]),
            reduced=column([max(1, step.reduced) for step in steps]),
            outputs=column([max(1, step.outputs) for step in steps]),
            grouped=np.asarray([step.grouped for step in steps], dtype=np.bool_),
            launches=column([step.kernels for step in steps]),
            width=column([step.width for step in steps]),
        )


def kernel_times(
    kernels: Kernels, parameters: GpuParameters, hardware: GpuHardware, precision: str, *, graphs: bool = False
) -> Array:
    """The ms of each kernel, at INT8 or FP16 unless types say more. `graphs`: launched from a captured CUDA graph."""
    p = parameters
    width = np.where(kernels.width > 0, kernels.width, 1 if precision == "int8" else 2)
    peak = hardware.int8_tops / 2 * 1e9 / width
    utilisation = kernels.reduced / (kernels.reduced + np.where(kernels.grouped, p.half_grouped, p.half_reduced))
    utilisation *= kernels.outputs / (kernels.outputs + p.half_outputs * hardware.multiprocessors)
    compute = kernels.macs / (peak * p.efficiency * utilisation)
    tensor_mb = kernels.tensors * width / 2 / 1e6
    moved = kernels.tensors * tensor_mb / (tensor_mb + p.resident_mb) + kernels.weights
    memory = moved * width / (hardware.dram_gb_s * p.dram_share * 1e6)
    fixed = p.kernel_us / hardware.clock_share + (0.0 if graphs else p.plain_launch_us / hardware.cpu_share)
    return overlapped(compute, memory) + kernels.launches * fixed * 1e-3
