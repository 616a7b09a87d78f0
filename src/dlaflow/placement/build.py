"""A real build as a score reads it: the placement lists of a log, as plain records that know no file format."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DlaEntry:
    """A node that ran on the DLA: a subgraph `first...last`, or a single layer (`first` equals `last`).

    `members` are all its layers where the build lists them (TensorRT 7, single layers), None where it does not.
    """

    first: str
    last: str
    members: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class GpuEntry:
    """A node that ran on the GPU. `kind` is empty where the release prints none; fused names are as printed."""

    name: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """What the build said of a layer: a reason code and the line itself."""

    layer: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class RealBuild:
    """What one build placed where.

    `loadables` are the first and last layers of its ForeignNodes, None where the build does not tell them; `count` is
    their number (None: not told). `complete` is false for excerpts: they say nothing of what they do not name. `doubt`
    says what about the reading is uncertain.
    """

    source: str
    dla: tuple[DlaEntry, ...]
    gpu: tuple[GpuEntry, ...]
    loadables: tuple[tuple[str, str], ...] | None = None
    count: int | None = None
    words: tuple[Word, ...] = ()
    complete: bool = True
    doubt: str = ""
