"""Which rewrites match at the layers that a placement has findings on: what `check`, `profile` and `estimate` tell.

A finding names the rewrites that answer its rule and replace its layer. A layer is `conditional` when one of them is
exact and the rules take every layer that it puts there. Whether `dlaflow fix` takes a rewrite depends on the whole
model: the search tells that, not a match.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dlaflow.errors import InputError
from dlaflow.graph.load import Model
from dlaflow.graph.lower import lower
from dlaflow.graph.lower.naming import node_name
from dlaflow.graph.shapes import Shapes
from dlaflow.rewrites.base import Bounds, Rewrite, Safety
from dlaflow.rewrites.draft import Draft, Edit
from dlaflow.rewrites.load import draft_to_match
from dlaflow.rewrites.registry import REWRITES
from dlaflow.rules.case import make_case
from dlaflow.rules.examine import Examiner
from dlaflow.rules.model import nothing_runs
from dlaflow.rules.normalization import NormalizationLayer
from dlaflow.rules.remedies import against
from dlaflow.targets.target import Target
from dlaflow.types import Device, Finding, PlacedLayer, Placement, Remedy, Verdict

_ORDER = list(Remedy)
_NOWHERE = Path("the new nodes of a rewrite")
_Answer = tuple[str, Safety, bool]
"""The id of a rewrite, its class, and whether the layer is native after it."""


def with_rewrites(placement: Placement, model: Model, target: Target, shapes: Shapes | None = None) -> Placement:
    """The placement of `model` on `target` with the rewrites that match in its findings, and its conditional layers.

    `shapes` are those that the placement's network was made with, inferred anew without them. Nothing is read or
    computed when no rewrite answers a rule of the findings.
    """
    wanted: dict[str, set[str]] = {}
    for layer in placement.layers:
        for finding in against(layer):
            wanted.setdefault(finding.rule, set()).update(layer.onnx_nodes)
    rewrites = [rewrite() for rewrite in REWRITES if wanted.keys() & set(rewrite.answers)]
    if nothing_runs(placement.findings) or not (rewrites or NormalizationLayer.id in wanted):
        return placement
    try:
        draft = draft_to_match(model, target.batch, target.shapes, shapes)
    except InputError:
        return placement  # `dlaflow fix` refuses it, too
    answers: dict[tuple[str, str], list[_Answer]] = {}
    for rewrite in rewrites:
        nodes = {node for rule in rewrite.answers for node in wanted.get(rule, ())}
        for replaced, native in _matches(rewrite, draft, nodes, target):
            for key in ((rule, node) for rule in rewrite.answers for node in replaced):
                answers.setdefault(key, []).append((rewrite.id, rewrite.safety, native))
    if NormalizationLayer.id in wanted:
        _add_normalizations(draft, answers)
    return replace(placement, layers=[_answered(layer, answers) for layer in placement.layers])


def _add_normalizations(draft: Draft, answers: dict[tuple[str, str], list[_Answer]]) -> None:
    """The two forms of a normalization; the first alone would do with --allow tolerance, yet both need images."""
    from dlaflow.rewrites import frozen_statistics, normalization_arithmetic  # they run models, which most need not

    for block in frozen_statistics.find_blocks(draft):
        both = [(rewrite.ID, Safety.DATA, False) for rewrite in (normalization_arithmetic, frozen_statistics)]
        answers.setdefault((NormalizationLayer.id, block.site), []).extend(both)


def _answered(layer: PlacedLayer, answers: dict[tuple[str, str], list[_Answer]]) -> PlacedLayer:
    if not against(layer):
        return layer
    conditional = False
    findings: list[Finding] = []
    for finding in layer.findings:
        if finding.verdict is Verdict.NATIVE:
            findings.append(finding)
            continue
        found = [answer for node in layer.onnx_nodes for answer in answers.get((finding.rule, node), ())]
        conditional |= any(native for _, _, native in found)
        remedies = [finding.remedy, *(Remedy(safety.value) for _, safety, _ in found)]
        names = list(dict.fromkeys(name for name, _, _ in found))
        findings.append(replace(finding, rewrites=names, remedy=min(remedies, key=_ORDER.index)))
    if not conditional or layer.verdict is not Verdict.FALLBACK:
        return replace(layer, findings=findings)
    findings = [
        replace(finding, verdict=Verdict.CONDITIONAL) if finding.verdict is Verdict.FALLBACK else finding
        for finding in findings
    ]
    return replace(layer, findings=findings, verdict=Verdict.CONDITIONAL)


def _matches(rewrite: Rewrite, draft: Draft, wanted: set[str], target: Target) -> Iterable[tuple[set[str], bool]]:
    """The nodes that each edit of a rewrite replaces, `wanted` ones among them, and whether the new ones are native."""
    found = [
        (edit, replaced)
        for edit in rewrite.find(draft, Bounds(target))[0]
        if wanted & (replaced := _replaced(draft, edit))
    ]
    exact = rewrite.safety is Safety.EXACT and rewrite.alone
    refused = _refused(draft, [edit for edit, _ in found], target) if exact else set()
    return [(replaced, exact and not any(node.name in refused for node in edit.nodes)) for edit, replaced in found]


def _refused(draft: Draft, edits: Sequence[Edit], target: Target) -> set[str]:
    """The new nodes that the rules keep off the DLA; reshapes and transposes are left out, since they move on.

    The new nodes alone are lowered, with what they read as inputs: what stands around them does not count.
    """
    nodes = [node for edit in edits for node in edit.nodes]
    if not nodes:
        return set()
    weights = {name: value for edit in edits for name, value in edit.weights.items()}
    types = {name: known for edit in edits for name, known in edit.types.items()}
    whole = replace(draft, weights={**draft.weights, **weights}, types={**draft.types, **types})
    made = dict.fromkeys(name for node in nodes for name in node.output if name)
    read = dict.fromkeys(name for node in nodes for name in node.input if name)
    part = whole.part(nodes, [name for name in read if name not in made and name not in whole.weights], made)
    case = make_case(lower(part.model(_NOWHERE), tensorrt=str(target.version)), target)
    examiner = Examiner()
    off = [
        layer
        for layer in case.network.layers
        if not layer.folded and examiner.device(examiner.layer(layer, case)) is Device.GPU
    ]
    moved = {node.name for edit in edits for node in edit.nodes if set(node.output) & edit.moved}
    return {name for layer in off for name in layer.onnx_nodes} - moved


def _replaced(draft: Draft, edit: Edit) -> set[str]:
    """The names of the nodes that an edit takes away, with those before them that then nothing reads."""
    read = {name for node in edit.nodes for name in node.input} | {name for pair in edit.rename for name in pair}
    gone = {id(node): node for node in edit.remove}
    waiting = list(edit.remove)
    while waiting:
        for name in waiting.pop().input:
            maker = draft.producers.get(name)
            if maker is None or id(maker) in gone:
                continue
            outputs = [each for each in maker.output if each]
            readers = [reader for each in outputs for reader in draft.consumers.get(each, ())]
            if (
                read.isdisjoint(outputs)
                and all(id(reader) in gone for reader in readers)
                and not set(outputs) & set(draft.outputs)
            ):
                gone[id(maker)] = maker
                waiting.append(maker)
    return {node_name(node) for node in gone.values()}
