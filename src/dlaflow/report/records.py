"""What a report is made of: the three currencies, grouped by variant. No logic lives here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone

from dlaflow.placement.switches import Edge
from dlaflow.profile.comparison import Comparison
from dlaflow.types import Measurement, Placement


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time: on `track` (DLA, GPU, host), of `kind` (dla, gpu, reformat, copy), in nanoseconds."""

    track: str
    kind: str
    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Variant:
    """One model of a run.

    `note` says in a few words what it is (`model_bn with average-pool`), `placement` is the prediction, `edges` are the
    connections between its layers (empty when unknown: the report then leaves the graph out). With a profile `measured`
    holds where the same layers really ran, and `timeline` what one inference did when.
    """

    name: str
    note: str = ""
    placement: Placement | None = None
    measurements: list[Measurement] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    measured: Placement | None = None
    timeline: list[Span] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run: its variants, and where its numbers come from.

    `data` names the dataset, `notices` are the loud remarks (such as: digits were used in place of CIFAR-10),
    `environment` lists versions and machine, `created` is UTC in ISO 8601. `comparisons` hold the variants of several
    runs against those of the first.
    """

    name: str
    created: str
    data: str = ""
    notices: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)
    variants: list[Variant] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)


def utc_now() -> str:
    """What a record made now has as `created`."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
