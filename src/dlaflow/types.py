"""The frozen records that travel between packages, and nothing else: no logic lives here.

Three currencies: `Finding` (what a rule says of a layer), `Placement` (what runs where) and `Measurement` (a number
with its spread and provenance). Reports and formatters accept only these. msgspec encodes them; each file that is
written carries `schema` and `dlaflow` (the version).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Device(str, Enum):
    """Where a layer runs. FOLDED: constants and shape arithmetic that leave no work at run time."""

    DLA = "DLA"
    GPU = "GPU"
    FOLDED = "FOLDED"


class Verdict(str, Enum):
    """What the rules say of one layer, best first."""

    NATIVE = "native"
    CONDITIONAL = "conditional"
    """Native after an exact rewrite that the finding names, or once a size, a plugin or a type is settled."""
    UNKNOWN = "unknown"
    """The documents are silent or contradict each other."""
    FALLBACK = "fallback"


class Confidence(str, Enum):
    """How a fact is known."""

    MEASURED = "measured"
    """Seen in a real build log."""
    DOCUMENTED = "documented"
    """Read in NVIDIA's headers or documentation."""
    INFERRED = "inferred"
    """Derived or remembered: never the only ground for `native` or `fallback` without saying so."""


class Remedy(str, Enum):
    """What kind of remedy a rule has, cheapest first."""

    EXACT = "exact"
    """Another form computes the same numbers, up to rounding."""
    TOLERANCE = "tolerance"
    """Another form computes nearly the same; its largest error is stated."""
    DATA = "data"
    """Another form holds for the data that the model sees; it needs some of them."""
    RETRAIN = "retrain"
    """Another layer learns to do the same: the network is trained again or distilled."""
    ELSEWHERE = "elsewhere"
    """Nothing in the model: another release, board, mode or build option."""
    NONE = "none"
    """The layer stays where it is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says of one layer.

    `rule` is an id such as DLA110, `layer` the TensorRT layer's name, `fix` what to use instead, in words (empty: not
    known). `remedy` is the kind of remedy that the rule has, and `rewrites` names those of `dlaflow fix` that match at
    this very layer: what decides reads these two, never the words.
    """

    rule: str
    layer: str
    verdict: Verdict
    message: str
    expected: str
    received: str
    source: str
    fix: str
    confidence: Confidence = Confidence.DOCUMENTED
    remedy: Remedy = Remedy.NONE
    rewrites: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """The target of a prediction, as written into every file. `mode` is hybrid or standalone."""

    board: str
    jetpack: str
    tensorrt: str
    dla: str
    precision: str
    batch: int
    mode: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model of a prediction; `inputs` maps a name to its dimensions, -1 for one that is still open."""

    path: str
    sha256: str
    inputs: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class PlacedLayer:
    """One TensorRT layer, or a helper that its builder adds, with its device and the tensors that it reads and writes.

    `macs` are multiply-accumulates, `bytes` are of its outputs and weights. `loadable` is the index into
    `Placement.loadables`, None when the layer is not on the DLA. `inputs` and `outputs` are tensor names after the
    builder's passes: a reader of a helper's output reads that, not what the helper reads; constants are left out.
    """

    name: str
    kind: str
    onnx_nodes: list[str]
    device: Device
    verdict: Verdict
    loadable: int | None
    macs: int
    bytes: int
    findings: list[Finding] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Loadable:
    """A run of DLA layers that TensorRT compiles as one ForeignNode."""

    index: int
    first: str
    last: str
    layers: list[str]
    macs: int


@dataclass(frozen=True, slots=True)
class Switch:
    """A tensor that crosses between the DLA and the GPU. `source` and `to` are layers; written as `from` and `to`."""

    source: str
    to: str
    tensor: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The answer in numbers. `loadables_before_cap` counts them before the limit.

    `dla_mac_share` lies in 0..1; None: it cannot be told, since a layer's size is not known.
    """

    layers: int
    dla_layers: int
    gpu_layers: int
    folded_layers: int
    unknown_layers: int
    dla_mac_share: float | None
    loadables: int
    loadables_before_cap: int
    switches: int
    standalone_ok: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """What runs where, for one model and one target: the placed graph.

    `layers` stand in the builder's order. `tensors` maps each tensor that a layer names to its bytes in the target's
    precision (0: its shape is not known). `findings` holds those of the whole model.
    """

    model: ModelInfo
    target: TargetInfo
    summary: Summary
    layers: list[PlacedLayer]
    loadables: list[Loadable]
    switches: list[Switch]
    findings: list[Finding] = field(default_factory=list)
    tensors: dict[str, int] = field(default_factory=dict)


class Provenance(str, Enum):
    """Where a number comes from."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    PREDICTED = "predicted"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number that can be defended.

    `quantity` names what it is (`latency`, `throughput`, `top1`, `agreement`, `power`), `subject` what it is of (a
    variant, a layer, a file), `spread` is the half width of the 95% interval unless `spread_kind` says otherwise, `n`
    the count of samples behind it, `provenance` where it comes from, `detail` with what (versions, clocks, data), and
    `sha256` of which file, where it matters later that it was this one.
    `low` and `high` are the ends of that interval where they do not lie equally far from the value.
    """

    quantity: str
    subject: str
    value: float
    unit: str
    n: int
    spread: float | None = None
    spread_kind: str = "95% interval"
    provenance: Provenance = Provenance.MEASURED
    detail: str = ""
    low: float | None = None
    high: float | None = None
    sha256: str = ""
