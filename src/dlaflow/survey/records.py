"""What a survey knows: which model, on which targets, and what came of it, as one line of JSON.

A `Case` is what a placement depends on; boards that share it are told apart by their times alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from dlaflow.version import __version__

SCHEMA = "dlaflow.survey/2"
Triple = tuple[float, float, float]
"""The low end, the median and the high end of an 80% interval."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A model: `name` as it is asked for (`timm:resnet18`, a path), `version` of what it is made by or its sha256."""

    name: str
    family: str = ""
    task: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A release, a generation of the DLA and how to build for it. `batch` None is the model's own."""

    release: str
    tensorrt: str
    dla: str
    precision: str
    batch: int | None = None
    mode: str = "hybrid"
    shape: tuple[str, ...] = ()


Key = tuple[str, str, str, Case]


class Reason(msgspec.Struct, frozen=True, array_like=True):
    """Why so many layers are not on the DLA; `message` is of the first. In a file it is a list: there are many."""

    rule: str
    verdict: str
    layers: int
    message: str


@dataclass(frozen=True, slots=True)
class Side:
    """The placement before or after the fix. `parsed`: the release's parser reads the model.

    `share` is of multiply-accumulates on the DLA, 0..1 (None: not known). `standalone`: a build without the GPU is
    possible, of the model as it is or (the side after) as `dlaflow fix --mode standalone --output-4d` makes it.
    """

    parsed: bool
    share: float | None
    loadables: int
    switches: int
    gpu_layers: int
    standalone: bool
    reasons: list[Reason] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether all that computes is one loadable: what is left beside it has no arithmetic of weight."""
        return self.parsed and self.loadables == 1 and self.share == 1


@dataclass(frozen=True, slots=True)
class Times:
    """Before or after the fix on a board: ms of a batch, images/s of one core, mJ of an image; None: unknown."""

    latency: Triple | None = None
    rate: Triple | None = None
    energy: Triple | None = None


@dataclass(frozen=True, slots=True)
class OnBoard:
    """What is expected on a board in a power mode; `gpu` is the latency of its GPU alone.

    `slower` says what `dlaflow fix` would where its result is estimated to be slower; `clearly`: beyond the intervals.
    """

    board: str
    mode: str
    before: Times
    after: Times | None = None
    gpu: Triple | None = None
    unknown: list[str] = field(default_factory=list)
    slower: str = ""
    clearly: bool = False


@dataclass(frozen=True, slots=True)
class Fixing:
    """What `dlaflow fix` did: rewrites with the count of their places, and the worst difference of the proof.

    `error` is relative to the largest value of the output, `used` the share of the allowed bound.
    """

    rewrites: list[tuple[str, int]]
    error: float | None = None
    used: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One line: a model in a case. `refused`: it cannot be used, as `error` says; `failed`: a crash, or out of bounds.

    `batch` is the one that was used, `macs` are of the whole batch, `seconds` were spent here.
    """

    model: Surveyed
    case: Case
    status: Literal["done", "refused", "failed"]
    error: str = ""
    inputs: dict[str, list[int]] = field(default_factory=dict)
    batch: int = 1
    macs: int = 0
    before: Side | None = None
    after: Side | None = None
    fix: Fixing | None = None
    boards: list[OnBoard] = field(default_factory=list)
    allow: str = "exact"
    seconds: float = 0.0
    node: str = ""
    schema: str = SCHEMA
    dlaflow: str = __version__

    @property
    def key(self) -> Key:
        """What must be equal for a result to stand for another one."""
        return self.model.name, self.model.version, self.allow, self.case
