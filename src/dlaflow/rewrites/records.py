"""What a fix tells: what was applied with its gain, what was refused and why, and the proof."""

from __future__ import annotations

from dataclasses import dataclass, field

from dlaflow.estimate.answer import Move
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
class Evidence:
    """One comparison of the outputs before and after.

    `relative` is the largest difference over the largest value of that output, `agreement` the share (0..1) of images
    with the same best class, None where the output has no classes.
    """

    inputs: str
    absolute: float
    relative: float
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """A model in two files: `tensors` go from `backbone` to `post`; `relative` compares the chain with the whole."""

    tensors: list[str]
    backbone: str
    post: str
    summary: Summary
    relative: float


@dataclass(frozen=True, slots=True)
class FixReport:
    """The whole answer of `dlaflow fix`. `bound` is what `proof` was held to; `out` is empty for a dry run."""

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
    cut: Cut | None = None
    measurements: list[Measurement] = field(default_factory=list)
    move: Move | None = None
    """What the build is better told to leave on the GPU, whatever was rewritten."""
