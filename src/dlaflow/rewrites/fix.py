"""check → rewrite → prove → check: a model file in, a model file out, and a report of what was done and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from dlaflow.errors import InputError
from dlaflow.files import is_stream, together, write_atomic
from dlaflow.graph.load import Model, load_model
from dlaflow.placement.check import check_model
from dlaflow.progress import Progress, silent
from dlaflow.rewrites.base import Safety
from dlaflow.rewrites.cut import cut_automatically, post_path, split
from dlaflow.rewrites.draft import Draft
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.meanings import meanings
from dlaflow.rewrites.motions import four_dimensional_outputs
from dlaflow.rewrites.normalizations import Changed, change_normalizations
from dlaflow.rewrites.older_opset import Older, as_read_by
from dlaflow.rewrites.prove import BOUNDS, Executable, Known, Proof, bound_of, compare, difference_of_chain
from dlaflow.rewrites.records import Cut, Evidence, FixReport, Refused
from dlaflow.rewrites.registry import allowed
from dlaflow.rewrites.search import FixConfig, Found, Search, Taken, score_of, work_of
from dlaflow.rewrites.simplify import Slimmed, simplify
from dlaflow.rules.limits_of_model import leftovers
from dlaflow.rules.reading import contradictions, no_engine
from dlaflow.targets.target import Target
from dlaflow.types import Device, Finding, Measurement, Placement, Provenance, Verdict

_TAKEN_BACK = 8
"""How often a search begins again without what was taken back; then what holds of the last one is kept."""


@dataclass(frozen=True)
class Fixed:
    """The rewritten model with its report; the draft is what a cut works on, `origin` the model before, as placed.

    `file` is the model where it was simplified and nothing else, with its open sizes open; else it is empty.
    """

    report: FixReport
    draft: Draft
    placement: Placement
    origin: tuple[Model, Placement]
    file: bytes = field(default=b"", repr=False)


def fix(
    path: Path, target: Target, config: FixConfig, progress: Progress = silent, known: Known | None = None
) -> Fixed:
    """Rewrite the model at `path` for `target` and prove it; `known` are proofs of the same model, and gets this one.

    A rewrite whose proof fails is taken back and reported. Raises InputError for a model that cannot be used.
    """
    began = time.monotonic()
    with progress(f"Fixing {path.name}", None) as task:
        model = load_model(path)
        start, frozen = load_draft(model, target.batch, target.shapes)
        # The draft holds the shapes; a rewrite may rename or drop an input.
        asked, target = target, replace(target, shapes=())
        finish: Callable[[Draft], Draft] = four_dimensional_outputs if config.output_4d else _unchanged
        search = Search(target, allowed(config.allow, config.unroll), path, finish, task.describe)
        before = search.place(start) if frozen else check_model(model, target)
        origin = start.model(path) if frozen else model
        search = replace(search, work=work_of(before), prefer_speed=config.prefer_speed)
        for finding in contradictions(before.findings):
            raise InputError(f"{path}: {finding.message}", then=finding.fix)
        slim = simplify(model, start, asked, search, config) if config.simplify else Slimmed(start)
        alone = config.allow is Safety.NOTHING and not config.output_4d and bool(slim.file)
        changed = change_normalizations(slim.draft, search, config)
        older = Older(changed.draft) if alone else as_read_by(changed.draft, target)
        changed = replace(changed, draft=older.draft)
        found, evidence, taken_back = _proven(path, slim.draft, changed, search, config, known)
    draft, bound = finish(found.draft), bound_of(config.allow, start)
    placement = found.placement
    report = FixReport(
        model=str(path),
        sha256=model.sha256,
        out="",
        target=before.target,
        allow=config.allow.value,
        before=before.summary,
        after=placement.summary,
        applied=[*slim.applied, *changed.applied, *older.applied, *(step.applied for step in found.steps)],
        refused=[*slim.refused, *changed.refused, *older.refusals, *taken_back, *found.refused],
        remaining=_remaining(placement),
        proof=evidence,
        bound=bound.relative,
        floor=bound.floor,
        improved=bool(frozen) or alone or score_of(placement, search.work).beats(score_of(before, search.work)),
        seconds=round(time.monotonic() - began, 2),
        read_before=not no_engine(before.findings),
        frozen_inputs=list(frozen) if not alone or asked.shapes or asked.batch else [],
        measurements=[*changed.measurements, *_accuracy_after(draft, changed, config)],
    )
    return Fixed(report, draft, placement, (origin, before), slim.file if alone else b"")


def _accuracy_after(draft: Draft, changed: Changed, config: FixConfig) -> list[Measurement]:
    """The accuracy of the whole result, where normalizations were changed and there is a measure."""
    if config.accuracy is None or config.dry_run or not changed.applied:
        return []
    value = config.accuracy(draft.proto())
    return [Measurement("top1", "after all rewrites", value, "%", config.tested, provenance=Provenance.MEASURED)]


def write(fixed: Fixed, out: Path, *, anyway: bool = True) -> Fixed:
    """Write the model, with its origin in the metadata, and note the path in the report.

    What is no better than the model that it was made of is written only where `anyway` says so.
    """
    if not (anyway or fixed.report.improved):
        return fixed
    proto = onnx.load_from_string(fixed.file) if fixed.file else fixed.draft.proto()
    origin = {
        "dlaflow.source_sha256": fixed.report.sha256,
        "dlaflow.rewrites": "; ".join(f"{each.rewrite} x{len(each.sites)}" for each in fixed.report.applied),
        "dlaflow.target": f"{fixed.report.target.board} TensorRT {fixed.report.target.tensorrt}",
    }
    kept = [entry for entry in proto.metadata_props if entry.key not in origin]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)
    for key, value in origin.items():
        proto.metadata_props.add(key=key, value=value)
    write_atomic(out, proto.SerializeToString())
    return replace(fixed, report=replace(fixed.report, out=str(out)))


def _unchanged(draft: Draft) -> Draft:
    return draft


def _proven(
    path: Path, start: Draft, changed: Changed, search: Search, config: FixConfig, known: Known | None
) -> tuple[Found, list[Evidence], list[Refused]]:
    """Search and prove; a place whose rewrite fails is barred and the search begins again without it.

    What the search does is held to its class against the model that it started from. Changed normalizations are held to
    theirs on the images that they were made from, since random numbers have other statistics.
    """
    found = search.run(changed.draft)
    if config.dry_run:
        return found, [], []
    safety = (
        Safety.TOLERANCE if any(rewrite.safety is Safety.TOLERANCE for rewrite in search.rewrites) else Safety.EXACT
    )
    file = None if changed.applied else path
    proof = Proof(changed.draft, file, search.finish, bound_of(safety, start), config.samples, known)
    for _ in range(_TAKEN_BACK):
        reason = proof.refuses(found.draft)
        if not reason:
            break
        Executable(search.finish(changed.draft).proto())  # raises where fixed shapes alone are refused
        if unchanged := proof.refuses(changed.draft):
            raise InputError(
                "the model changes when only its constants are folded",
                expected="outputs within the bound",
                received=unchanged,
                then="Please report it; nothing was written.",
            )
        step, sites = _guilty(found.steps, changed.draft, search, proof)
        search = search.without(step.applied.rewrite, sites, f"taken back: {reason}")
        found = search.run(changed.draft)
    else:  # what holds of the last search, up to the first step that does not
        wrong = (index for index, step in enumerate(found.steps) if proof.refuses(step.draft))
        kept = next(wrong, len(found.steps))
        found = search.ended(found, kept, changed.draft)
    taken_back = [Refused(rewrite, site, reason) for (rewrite, site), reason in search.barred.items()]
    if changed.applied:
        sides = Executable.of(start, path), Executable.of(search.finish(found.draft))
        evidence = compare(*sides, proof.shapes, config.samples, random=False, bound=BOUNDS[config.allow])
        return found, evidence, taken_back
    return found, proof.evidence(found.draft), taken_back


def _guilty(steps: Sequence[Taken], start: Draft, search: Search, proof: Proof) -> tuple[Taken, list[str]]:
    """The first step after which the outputs are wrong, and the place that makes them so (all where none does alone).

    Both are found by halving: what is wrong after a step stays so after the next ones.
    """
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if proof.refuses(steps[middle].draft) else (middle + 1, high)
    step, before = steps[low], steps[low - 1].draft if low else start
    sites = step.applied.sites
    while len(sites) > 1:
        halves = sites[: len(sites) // 2], sites[len(sites) // 2 :]
        wrong = next((half for half in halves if proof.refuses(search.part_of(step, before, half))), None)
        if wrong is None:
            break
        sites = wrong
    return step, sites


def _remaining(placement: Placement) -> list[Finding]:
    """What the release's parser still does not read, and the first reason of each layer that still runs on the GPU.

    In standalone mode what such a build ends at: constants too, and what speaks against the whole.
    """
    found = no_engine(placement.findings)
    if placement.target.mode == "standalone":
        found = [each for each in placement.findings if each.verdict in (Verdict.FALLBACK, Verdict.UNKNOWN)]
        left = leftovers(placement)
    else:
        left = [layer for layer in placement.layers if layer.device is Device.GPU]
    reasons = [[each for each in layer.findings if each.verdict is not Verdict.NATIVE] for layer in left]
    return [*found, *(each[0] for each in reasons if each)]


def write_cut(fixed: Fixed, out: Path, tensors: list[str], target: Target, *, anyway: bool = True) -> Fixed:
    """Write the backbone to `out` and the part behind `tensors` beside it (empty: cut automatically).

    Where there is nothing to cut off, the whole is written as by `write`.

    Raises InputError when the two chained do not give what the whole gives, or when there is nothing to cut off.
    """
    names = tensors or cut_automatically(fixed.draft, fixed.placement)
    if not names:
        return write(fixed, out, anyway=anyway)
    if is_stream(out):
        raise InputError("the second part stands beside the first", expected="a file", received=out)
    backbone, post = split(fixed.draft, names)
    post_out = post_path(out)
    relative = chained(fixed.draft, backbone, post)
    placement = check_model(backbone.model(out), replace(target, shapes=()))
    with together():
        write_atomic(post_out, post.proto().SerializeToString())
        written = write(replace(fixed, draft=backbone, file=b""), out)
    outputs = meanings(fixed.draft, post, backbone.outputs)
    cut = Cut(list(backbone.outputs), str(out), str(post_out), placement.summary, relative, outputs)
    report = replace(written.report, cut=cut, remaining=_remaining(placement))
    return Fixed(report, backbone, placement, fixed.origin)


def chained(whole: Draft, backbone: Draft, post: Draft) -> float:
    """The largest relative difference between the two parts chained and the whole, on random inputs.

    Raises InputError when it is more than rounding.
    """
    networks = Executable(whole.proto()), Executable(backbone.proto()), Executable(post.proto())
    relative = difference_of_chain(*networks, whole.input_shapes)
    if relative > BOUNDS[Safety.EXACT].relative:
        raise InputError(
            "the two parts of the model do not give what the whole gives",
            expected=f"an error of at most {BOUNDS[Safety.EXACT].relative:g}",
            received=f"{relative:.2g}",
            then="Please report it; nothing was written.",
        )
    return relative
