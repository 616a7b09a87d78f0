"""Rules about what comes before every layer: the release's ONNX parser must read the model, and as ONNX means it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from dlaflow.graph.layer import Reading, Refusal
from dlaflow.rules.base import Example, ModelRule
from dlaflow.rules.case import Case
from dlaflow.targets.target import Target
from dlaflow.targets.version import Version
from dlaflow.types import Finding, Remedy, Verdict

_SHOWN = 4
_TESTED = Version.parse("10.8")


class ReadingRule(ModelRule):
    """Shared frame: one finding for all nodes with which the same becomes of the model."""

    reading: ClassVar[Reading]
    verdict: ClassVar[Verdict]
    head: ClassVar[str]
    """What the parser does to `{model}`."""

    def examine_model(self, case: Case) -> Finding | None:
        found = [refusal for refusal in case.network.refusals if refusal.reading is self.reading]
        if not found:
            return None
        nodes = described(found)
        finding = self.says(self.verdict, nodes, source=_source(case.target))
        message = f"TensorRT {case.target.version}'s parser {self.head.format(model='this model')}: {nodes}"
        return replace(finding, message=message, fix=_advice(found) or finding.fix)


class ParserRefuses(ReadingRule):
    """The release's ONNX parser must take every node, input and initializer.

    Why: TensorRT reads the whole model before it thinks of any device. One node that the release's parser has no
    importer for, or in a form that it does not take, ends the build: what is predicted of the rest is for the time
    after it is repaired.
    Use instead: another opset, `dlaflow fix` where it has a rewrite, a newer release, or a cut before the node.
    """

    id = "DLA020"
    remedy = Remedy.ELSEWHERE
    reading = Reading.REFUSED
    verdict = Verdict.FALLBACK
    head = "refuses {model}"
    expected = "operators and forms of them that the release's parser takes"
    bad = Example("y = LayerNormalization(x, s)", weights=(("s", "32"),))


class ParserNeedsPlugin(ReadingRule):
    """An operator that only a plugin knows needs that plugin's library when the model is read.

    Why: the parser hands what it has no importer for to the plugin registry. TensorRT's own plugins lie in
    libnvinfer_plugin, which trtexec loads; any other library must be named. Plugins run on the GPU.
    Use instead: --staticPlugins (--plugins before TensorRT 8.6), or an export without the operator.
    """

    id = "DLA021"
    remedy = Remedy.ELSEWHERE
    reading = Reading.PLUGIN
    verdict = Verdict.CONDITIONAL
    head = "needs plugins for {model}"
    expected = "operators that the parser knows, or libraries with these plugins"
    bad = Example("y = ResizeNearest_TRT<scale=2.0>(x)")


class ModelContradictsItself(ReadingRule):
    """The shapes that a node reads must go together.

    Why: operands that do not broadcast, a product of 128 columns with 8 rows or a window larger than what it moves over
    compute nothing, so that no release builds the model. That comes from a size of the input that it was not made for,
    or from a broken file.
    Use instead: a size that fits (--shape), or a new export.
    """

    id = "DLA023"
    remedy = Remedy.ELSEWHERE
    reading = Reading.CONTRADICTION
    verdict = Verdict.FALLBACK
    head = "cannot read {model}, which contradicts itself"
    expected = "shapes that go together"
    good = Example("y = Add(x, b)", weights=(("b", "64,1,1"),))
    bad = Example("y = Add(x, b)", weights=(("b", "63,1,1"),))


class ParserMisreads(ReadingRule):
    """The release's ONNX parser must read every node as ONNX means it.

    Why: the parser of a release knows the opsets of its time. What a later opset moved from an attribute to an input,
    or added, it passes over without a word: the engine computes something else, or a later node is refused.
    Use instead: export with an opset of the release's time: 17 for TensorRT 8.x, 12 for 7.x.
    """

    id = "DLA022"
    remedy = Remedy.EXACT
    reading = Reading.MISREAD
    verdict = Verdict.FALLBACK
    head = "misreads {model}"
    expected = "an opset of the release's time"
    bad = Example("a, b, y = Split<axis=1, num_outputs=3>(x)")


READING_RULES: tuple[type[ReadingRule], ...] = (
    ParserRefuses,
    ParserNeedsPlugin,
    ParserMisreads,
    ModelContradictsItself,
)
_SPEAK_FIRST = frozenset({ParserRefuses.id, ParserMisreads.id, ModelContradictsItself.id})


def speaks_first(rule: str) -> bool:
    """Whether a rule's finding belongs before all numbers: no engine comes out of the model, or a wrong one."""
    return rule in _SPEAK_FIRST


def contradictions(findings: Iterable[Finding]) -> list[Finding]:
    """Why the model computes nothing at all, whatever the release."""
    return [finding for finding in findings if finding.rule == ModelContradictsItself.id]


def no_engine(findings: Iterable[Finding]) -> list[Finding]:
    """Why no engine comes out of the model as it is, or a wrong one; empty when the parser reads it."""
    return [finding for finding in findings if speaks_first(finding.rule)]


def described(refusals: list[Refusal]) -> str:
    """The nodes with their reasons: alike ones counted, the first few named."""
    groups: dict[tuple[str, str, str], list[Refusal]] = {}
    for refusal in refusals:
        groups.setdefault((refusal.op, refusal.reason, refusal.since), []).append(refusal)
    alike = [_described(op, reason, since, found) for (op, reason, since), found in list(groups.items())[:_SHOWN]]
    rest = sum(len(found) for found in list(groups.values())[_SHOWN:])
    return "; ".join([*alike, *([f"and {rest} more"] if rest else [])])


def _described(op: str, reason: str, since: str, found: list[Refusal]) -> str:
    name = found[0].node
    what = f"{op} {name!r}" if op in {"input", "output", "initializer"} else f"node {name!r} ({op})"
    many = f" and {len(found) - 1} more like it" if len(found) > 1 else ""
    verb = "read as meant" if found[0].reading is Reading.MISREAD else "taken"
    later = f" ({verb} from TensorRT {since} on)" if since and since not in reason else ""
    return f"{what}{many}: {reason}{later}"


def _advice(refusals: list[Refusal]) -> str:
    then = list(dict.fromkeys(refusal.then for refusal in refusals if refusal.then))
    return " ".join(then[:_SHOWN])


def _source(target: Target) -> str:
    if target.version < _TESTED:
        return "the open sources of NVIDIA's ONNX parser (onnx-tensorrt) up to 10.1 and its change log"
    return "the ONNX parser of TensorRT-RTX 1.7.1, asked without a GPU"
