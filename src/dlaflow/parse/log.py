"""The records that a TensorRT log becomes. Frozen, plain, and free of logic beyond what a field means.

Times are milliseconds and memory is MiB unless a name says otherwise; None is a figure that the log does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Option:
    """One line of the options banner, such as section `Build Options`, key `Precision`, value `FP32+FP16`."""

    section: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """`Device Information`. The clocks are application clocks, not what the chip ran at; there is no board name."""

    name: str = ""
    compute_capability: str = ""
    sms: int | None = None
    compute_clock_ghz: float | None = None
    memory_clock_ghz: float | None = None
    global_memory_mib: int | None = None
    shared_memory_per_sm_kib: int | None = None
    memory_bus_bits: int | None = None
    ecc: bool | None = None
    available: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Binding:
    """A network input or output. `dimensions` holds the batch where the engine has one."""

    name: str
    role: str
    dimensions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What the parser printed of the model it read."""

    filename: str = ""
    ir_version: str = ""
    opset: int | None = None
    producer: str = ""
    producer_version: str = ""


@dataclass(frozen=True, slots=True)
class DlaNode:
    """One entry of `Layers Running on DLA`.

    A subgraph of 8.x prints its first and last layer only, so `members` is None unless the log lists them (7.x, a
    subgraph of one layer, or the verbose list of single layers of 10.x, where `first` equals `last`).
    """

    first: str
    last: str
    members: tuple[str, ...] | None
    raw: str


@dataclass(frozen=True, slots=True)
class GpuNode:
    """One entry of `Layers Running on GPU`. `type` is empty where the release prints none (5.x to 8.2)."""

    type: str
    name: str


@dataclass(frozen=True, slots=True)
class PlacementList:
    """The placement section. `style` is `braces` (5.x to 7.x), `subgraphs` (8.x), `layers` (10.x verbose) or empty.

    `printed` is true when either header was seen: an empty DLA list then means that nothing was placed there.
    """

    dla: tuple[DlaNode, ...] = ()
    gpu: tuple[GpuNode, ...] = ()
    style: str = ""
    printed: bool = False


@dataclass(frozen=True, slots=True)
class ValidatorMessage:
    """A message of TensorRT about a layer and the DLA.

    `reason` is a code of `dlaflow.parse.messages`; `layer` and `type` are empty where neither this line nor its
    neighbour names them. `operation`, `received` and `limit` are the values printed in the text.
    """

    layer: str
    type: str
    reason: str
    text: str
    level: str = ""
    line: int = 0
    operation: str = ""
    received: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class LogProblem:
    """An error or a warning, whole: continuation lines are joined by line breaks.

    `reason` is a code of `dlaflow.parse.messages` or empty; `file`, `function` and `code` come from the library's head.
    """

    level: str
    text: str
    line: int
    reason: str = ""
    file: str = ""
    function: str = ""
    code: int | None = None


State = Literal["passed", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Remark:
    """What a run outlived and its reader should see: errors without harm, ignored options. `count` texts say the same.

    `id` is one of the table of failures, or empty for an error that no entry knows.
    """

    id: str
    text: str
    count: int
    what: str
    then: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a run worked; where it failed, why and what to do.

    `id` is the cause in the table of failures, `unknown` for errors that no entry knows, `silent` for a failure without
    an error line; empty unless the run failed. `evidence` is the text that shows it, `option` the option of
    `dlaflow build` that avoids it, `rules` foresee it. `errors` are the error lines in their order.
    """

    state: State = "unknown"
    id: str = ""
    what: str = ""
    then: str = ""
    option: str = ""
    rules: tuple[str, ...] = ()
    evidence: str = ""
    errors: tuple[LogProblem, ...] = ()
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class DlaMemory:
    """Pools or needs of the DLA, in MiB."""

    sram: int
    local_dram: int
    global_dram: int


@dataclass(frozen=True, slots=True)
class CompiledSubgraph:
    """A subgraph that the DLA compiler accepted, with what it needs."""

    name: str
    memory: DlaMemory | None


@dataclass(frozen=True, slots=True)
class DlaTactic:
    """A measured time of one DLA node during the build, in one input and output format."""

    node: str
    formats: str
    tactic: str
    time_ms: float


@dataclass(frozen=True, slots=True)
class PrintedTensor:
    """A tensor as the engine prints it. `vector` is the channel vector width (16 in `Half[1,2048:16,7,7]`)."""

    name: str
    dtype: str
    dimensions: tuple[int, ...]
    vector: int | None = None


@dataclass(frozen=True, slots=True)
class DlaLayer:
    """A layer inside a DLA node (`DLA Network Layer Information`)."""

    loadable: str
    kind: str
    name: str
    precision: str
    inputs: tuple[PrintedTensor, ...]
    outputs: tuple[PrintedTensor, ...]


@dataclass(frozen=True, slots=True)
class EngineLayer:
    """A layer of the final engine (`Engine Layer Information`); `kind` is DLA, Reformat, NoOp, CaskConvolution, ..."""

    kind: str
    name: str
    tactic: str
    inputs: tuple[PrintedTensor, ...]
    outputs: tuple[PrintedTensor, ...]


@dataclass(frozen=True, slots=True)
class RegisteredLayer:
    """A layer that the ONNX importer made; `node` is empty for those that no ONNX node asked for."""

    layer: str
    node: str


@dataclass(frozen=True, slots=True)
class Percentile:
    """`percent` of the queries took at most `ms`."""

    percent: float
    ms: float


@dataclass(frozen=True, slots=True)
class Times:
    """One row of the performance summary, in milliseconds."""

    min: float | None = None
    max: float | None = None
    mean: float | None = None
    median: float | None = None
    percentiles: tuple[Percentile, ...] = ()


@dataclass(frozen=True, slots=True)
class Performance:
    """The performance summary of any release. `gpu_compute` is the stream time of the whole inference, DLA included."""

    throughput_qps: float | None = None
    latency: Times | None = None
    end_to_end: Times | None = None
    enqueue: Times | None = None
    h2d: Times | None = None
    gpu_compute: Times | None = None
    d2h: Times | None = None
    walltime_s: float | None = None
    gpu_total_s: float | None = None


@dataclass(frozen=True, slots=True)
class TraceAverage:
    """One `Average on N runs` line."""

    runs: int
    gpu_ms: float
    host_ms: float
    end_to_end_ms: float | None = None
    enqueue_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One layer of a profile; `percent` is of the whole."""

    name: str
    total_ms: float
    average_ms: float
    median_ms: float | None
    percent: float


@dataclass(frozen=True, slots=True)
class Profile:
    """A per-layer profile, from the log's table or from `--exportProfile`. `total` is the table's own last row."""

    iterations: int | None
    rows: tuple[ProfileRow, ...]
    total: ProfileRow | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something a reader should know before trusting the log. `code` is stable, `text` is for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class BuildFigures:
    """What the build and the start cost, in seconds and MiB, and how many tensors enter and leave the network."""

    network_inputs: int | None = None
    network_outputs: int | None = None

    parse_s: float | None = None
    build_s: float | None = None
    deserialize_s: float | None = None
    engine_mib: float | None = None
    peak_cpu_mib: int | None = None
    peak_gpu_mib: int | None = None
    context_mib: float | None = None
    warmup_queries: int | None = None
    timed_queries: int | None = None
    calibrated: bool = False
    """Whether a calibration ran during the build, rather than a cache being read."""


@dataclass(frozen=True, slots=True)
class DlaBuild:
    """What the DLA compiler did with the candidates. All empty unless the log is verbose."""

    pools: DlaMemory | None = None
    loadables: tuple[CompiledSubgraph, ...] = ()
    offloaded: int | None = None
    candidates: int | None = None
    total: DlaMemory | None = None
    layers: tuple[DlaLayer, ...] = ()
    tactics: tuple[DlaTactic, ...] = ()


@dataclass(frozen=True, slots=True)
class LogRun:
    """One run of trtexec (or of another program that uses TensorRT).

    `result` is PASSED, FAILED, WAIVED or SKIPPED, empty when the run has no end in the file. `tensorrt` is None where
    the log does not state it (5.x to 7.x print no version). `levels` counts lines by level, `unknown` keeps the first
    lines that nothing here understands.
    """

    program: str = ""
    command: str = ""
    tensorrt: str | None = None
    build_number: int | None = None
    result: str = ""
    options: tuple[Option, ...] = ()
    device: DeviceInfo | None = None
    model: OnnxFile | None = None
    bindings: tuple[Binding, ...] = ()
    placement: PlacementList = field(default_factory=PlacementList)
    messages: tuple[ValidatorMessage, ...] = ()
    problems: tuple[LogProblem, ...] = ()
    dla: DlaBuild = field(default_factory=DlaBuild)
    engine_layers: tuple[EngineLayer, ...] = ()
    layer_information: tuple[str, ...] = ()
    registered: tuple[RegisteredLayer, ...] = ()
    averages: tuple[TraceAverage, ...] = ()
    performance: Performance | None = None
    profile: Profile | None = None
    figures: BuildFigures = field(default_factory=BuildFigures)
    levels: tuple[tuple[str, int], ...] = ()
    unknown: tuple[str, ...] = ()
    unknown_count: int = 0
    notes: tuple[Note, ...] = ()
    outcome: Outcome = field(default_factory=Outcome)


@dataclass(frozen=True, slots=True)
class TrtexecLog:
    """A log file: its runs in order. A text without any run marker is one run without a command."""

    runs: tuple[LogRun, ...]
    lines: int

    @property
    def outcome(self) -> Outcome:
        """That of the first run that failed, else that of the first run."""
        outcomes = [run.outcome for run in self.runs]
        return next((each for each in outcomes if each.state == "failed"), outcomes[0] if outcomes else Outcome())
