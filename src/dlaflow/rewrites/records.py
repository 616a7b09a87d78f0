"""What a fix tells: what was applied with its gain, what was refused and why, and the proof."""

from __future__ import annotations

from dataclasses import dataclass, field

from dlaflow.estimate.answer import Move, Speed
from dlaflow.types import Finding, Measurement, Summary, TargetInfo


@dataclass(frozen=True, slots=True)
class Gain:
    """How much less of each there is after a rewrite; `gpu_macs` are multiply-accumulates on the GPU."""

    switches: int
    loadables: int
    gpu_macs: int
    gpu_layers: int


@dataclass(frozen=True, slots=True)
class Applied:
    """One rewrite at all its `sites` (names of ONNX nodes), with its marginal gain in this order."""

    rewrite: str
    title: str
    safety: str
    sites: list[str]
    gain: Gain


@dataclass(frozen=True, slots=True)
class Refused:
    """A place where a rewrite was not applied, and why."""

    rewrite: str
    site: str
    reason: str


@dataclass(frozen=True, slots=True)
class Bound:
    """What may differ: |after - before| <= floor * unit + relative * |before|, element by element.

    The unit is the largest value of that part of the output, or of its function (1 for a Sigmoid).
    """

    relative: float
    floor: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """One comparison of the outputs before and after.

    `output` is the part that came nearest to its bound: `absolute` is its largest difference, `relative` that over its
    `largest` value, `used` the share of the bound that was used (up to 1 holds), `decided` the term of the bound that
    weighed more there (floor, relative, rounding). `agreement` is the share (0..1) of what
    `agreed_on` names (images, pixels or boxes), None where the form of no output tells what it means. `passed_over`
    tells what could not be judged on these inputs.
    """

    inputs: str
    absolute: float
    relative: float
    agreement: float | None = None
    output: str = ""
    largest: float = 0.0
    used: float = 0.0
    decided: str = ""
    agreed_on: str = ""
    passed_over: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Channels:
    """Channels `first` to `last`, both in, of one meaning.

    `meaning` is box (4 coordinates), box sides (4 distributions), objectness, classes, coordinates, distribution,
    scores or unknown; `through` is the activation that belongs to it: sigmoid, exp, `softmax 16` (over 16 bins) or "".
    """

    first: int
    last: int
    meaning: str
    through: str


@dataclass(frozen=True, slots=True)
class CutTensor:
    """A tensor that the DLA part hands over, N, C, H, W as a rule.

    `channels` come `repeats` times, one after the other: for each anchor of a cell, or each point of a pose.
    """

    name: str
    shape: list[int]
    repeats: int
    channels: list[Channels]


@dataclass(frozen=True, slots=True)
class Cut:
    """A model in two files: `tensors` go from `backbone` to `post`; `relative` compares the chain with the whole.

    `outputs` says of each of them what it holds, in the order of `tensors`.
    """

    tensors: list[str]
    backbone: str
    post: str
    summary: Summary
    relative: float
    outputs: list[CutTensor] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FixReport:
    """The whole answer of `dlaflow fix`. `out` is empty where nothing was written.

    `improved`: the result is better than the model, or has its open dimensions fixed.
    `bound` and `floor` are the terms that `proof` was held to (`Bound`: relative and floor).
    """

    model: str
    sha256: str
    out: str
    target: TargetInfo
    allow: str
    before: Summary
    after: Summary
    applied: list[Applied]
    refused: list[Refused]
    remaining: list[Finding]
    proof: list[Evidence]
    bound: float
    seconds: float
    frozen_inputs: list[str] = field(default_factory=list)
    floor: float = 0.0
    improved: bool = True
    cut: Cut | None = None
    measurements: list[Measurement] = field(default_factory=list)
    read_before: bool = True
    """Whether the release's parser read the model; what it refuses has no layers to compare with."""
    move: Move | None = None
    """What the build is better told to leave on the GPU, whatever was rewritten."""
    speed: Speed | None = None
    """Images/s estimated before and after; None where nothing was rewritten or no time is known."""
