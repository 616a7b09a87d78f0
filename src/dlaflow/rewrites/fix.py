"""check → rewrite → prove → check: a model file in, a model file out, and a report of what was done and why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dlaflow.errors import InputError
from dlaflow.files import is_stream, together, write_atomic
from dlaflow.graph.load import load_model
from dlaflow.placement.check import check_model
from dlaflow.progress import Progress, silent
from dlaflow.rewrites.base import Safety
from dlaflow.rewrites.cut import cut_automatically, post_path, split
from dlaflow.rewrites.draft import Draft
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.motions import four_dimensional_outputs
from dlaflow.rewrites.normalizations import Changed, change_normalizations
from dlaflow.rewrites.older_opset import as_read_by
from dlaflow.rewrites.prove import BOUNDS, Executable, compare, difference_of_chain
from dlaflow.rewrites.records import Cut, Evidence, FixReport, Refused
from dlaflow.rewrites.registry import allowed
from dlaflow.rewrites.search import FixConfig, Found, Search
from dlaflow.rules.reading import contradictions, no_engine
from dlaflow.rules.remedies import against
from dlaflow.targets.target import Target
from dlaflow.types import Device, Finding, Measurement, Placement, Provenance


@dataclass(frozen=True)
class Fixed:
    """The rewritten model with its report; the draft is what a cut works on."""

    report: FixReport
    draft: Draft
    placement: Placement


def fix(path: Path, target: Target, config: FixConfig, progress: Progress = silent) -> Fixed:
    """Rewrite the model at `path` for `target` and prove it.

    A rewrite whose proof fails is taken back and reported. Raises InputError for a model that cannot be used.
    """
    began = time.monotonic()
    with progress(f"Fixing {path.name}", None) as task:
        model = load_model(path)
        start, frozen = load_draft(model, target.batch, target.shapes)
        target = replace(target, shapes=())  # the draft holds them; a rewrite may rename or drop an input
        finish: Callable[[Draft], Draft] = four_dimensional_outputs if config.output_4d else _unchanged
        search = Search(target, allowed(config.allow), path, finish, task.describe)
        before = search.place(start) if frozen else check_model(model, target)
        for finding in contradictions(before.findings):
            raise InputError(f"{path}: {finding.message}", then=finding.fix)
        changed = change_normalizations(start, search, config)
        older = as_read_by(changed.draft, target)
        changed = replace(changed, draft=older.draft)
        found, evidence, taken_back = _proven(path, start, changed, search, config)
    draft = finish(found.draft)
    placement = found.placement
    report = FixReport(
        model=str(path),
        sha256=model.sha256,
        out="",
        target=before.target,
        allow=config.allow.value,
        before=before.summary,
        after=placement.summary,
        applied=[*changed.applied, *older.applied, *(step.applied for step in found.steps)],
        refused=[*changed.refused, *older.refusals, *taken_back, *found.refused],
        remaining=_remaining(placement),
        proof=evidence,
        bound=BOUNDS[config.allow],
        seconds=round(time.monotonic() - began, 2),
        frozen_inputs=list(frozen),
        measurements=[*changed.measurements, *_accuracy_after(draft, changed, config)],
    )
    return Fixed(report, draft, placement)


def _accuracy_after(draft: Draft, changed: Changed, config: FixConfig) -> list[Measurement]:
    """The accuracy of the whole result, where normalizations were changed and there is a measure."""
    if config.accuracy is None or config.dry_run or not changed.applied:
        return []
    value = config.accuracy(draft.proto())
    return [Measurement("top1", "after all rewrites", value, "%", config.tested, provenance=Provenance.MEASURED)]


def write(fixed: Fixed, out: Path) -> Fixed:
    """Write the model, with its origin in the metadata, and note the path in the report."""
    proto = fixed.draft.proto()
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
    path: Path, start: Draft, changed: Changed, search: Search, config: FixConfig
) -> tuple[Found, list[Evidence], list[Refused]]:
    """Search and prove; a rewrite that fails is barred and the search begins again.

    What the search does is held to its class against the model that it started from. Changed normalizations are held to
    theirs on the images that they were made from, since random numbers have other statistics.
    """
    taken_back: list[Refused] = []
    found = search.run(changed.draft)
    if config.dry_run:
        return found, [], taken_back
    shapes = {name: start.shape(name) or () for name in start.inputs}
    original = Executable(path)
    origin = Executable(changed.draft.proto()) if changed.applied else original
    safety = (
        Safety.TOLERANCE if any(rewrite.safety is Safety.TOLERANCE for rewrite in search.rewrites) else Safety.EXACT
    )

    def errors(draft: Draft) -> list[Evidence]:
        return compare(origin, Executable(search.finish(draft).proto()), shapes, config.samples)

    while True:
        evidence = errors(found.draft)
        if _holds(evidence, safety):
            break
        guilty = next((step for step in found.steps if not _holds(errors(step.draft), safety)), None)
        if guilty is None:
            raise InputError(
                "the model changes when only its constants are folded",
                expected=f"an error of at most {BOUNDS[safety]:g}",
                received=f"{max(each.relative for each in evidence):.2g}",
                then="Please report it; nothing was written.",
            )
        applied = guilty.applied
        reason = f"taken back: the outputs differed by more than {BOUNDS[safety]:g}"
        taken_back += [Refused(applied.rewrite, site, reason) for site in applied.sites]
        kept = [rewrite for rewrite in search.rewrites if rewrite.id != applied.rewrite]
        search = Search(search.target, kept, search.path, search.finish, search.report)
        found = search.run(changed.draft)
    if changed.applied:
        final = Executable(search.finish(found.draft).proto())
        evidence = compare(original, final, shapes, config.samples, random=False)
    return found, evidence, taken_back


def _holds(evidence: list[Evidence], safety: Safety) -> bool:
    return all(each.relative <= BOUNDS[safety] for each in evidence)


def _remaining(placement: Placement) -> list[Finding]:
    """What the release's parser still does not read, and the first reason of each layer that still runs on the GPU."""
    reasons = [against(layer) for layer in placement.layers if layer.device is Device.GPU]
    return [*no_engine(placement.findings), *(found[0] for found in reasons if found)]


def write_cut(fixed: Fixed, out: Path, tensors: list[str], target: Target) -> Fixed:
    """Write the backbone to `out` and the part behind `tensors` beside it (empty: cut automatically).

    Raises InputError when the two chained do not give what the whole gives, or when there is nothing to cut off.
    """
    names = tensors or cut_automatically(fixed.draft, fixed.placement)
    if not names:
        return write(fixed, out)
    if is_stream(out):
        raise InputError("the second part stands beside the first", expected="a file", received=out)
    backbone, post = split(fixed.draft, names)
    post_out = post_path(out)
    relative = chained(fixed.draft, backbone, post)
    placement = check_model(backbone.model(out), replace(target, shapes=()))
    with together():
        write_atomic(post_out, post.proto().SerializeToString())
        written = write(replace(fixed, draft=backbone), out)
    cut = Cut(list(backbone.outputs), str(out), str(post_out), placement.summary, relative)
    report = replace(written.report, cut=cut, remaining=_remaining(placement))
    return Fixed(report, backbone, placement)


def chained(whole: Draft, backbone: Draft, post: Draft) -> float:
    """The largest relative difference between the two parts chained and the whole, on random inputs.

    Raises InputError when it is more than rounding.
    """
    networks = Executable(whole.proto()), Executable(backbone.proto()), Executable(post.proto())
    shapes = {name: whole.shape(name) or () for name in whole.inputs}
    relative = difference_of_chain(*networks, shapes)
    if relative > BOUNDS[Safety.EXACT]:
        raise InputError(
            "the two parts of the model do not give what the whole gives",
            expected=f"an error of at most {BOUNDS[Safety.EXACT]:g}",
            received=f"{relative:.2g}",
            then="Please report it; nothing was written.",
        )
    return relative
