"""Proof that two models compute the same: both run on onnxruntime over the same inputs.

Inputs are random numbers at several scales, since an activation that clips hides errors at one of them, and real images
when there are any. Errors are relative to the largest value of the output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from dlaflow.errors import InputError
from dlaflow.quantize.session import SessionOptions, check_room, dtype_of, open_session, reason_of, too_large
from dlaflow.rewrites.base import Safety
from dlaflow.rewrites.records import Evidence
from dlaflow.rewrites.time_major import time_major

Array = NDArray[np.generic]
BOUNDS = {Safety.EXACT: 1e-4, Safety.TOLERANCE: 5e-2, Safety.DATA: float("inf"), Safety.RETRAIN: float("inf")}
"""The largest error, relative to the largest value of the output, that each class may have."""
_SCALES = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class Samples:
    """Real inputs: batches float32 of the model's own batch size."""

    batches: Sequence[NDArray[np.float32]]


class Executable:
    """A model on onnxruntime, with the types of its `inputs` and the names of its `outputs`.

    Raises InputError when onnxruntime cannot run it, EnvironmentLacksError without onnxruntime.
    """

    def __init__(self, model: Path | onnx.ModelProto) -> None:
        self._session = open_session(time_major(model), SessionOptions(integer=True))
        strange = [value.type for value in self._session.get_outputs() if dtype_of(value.type) is None]
        if strange:
            raise InputError(
                "the outputs of the model cannot be compared",
                expected="tensors of numbers",
                received=", ".join(strange),
                then="`--dry-run` lists the rewrites without the proof.",
            )
        self.outputs: list[str] = [value.name for value in self._session.get_outputs()]
        self.inputs: dict[str, np.dtype[np.generic]] = {
            value.name: dtype_of(value.type) or np.dtype(np.float32) for value in self._session.get_inputs()
        }

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name."""
        try:
            values = self._session.run(self.outputs, {name: feeds[name] for name in self.inputs})
        except Exception as error:
            raise too_large(error) or InputError(
                "the model cannot be run on its own inputs", received=reason_of(error)
            ) from None
        return dict(zip(self.outputs, values, strict=True))


def compare(
    before: Executable,
    after: Executable,
    shapes: Mapping[str, Sequence[int]],
    samples: Samples | None = None,
    *,
    random: bool = True,
) -> list[Evidence]:
    """Run both on inputs of `shapes` (input name → dimensions): random ones and `samples`."""
    found = []
    for label, feeds in _random(before, shapes) if random else ():
        evidence = _difference(label, [(before.run(feeds), after.run(feeds))])
        if evidence is not None:
            found.append(evidence)
    if samples is not None and len(shapes) == 1:
        name = next(iter(shapes))
        count = sum(len(batch) for batch in samples.batches)
        fed: list[dict[str, Array]] = [{name: batch.astype(before.inputs[name])} for batch in samples.batches]
        pairs = [(before.run(feeds), after.run(feeds)) for feeds in fed]
        evidence = _difference(f"{count} images", pairs)
        if evidence is not None:
            found.append(evidence)
    if not found:
        raise InputError("the outputs of the model are not finite on any input", then="Check the model's weights.")
    return found


def difference_of_chain(
    whole: Executable, first: Executable, second: Executable, shapes: Mapping[str, Sequence[int]]
) -> float:
    """The largest relative difference between `whole` and `first` followed by `second`, over random inputs."""
    worst = 0.0
    for label, feeds in _random(whole, shapes):
        middle = {**feeds, **first.run(feeds)}
        last = {**middle, **second.run(middle)}
        evidence = _difference(label, [(whole.run(feeds), last)])
        worst = max(worst, evidence.relative if evidence else 0.0)
    return worst


def _random(network: Executable, shapes: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, dict[str, Array]]]:
    generator = np.random.default_rng(0)
    for scale in _SCALES:
        feeds: dict[str, Array] = {}
        for name, dtype in network.inputs.items():
            check_room(8 * math.prod(shapes[name]), f"the input {name!r} of a proof")
            if dtype.kind == "f":
                feeds[name] = (generator.standard_normal(shapes[name]) * scale).astype(dtype)
            else:
                feeds[name] = generator.integers(0, 2, shapes[name]).astype(dtype)
        yield f"random, scale {scale:g}", feeds


def _difference(label: str, pairs: list[tuple[dict[str, Array], dict[str, Array]]]) -> Evidence | None:
    """The largest differences over all outputs; None when the original itself is not finite."""
    absolute = relative = 0.0
    same, images = 0, 0
    for before, after in pairs:
        for name, old in before.items():
            check_room(4 * 8 * old.size, f"the output {name!r} of a proof")  # both in float64, and their differences
            first = np.asarray(old, np.float64)
            second = np.asarray(after[name], np.float64)
            if not np.isfinite(first).all():
                return None
            if not first.size and not second.size:
                continue
            comparable = first.size == second.size and np.isfinite(second).all()
            error = float(np.abs(first - second.reshape(first.shape)).max()) if comparable else float("inf")
            absolute = max(absolute, error)
            relative = max(relative, error / max(float(np.abs(first).max(initial=0.0)), 1e-12))
        best = _classes(next(iter(before.values()))), _classes(next(iter(after.values())))
        if len(before) == 1 and best[0] is not None and best[1] is not None and len(best[0]) == len(best[1]):
            same += int((best[0] == best[1]).sum())
            images += len(best[0])
    return Evidence(label, absolute, relative, same / images if images else None)


def _classes(scores: Array) -> NDArray[np.int64] | None:
    if not scores.size or scores.ndim < 2 or scores.shape[1] < 2 or scores.size != scores.shape[0] * scores.shape[1]:
        return None
    return np.asarray(scores.reshape(len(scores), -1).argmax(1), np.int64)
