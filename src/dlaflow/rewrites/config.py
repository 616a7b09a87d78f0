"""How far `dlaflow fix` may go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

from dlaflow.rewrites.base import Safety
from dlaflow.rewrites.prove import Samples


@dataclass(frozen=True)
class FixConfig:
    """How far to go.

    `output_4d` lets outputs become (N, C, 1, 1), which saves the last switch; `samples` are real inputs for the proof,
    and for statistics; `dry_run` predicts only, without a proof. Frozen statistics are kept while `accuracy` (percent
    right of a model) falls by at most `max_drop` points; `tested` is how many images that is measured on.
    """

    allow: Safety = Safety.EXACT
    output_4d: bool = False
    samples: Samples | None = None
    accuracy: Callable[[onnx.ModelProto], float] | None = None
    tested: int = 0
    max_drop: float = 1.0
    dry_run: bool = False
