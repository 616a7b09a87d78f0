"""Proof that two models compute the same: both run on onnxruntime over the same inputs.

Inputs are random numbers at several scales, since an activation that clips hides errors at one of them, and real images
when there are any. Each part of an output is held to |after - before| <= floor + relative |before|, as numpy's
`allclose` has it, with a floor in the units of that part. Where a part vanishes, or sits at the ends of its function,
nothing could be told there: that input is passed over, and said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from dlaflow.errors import InputError
from dlaflow.quantize.boxes import BoxForm
from dlaflow.quantize.session import SessionOptions, check_room, dtype_of, open_session, reason_of, too_large
from dlaflow.rewrites.agreement import Agreed, agreement
from dlaflow.rewrites.base import Safety
from dlaflow.rewrites.box_forms import box_forms
from dlaflow.rewrites.draft import Draft
from dlaflow.rewrites.outputs import Part, Places, Watch, watch
from dlaflow.rewrites.records import Bound, Evidence
from dlaflow.rewrites.time_major import time_major

Array = NDArray[np.generic]
_ANY = Bound(math.inf, math.inf)
BOUNDS = {
    Safety.NOTHING: Bound(1e-4, 5e-5),
    Safety.EXACT: Bound(1e-4, 5e-5),
    Safety.TOLERANCE: Bound(5e-2, 2.5e-2),
    Safety.DATA: _ANY,
    Safety.RETRAIN: _ANY,
}
"""What each class may change."""
_HALF = Bound(2e-2, 1e-2)
"""Twenty roundings of float16 and ten: less cannot be told in a network that computes in it."""
_SCALES = (0.1, 1.0, 10.0)
_FURTHER = (0.01, 100.0, 1000.0)
"""Scales that are tried when something could not be judged at any of the first."""
_NEAR = 1e-3
"""So near to the end of its function, as a share of its range, a value tells nothing of what came in."""
_VANISHED = 1e-6
"""A part whose values are smaller than this share of what they are on other inputs is lost in rounding."""
_ROUNDINGS, _MOST_ROUNDINGS = 8, 20
"""Rounding is 8 times what the model's own outputs change when its inputs move to the next float (fixed text detectors
differed by up to 3 times that), and up to 20 floors: a model that is more chaotic than that is not taken for proven."""
_TINY = 1e-12
_IMAGE = 4
"""Dimensions of an image: bytes of that shape are pixels, other integers may be places in a table."""


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
        self.watch: Watch | None = None
        self._beside: Executable | None = None

    @cached_property
    def boxes(self) -> dict[str, BoxForm]:
        """The forms of the outputs that hold boxes."""
        return box_forms(self.watch.draft) if self.watch else {}

    @classmethod
    def of(cls, draft: Draft, file: Path | None = None) -> Executable:
        """A draft whose hidden tensors are watched as well; its outputs are computed by `file` where one is given."""
        seen = watch(draft)
        if file is None:
            names = dict.fromkeys((*draft.outputs, *seen.hidden.values()))
            found = cls(seen.draft.part(seen.draft.nodes, draft.inputs, names).proto())
        else:
            found = cls(file)
            if seen.hidden:
                found._beside = cls(seen.draft.part(seen.draft.nodes, draft.inputs, seen.hidden.values()).proto())
        found.outputs = list(draft.outputs)
        found.watch = seen
        return found

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name, and the hidden tensors by their label."""
        names = [value.name for value in self._session.get_outputs()]
        try:
            values = self._session.run(names, {name: feeds[name] for name in self.inputs})
        except Exception as error:
            raise too_large(error) or InputError(
                "the model cannot be run on its own inputs",
                received=reason_of(error),
                then="Export it with inputs that are tensors of numbers, of one element at least.",
            ) from None
        made = dict(zip(names, values, strict=True))
        found = {name: made[name] for name in self.outputs}
        if self._beside is not None:
            made |= self._beside.run({name: feeds[name] for name in self._beside.inputs})
        return found | {label: made[name] for label, name in (self.watch.hidden if self.watch else {}).items()}


def bound_of(safety: Safety, draft: Draft) -> Bound:
    """What a class may change in a network of the draft's precision."""
    bound = BOUNDS[safety]
    if not any(value.dtype == np.float16 for value in draft.weights.values()):
        return bound
    return Bound(max(bound.relative, _HALF.relative), max(bound.floor, _HALF.floor))


def holds(evidence: Sequence[Evidence]) -> bool:
    """Whether every comparison stayed within its bound."""
    return all(each.used <= 1 for each in evidence)


Known = dict[tuple[str, str, Bound], tuple[list[Evidence], str]]
"""What came of proofs on random numbers, by the content of both drafts: targets of one model often come to the same."""


class Proof:
    """What drafts are held to: they compute what `start` does, whose outputs `file` gives where there is one.

    `finish` is what becomes of a draft before it is written. What ONNX's checker says of a draft counts where it takes
    the start. What is `known` of the same model is not run again.
    """

    def __init__(
        self,
        start: Draft,
        file: Path | None,
        finish: Callable[[Draft], Draft],
        bound: Bound,
        samples: Samples | None = None,
        known: Known | None = None,
    ) -> None:
        self.shapes = start.input_shapes
        self._start, self._file, self._finish, self._bound = start, file, finish, bound
        self._samples, self._known = samples, known
        self._last: tuple[Draft, list[Evidence], str] | None = None

    @cached_property
    def _origin(self) -> Executable:
        return Executable.of(self._start, self._file)

    def evidence(self, draft: Draft) -> list[Evidence]:
        """The comparisons; empty for a draft that cannot be run."""
        return self._of(draft)[1]

    def refuses(self, draft: Draft) -> str:
        """Why a draft is not what it should be; empty when it is."""
        return self._of(draft)[2]

    def _of(self, draft: Draft) -> tuple[Draft, list[Evidence], str]:
        if self._last is None or self._last[0] is not draft:
            self._last = (draft, *self._recalled(self._finish(draft)))
        return self._last

    def _recalled(self, draft: Draft) -> tuple[list[Evidence], str]:
        if self._known is None or self._samples is not None:
            return self._judged(draft)
        key = (self._start.content, draft.content, self._bound)
        if key not in self._known:
            self._known[key] = self._judged(draft)
        return self._known[key]

    def _judged(self, draft: Draft) -> tuple[list[Evidence], str]:
        origin, invalid = self._origin, _invalid(draft)
        if invalid and not _invalid(self._start):
            return [], f"ONNX's checker refuses the result: {invalid}"
        try:
            after = Executable.of(draft)
        except InputError as error:
            return [], str(error)
        found = compare(origin, after, self.shapes, self._samples, bound=self._bound)
        worst = max(found, key=lambda each: each.used)
        return found, "" if holds(found) else _excess(worst)


def _invalid(draft: Draft) -> str:
    """What ONNX's checker has against a draft, on one line; empty for nothing."""
    try:
        onnx.checker.check_model(draft.proto(), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        return " ".join(str(error).split())[:200] or type(error).__name__
    return ""


def _excess(worst: Evidence) -> str:
    if not worst.output:
        return "; ".join(worst.passed_over)
    if not math.isfinite(worst.used):
        return f"{worst.output} has another size or values that are not finite on {worst.inputs}"
    return (
        f"{worst.output} differed by {worst.relative:.1e} of its largest value on {worst.inputs}, "
        f"{worst.used:.2g} times what is allowed"
    )


def compare(
    before: Executable,
    after: Executable,
    shapes: Mapping[str, Sequence[int]],
    samples: Samples | None = None,
    *,
    random: bool = True,
    bound: Bound = BOUNDS[Safety.EXACT],
) -> list[Evidence]:
    """Run both on inputs of `shapes` (input name → dimensions): random ones and `samples`."""
    seen: dict[str, list[_Seen]] = {}
    failures: list[InputError] = []

    def look(label: str, feeds: Mapping[str, Array]) -> None:
        try:
            seen[label] = [_seen(before, after, feeds, bound)]
        except InputError as error:  # random numbers that the model cannot take: places in a table that it lacks
            failures.append(error)

    for label, feeds in _random(before, shapes, _SCALES) if random else ():
        look(label, feeds)
    if samples is not None and len(shapes) == 1:
        name = next(iter(shapes))
        count = sum(len(batch) for batch in samples.batches)
        real = [{name: batch.astype(before.inputs[name])} for batch in samples.batches]
        seen[f"{count} images"] = [_seen(before, after, feeds, bound) for feeds in real]
    for label, feeds in _random(before, shapes, _FURTHER) if random and seen else ():
        if not _unjudged(seen):
            break
        look(label, feeds)
    if not seen and failures:
        raise failures[0]
    found = _evidence(seen)
    runs = [run for each in seen.values() for run in each]
    if not any(run.spots for run in runs) and not all(run.finite for run in runs):
        raise InputError("the outputs of the model are not finite on any input", then="Check the model's weights.")
    return found


def difference_of_chain(
    whole: Executable, first: Executable, second: Executable, shapes: Mapping[str, Sequence[int]]
) -> float:
    """The largest relative difference between `whole` and `first` followed by `second`, over random inputs."""
    worst = 0.0
    for _, feeds in _random(whole, shapes):
        middle = {**feeds, **first.run(feeds)}
        last = {**middle, **second.run(middle)}
        for name, value in whole.run(feeds).items():
            old, new = np.asarray(value, np.float64), np.asarray(last[name], np.float64)
            if np.isfinite(old).all() and old.size:
                error = float(np.abs(old - new).max()) if old.shape == new.shape else math.inf
                worst = max(worst, error / max(float(np.abs(old).max()), _TINY))
    return worst


def _random(
    network: Executable, shapes: Mapping[str, Sequence[int]], scales: Sequence[float] = _SCALES
) -> Iterator[tuple[str, dict[str, Array]]]:
    for scale in scales:
        generator = np.random.default_rng(0)
        feeds: dict[str, Array] = {}
        for name, dtype in network.inputs.items():
            check_room(8 * math.prod(shapes[name]), f"the input {name!r} of a proof")
            if dtype.kind == "f":
                feeds[name] = np.asarray(generator.standard_normal(shapes[name]) * scale, dtype)
            else:
                pixels = dtype == np.uint8 and len(shapes[name]) == _IMAGE
                feeds[name] = np.asarray(generator.integers(0, 256 if pixels else 2, shapes[name]), dtype)
        yield f"random, scale {scale:g}", feeds


@dataclass
class _Spot:
    """One part of an output on one input: how far it differs, and whether anything can be told there."""

    absolute: float
    largest: float
    used: float
    decided: str
    ended: bool


@dataclass
class _Seen:
    """What one run of both showed: the parts by label, what could not be compared, and what they agree on."""

    spots: dict[str, _Spot] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    agreed: list[Agreed | None] = field(default_factory=list)
    finite: bool = True


def _seen(before: Executable, after: Executable, feeds: Mapping[str, Array], bound: Bound) -> _Seen:
    """Run both and compare part by part."""
    old, seen = before.run(feeds), _Seen()
    shaken = cache(lambda: before.run(_next_floats(feeds)))
    try:
        new = after.run(feeds)
    except InputError as error:
        return _Seen({"": _Spot(math.inf, 0.0, math.inf, "", ended=False)}, [str(error)])
    for name, value in old.items():
        check_room(4 * 8 * value.size, f"the output {name!r} of a proof")  # both in float64, and their differences
        first = np.atleast_1d(np.asarray(value, np.float64))
        finite = np.isfinite(first)
        if first.size and not finite.any():
            seen.notes.append(f"{name} is not finite")
            seen.finite = False
            continue
        hidden = before.watch is not None and name in before.watch.hidden
        if hidden and (name not in new or new[name].size != value.size):
            seen.notes.append(f"{name} is not in the rewritten model")
            continue
        second = np.atleast_1d(np.asarray(new[name], np.float64))
        if not first.size and not second.size:
            continue
        parts, places = _parts_of(before.watch, name)
        if first.size != second.size or not _alike(first[~finite], second.reshape(first.shape)[~finite]):
            largest = float(np.abs(first[finite]).max(initial=0.0))
            spots = {name: _Spot(math.inf, largest, math.inf, "size", ended=False)}
        else:
            second = second.reshape(first.shape)
            difference = np.abs(np.subtract(first, second, where=finite, out=np.zeros_like(first)))
            difference[~np.isfinite(difference)] = math.inf
            chosen = [finite if places is None else finite & (places == number) for number in range(len(parts))]
            pieces = [(part, first[mine], difference[mine]) for part, mine in zip(parts, chosen, strict=True)]
            spots = {part.label: _spot(was, by, part, bound) for part, was, by in pieces}
            if any(spot.used > 1 for spot in spots.values()):
                own = np.abs(first - np.asarray(shaken()[name], np.float64).reshape(first.shape))
                noise = {
                    part.label: float(own[mine].max(initial=0.0)) for part, mine in zip(parts, chosen, strict=True)
                }
                spots = {part.label: _spot(was, by, part, bound, noise[part.label]) for part, was, by in pieces}
        if any(spot.used > 1 for spot in spots.values()) and _follows(name, before.watch, after.watch, new):
            equal = f"{(first == second).mean():.2%}" if first.shape == second.shape else "another number"
            seen.notes.append(f"{name} follows from what its decisions read; {equal} of its values are equal")
            continue
        seen.spots |= spots
        if not hidden and first.shape == second.shape and finite.all() and np.isfinite(second).all():
            part, boxes = parts[0] if len(parts) == 1 else None, before.boxes.get(name)
            seen.agreed.append(agreement(first, second, part, boxes, alone=len(before.outputs) == 1))
    return seen


def _alike(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Whether two lists of what is no finite number are the same."""
    return bool(np.array_equal(first, second, equal_nan=True))


def _follows(name: str, before: Watch | None, after: Watch | None, new: Mapping[str, Array]) -> bool:
    """Whether an output is made by the same nodes of both models from tensors that are compared themselves."""
    if before is None or after is None or name not in before.decided:
        return False
    found = before.decided[name]
    return found == after.decided.get(name) and all(label in new for label in found.labels)


def _parts_of(seen: Watch | None, name: str) -> tuple[tuple[Part, ...], Places | None]:
    if seen is None or name not in seen.parts:
        return (Part(name),), None
    return seen.parts[name], seen.places.get(name)


def _next_floats(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs with each float moved to the next one, up or down at random."""
    generator, found = np.random.default_rng(0), dict(feeds)
    for name, value in feeds.items():
        if value.dtype.kind == "f":
            ends = np.where(generator.random(value.shape) < 0.5, -np.inf, np.inf).astype(value.dtype)
            found[name] = np.asarray(np.nextafter(value, ends))
    return found


def _spot(
    first: NDArray[np.float64], difference: NDArray[np.float64], part: Part, bound: Bound, noise: float = 0.0
) -> _Spot:
    """One part judged; `noise` is how much it changes by itself when its inputs move to the next float."""
    largest = float(np.abs(first).max(initial=0.0))
    if not first.size or not math.isfinite(bound.floor):
        return _Spot(float(difference.max(initial=0.0)), largest, 0.0, "", ended=False)
    floor = bound.floor * max(largest if part.reach is None else part.reach, _TINY)
    rounding = min(_ROUNDINGS * noise, _MOST_ROUNDINGS * floor) if math.isfinite(noise) else 0.0
    allowed = floor + rounding + bound.relative * np.abs(first)
    share = difference / allowed
    worst = int(share.argmax())
    terms = {"floor": floor, "rounding": rounding, "relative": float(allowed.flat[worst]) - floor - rounding}
    decided = max(terms, key=lambda each: terms[each])
    near = _NEAR * ((part.reach or 1.0) if part.low is not None else 0.0)
    ends = [np.abs(first - end) <= near for end in (part.low, part.high) if end is not None and part.high is not None]
    ended = bool(ends) and bool(np.logical_or.reduce(ends).all()) and float(difference.max()) <= near
    return _Spot(float(difference.max()), largest, float(share.flat[worst]), decided, ended)


def _blind(seen: Mapping[str, list[_Seen]]) -> dict[tuple[str, str], str]:
    """(inputs, part) of which nothing can be told there, with the reason."""
    most: dict[str, float] = {}
    for runs in seen.values():
        for run in runs:
            for label, spot in run.spots.items():
                most[label] = max(most.get(label, 0.0), spot.largest)
    found: dict[tuple[str, str], str] = {}
    for inputs, runs in seen.items():
        for label, reference in most.items():
            spots = [run.spots[label] for run in runs if label in run.spots]
            if spots and all(math.isfinite(spot.used) for spot in spots):
                if all(spot.ended for spot in spots):
                    found[inputs, label] = f"{label} sits at the ends of its function"
                elif all(max(spot.largest, spot.absolute) <= _VANISHED * reference for spot in spots):
                    found[inputs, label] = f"{label} vanishes"
    return found


def _unjudged(seen: Mapping[str, list[_Seen]]) -> set[str]:
    """The parts that could be judged on no input so far, and whose values before their function were not seen."""
    blind = _blind(seen)
    labels = {label for runs in seen.values() for run in runs for label in run.spots}
    judged = {
        label.partition(" before ")[0]
        for inputs, runs in seen.items()
        for run in runs
        for label in run.spots
        if (inputs, label) not in blind
    }
    return {label.partition(" before ")[0] for label in labels} - judged


def _evidence(seen: Mapping[str, list[_Seen]]) -> list[Evidence]:
    """For each input set the part that comes nearest to its bound; none where the original is not finite."""
    blind, unjudged, found = _blind(seen), _unjudged(seen), []
    for inputs, runs in seen.items():
        told = [
            (label, spot)
            for run in runs
            for label, spot in run.spots.items()
            if (inputs, label) not in blind or label in unjudged
        ]
        notes = [why for (where, label), why in blind.items() if where == inputs]
        notes += [note for run in runs for note in run.notes]
        label, worst = max(told, key=lambda each: each[1].used, default=("", _Spot(0.0, 0.0, 0.0, "", ended=False)))
        agreed = [each for run in runs for each in run.agreed if each is not None]
        agreed = [each for each in agreed if each[0] == agreed[0][0]]
        found.append(
            Evidence(
                inputs,
                worst.absolute,
                worst.absolute / max(worst.largest, _TINY),
                sum(same for _, same, _ in agreed) / sum(count for _, _, count in agreed) if agreed else None,
                agreed_on=agreed[0][0] if agreed else "",
                output=label,
                largest=worst.largest,
                used=worst.used,
                decided=worst.decided,
                passed_over=list(dict.fromkeys(notes)),
            )
        )
    return found
