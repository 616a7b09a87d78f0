"""How long the DLA takes for each step: a smooth roofline with few parameters.

A convolution keeps the multiply-accumulate array busy to a share that falls with few input channels, few output
channels and few output pixels: channels / (occupied channels + half), the same form for first layers, grouped and
depthwise ones. Its tensors pass through DRAM unless they are small enough to stay in the DLA's memory, and its weights
are streamed once per image, or once for several images when their feature maps are tiny. Compute and memory overlap in
part: a step takes their power mean (between the sum and the larger one) and a fixed cost. Everything is vectorised
over steps; the fit and the estimate share the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from dlaflow.estimate.program import Copy, TimedStep

Array = npt.NDArray[np.float64]

OVERLAP = 2.0
"""Exponent of the power mean: 1 is no overlap, a large one a perfect one. From 1.6 on held-out sources do not mind."""
SHARED_POSITIONS = 32.0
"""Images share a pass over the weights until they fill about this many output pixels (from release 8.5 on)."""
SPARSE_CHANNELS = 64
"""2:4 sparsity speeds up INT8 convolutions from this many input channels on (NVIDIA's DLA README)."""
SPARSE_WEIGHT_BYTES = 0.625
"""Half of the values and two bits of index for each that is kept."""
ATOM_BYTES = 32
"""Feature maps are stored in atoms of 32 bytes: 32 channels in INT8, 16 in FP16 (chw32, chw16)."""
IMAGE_CHANNELS = 4
"""First layers read pixels of 4 channels (hwc4). Orin's FP16 convolution engine does not: 3 channels cost it 16."""
ARRAY_COLUMNS = 64
"""Input channels that the array takes at once (open NVDLA's atomic C); its rows are output channels."""
HOST_BYTES = 4
"""Network inputs and outputs are float32 unless the build asks for DLA formats."""


@dataclass(frozen=True, slots=True)
class DlaParameters:
    """The fitted numbers of one DLA generation and precision; see the TOML files for provenance.

    `efficiency` is relative to `macs_per_clock`; the `half_*` are where utilisation is one half; `dram_gb_s` and
    `weight_gb_s` are the rates of tensors and weights, `resident_mb` the tensor size that half stays on chip,
    `points_per_clock` the rate of pooling and point-wise engines. `step_us` is paid per step, `launch_ms` per loadable,
    `copy_ms` per format copy beside `copy_gb_s`, `switch_ms` per crossing to or from the GPU, `gpu_step_ms` per GPU
    kernel between loadables; `host_share` of these submissions waits for the CPU, whose clock the power mode sets.
    `sparse_speedup` is 2:4 sparsity's on the array, `contention` slows memory when both cores run,
    `unlocked` slows it when clocks are not locked.
    """

    efficiency: float
    half_reduced: float
    half_produced: float
    half_positions: float
    dram_gb_s: float
    weight_gb_s: float
    resident_mb: float
    points_per_clock: float
    step_us: float
    launch_ms: float
    copy_ms: float
    copy_gb_s: float
    switch_ms: float
    gpu_step_ms: float
    host_share: float
    sparse_speedup: float
    contention: float
    unlocked: float
    softmax_per_clock: float
    transposed_per_clock: float
    meeting: float


PARAMETER_NAMES = tuple(field.name for field in fields(DlaParameters))


@dataclass(frozen=True, slots=True)
class DlaEngine:
    """One set of parameters with the hardware figures that they are relative to."""

    generation: str
    precision: str
    macs_per_clock: float
    bytes_per_element: int
    parameters: DlaParameters
    beside: DlaEngine | None = None
    """The other precision, for steps of a typed network that differ."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the run is like. `dram_scale` is relative to the board's full memory clock.

    `native_io`: inputs and outputs are already in the DLA's formats. `shared_passes`: images with tiny maps share a
    pass over the weights (releases from 8.5 on).
    """

    dla_mhz: float
    dram_scale: float = 1.0
    host_scale: float = 1.0
    cores: int = 1
    sparse: bool = False
    native_io: bool = False
    shared_passes: bool = True
    locked: bool = True


def column(values: list[int]) -> Array:
    """One number of many steps."""
    return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class StepTable:
    """The numbers of many steps as columns of one length."""

    macs: Array
    weights: Array
    edge: Array
    inner: Array
    reduced: Array
    produced: Array
    positions: Array
    batch: Array
    points: Array
    width: Array
    matrix: npt.NDArray[np.bool_]
    groups: Array
    softmax: npt.NDArray[np.bool_]
    transposes: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, steps: Sequence[TimedStep]) -> StepTable:
        """Columns from steps."""
        return cls(
            macs=column([step.macs for step in steps]),
            weights=column([step.weights for step in steps]),
            edge=column([step.edge for step in steps]),
            inner=column([max(0, step.inputs + step.outputs - step.edge) for step in steps]),
            reduced=column([max(1, step.reduced) for step in steps]),
            produced=column([max(1, step.produced) for step in steps]),
            positions=column([max(1, step.positions) for step in steps]),
            batch=column([max(1, step.batch) for step in steps]),
            points=column([step.points for step in steps]),
            width=column([step.width for step in steps]),
            matrix=np.asarray([step.matrix for step in steps], dtype=np.bool_),
            groups=column([max(1, step.groups) for step in steps]),
            softmax=np.asarray([step.kind == "SOFTMAX" for step in steps], dtype=np.bool_),
            transposes=np.asarray([step.transposes for step in steps], dtype=np.bool_),
        )


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Milliseconds of each step: its compute and memory parts, and both together with the fixed cost."""

    compute: Array
    memory: Array
    total: Array


def step_times(table: StepTable, engine: DlaEngine, conditions: Conditions) -> StepTimes:
    """How long each step takes on one DLA core, in ms; with an engine beside, each in the precision of its types."""
    usual = _step_times(table, engine, conditions)
    if engine.beside is None or not (other := table.width == engine.beside.bytes_per_element).any():
        return usual
    found = _step_times(table, engine.beside, conditions)
    return StepTimes(
        np.where(other, found.compute, usual.compute),
        np.where(other, found.memory, usual.memory),
        np.where(other, found.total, usual.total),
    )


def _step_times(table: StepTable, engine: DlaEngine, conditions: Conditions) -> StepTimes:
    p = engine.parameters
    clocks_per_ms = conditions.dla_mhz * 1e3
    connected = table.positions <= 1
    streams = np.where(connected, 1.0, table.batch)
    if conditions.shared_passes:
        streams = np.where(
            connected, 1.0, np.maximum(1.0, table.batch * table.positions / (table.positions + SHARED_POSITIONS))
        )
    macs, weight_bytes = table.macs, table.weights * engine.bytes_per_element * streams
    if conditions.sparse:
        pruned = table.matrix & (table.reduced >= SPARSE_CHANNELS)
        macs = np.where(pruned, macs / p.sparse_speedup, macs)
        weight_bytes = np.where(pruned, weight_bytes * SPARSE_WEIGHT_BYTES, weight_bytes)
    seen = table.positions * table.batch / streams
    deep, packed = _occupied(table, engine)
    utilisation = (
        table.reduced
        / (deep + p.half_reduced)
        * packed
        / (packed + p.half_produced)
        * np.where(connected, 1.0, seen / (seen + p.half_positions))
    )
    array = macs / (engine.macs_per_clock * p.efficiency * utilisation * clocks_per_ms)
    rate = np.where(table.transposes, p.transposed_per_clock, p.points_per_clock)
    engine_ms = table.points / (np.where(table.softmax, p.softmax_per_clock, rate) * clocks_per_ms)
    compute = np.where(table.matrix, np.maximum(array, engine_ms), engine_ms)
    slow = conditions.dram_scale / (p.contention if conditions.cores > 1 else 1.0)
    slow /= 1.0 if conditions.locked else p.unlocked
    tensor_mb = table.inner * engine.bytes_per_element / table.batch / 2 / 1e6
    through_dram = table.edge + table.inner * tensor_mb / (tensor_mb + p.resident_mb)
    tensors = through_dram * engine.bytes_per_element / (p.dram_gb_s * slow * 1e6)
    weights = weight_bytes / (p.weight_gb_s * slow * 1e6)
    memory = tensors + weights
    return StepTimes(compute, memory, overlapped(compute, memory) + p.step_us * 1e-3)


def _occupied(table: StepTable, engine: DlaEngine) -> tuple[Array, Array]:
    """Input channels that a convolution occupies of the array, the unused among them included, and its output channels.

    Input channels lie in memory in atoms of 32 bytes, those of a first layer in pixels of four. Of a grouped or
    depthwise convolution as many groups as the columns of the array hold make a pass together, their weights on the
    diagonal: each sees all columns of the pass and uses its own.
    """
    atom = ATOM_BYTES / engine.bytes_per_element
    slow = engine.generation == "v2" and engine.precision == "fp16"
    deep = np.ceil(table.reduced / atom) * atom
    if not slow:
        deep = np.where(table.reduced <= IMAGE_CHANNELS, IMAGE_CHANNELS, deep)
    columns = atom if slow else ARRAY_COLUMNS
    together = np.minimum(table.groups, np.maximum(1.0, columns // table.reduced))
    grouped = table.groups > 1
    deep = np.where(grouped, np.ceil(table.reduced * together / columns) * columns, deep)
    return deep, np.where(grouped, table.produced * together, table.produced)


def overlapped(compute: Array, memory: Array) -> Array:
    """The time of work whose compute and memory parts overlap in part."""
    return np.asarray((compute**OVERLAP + memory**OVERLAP) ** (1 / OVERLAP))


def host_factor(engine: DlaEngine, conditions: Conditions) -> float:
    """How much longer submissions take than with the full CPU clock; a share of them is the CPU's work."""
    return 1.0 + engine.parameters.host_share * (1.0 / conditions.host_scale - 1.0)


def copy_times(copies: Sequence[Copy], engine: DlaEngine, conditions: Conditions) -> tuple[float, float]:
    """The ms spent in format copies of network inputs and outputs, and in crossings between GPU and DLA."""
    p = engine.parameters
    host = crossing = 0.0
    slower = host_factor(engine, conditions)
    for copy in copies:
        other = HOST_BYTES if copy.host else engine.bytes_per_element
        moved = copy.elements * (other + engine.bytes_per_element) / (p.copy_gb_s * conditions.dram_scale * 1e6)
        if not copy.host:
            crossing += (p.switch_ms + p.copy_ms) * slower + moved
        elif not conditions.native_io:
            host += p.copy_ms * slower + moved
    return host, crossing
