"""What a rewrite is: operators to start from, a check that may refuse with a reason, an edit that computes the same.

Whether an edit is worth it is not its business: the search measures that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import onnx

from dlaflow.graph.lower.naming import node_name
from dlaflow.rewrites.draft import Draft, Edit
from dlaflow.targets.limits import Limit, find_limit
from dlaflow.targets.target import Target


class Safety(str, Enum):
    """How far a rewrite may change the numbers, safest first."""

    NOTHING = "nothing"
    """No rewrite at all."""
    EXACT = "exact"
    """The same algebra; only float rounding differs."""
    TOLERANCE = "tolerance"
    """A bounded approximation."""
    DATA = "data"
    """Statistics frozen from calibration data."""
    RETRAIN = "retrain"
    """Another network that must learn again."""


SAFETIES = tuple(safety.value for safety in Safety)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the target's DLA takes."""

    target: Target

    def limit(self, id: str) -> Limit | None:
        """The bound of that id in limits.toml, None where nothing is said."""
        return find_limit(id, self.target.version, self.target.dla or "v2")

    def largest(self, id: str, default: int) -> int:
        """The upper end of a bound."""
        limit = self.limit(id)
        return limit.max if limit is not None and limit.max is not None else default

    def names(self, id: str) -> tuple[str, ...]:
        """The names that a bound allows."""
        limit = self.limit(id)
        return limit.names if limit is not None else ()

    @property
    def bytes_per_element(self) -> int:
        """1 in INT8, 2 in FP16."""
        return 1 if self.target.precision == "int8" else 2


Match = Edit | str | None


class Rewrite:
    """One rewrite. The first line of a subclass's docstring is its line in reports."""

    id: ClassVar[str]
    answers: ClassVar[tuple[str, ...]]
    """The rules whose findings it is an answer to."""
    safety: ClassVar[Safety] = Safety.EXACT
    operators: ClassVar[tuple[str, ...]]
    """The ONNX operators that a match starts from."""
    alone: ClassVar[bool] = True
    """Whether an edit helps by itself; where several must meet, a match promises nothing."""

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        """The edit at `node`; None where the pattern is not there, the reason where it cannot be rewritten."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """What it does, in one line."""
        return (type(self).__doc__ or self.id).strip().splitlines()[0].rstrip(".")

    def find(self, draft: Draft, bounds: Bounds) -> tuple[list[Edit], dict[str, str]]:
        """All edits that the draft offers, and the refused places with their reasons."""
        edits: list[Edit] = []
        refused: dict[str, str] = {}
        for node in self._candidates(draft):
            found = self.match(draft, node, bounds)
            if isinstance(found, Edit):
                edits.append(found)
            elif found is not None:
                refused[node_name(node)] = found
        return edits, refused

    def _candidates(self, draft: Draft) -> Iterable[onnx.NodeProto]:
        return (node for node in draft.nodes if node.op_type in self.operators and node.domain in ("", "ai.onnx"))
