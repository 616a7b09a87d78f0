"""One step of a run: what it reads, what it writes, and the work between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dlaflow.progress import Progress

Work = Callable[[Progress], str]
"""Does the step and returns its result in a few words."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step such as `export/model_bn`.

    `inputs` are files by name; `options` are texts that the outcome depends on; `distributions` are the installed
    packages besides dlaflow whose change makes the outcome stale. `outputs` exist, whole, when `work` returns.
    """

    id: str
    work: Work
    outputs: tuple[Path, ...]
    inputs: dict[str, Path] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    distributions: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The part before the slash: train, export, rewrite, check, ... as the recipe's steps, and fp16."""
        return self.id.partition("/")[0]

    @property
    def subject(self) -> str:
        """The variant that the step is for (empty for the report)."""
        return self.id.partition("/")[2]
