"""What a rule is: one class whose docstring is its message, its `explain` page and its documentation.

The docstring starts with the condition in one sentence, then headed lines: `Why:` and `Use instead:`. The latter is
prose for people; its kind stands in `remedy`, which is what code reads. `{limit}` is the release's bound of that id.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar, Generic, TypeVar

from dlaflow.graph.layer import Attributes, Layer
from dlaflow.rules.case import Case, by
from dlaflow.targets.limits import Limit
from dlaflow.types import Confidence, Device, Finding, Remedy, Verdict

HEADINGS = ("Why", "Use instead")


@dataclass(frozen=True, slots=True)
class Example:
    """A small graph that keeps or breaks a rule; `dlaflow explain` prints it and the tests check it.

    `nodes` are ONNX text, one node a line, from the input `x` to the output `y`; `x` and `weights` give shapes.
    """

    nodes: str
    x: str = "1,64,32,32"
    weights: tuple[tuple[str, str], ...] = ()
    constants: tuple[tuple[str, str, str], ...] = ()
    """Small initializers as (name, type and shape, values): ("scales", "float[4]", "1,1,2,2")."""
    board: str = "agx-orin-64gb"
    tensorrt: str = "8.5.2"
    precision: str = "int8"
    more_inputs: tuple[tuple[str, str], ...] = ()
    """Further graph inputs as (name, type and shape): ("s", "float[1,64,1,1]")."""


class Rule:
    """One condition on one layer. Subclasses set `id`, `kinds`, the examples, and say what breaks in `examine`."""

    id: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    """TensorRT LayerType names that the rule looks at; `*` is every kind that does work."""
    limit: ClassVar[str] = ""
    """The id in limits.toml, when the rule is about a bound."""
    further: ClassVar[tuple[str, ...]] = ()
    """Ids of further bounds that it asks for, which its page shows beside that one."""
    remedy: ClassVar[Remedy]
    """The cheapest remedy that there is. EXACT without a rewrite of `dlaflow fix`: the author of the model does it."""
    otherwise: ClassVar[Remedy | None] = None
    """What is left where no rewrite of `dlaflow fix` matches; None: `remedy`, done by the author."""
    unknown_runs_on: ClassVar[Device] = Device.GPU
    """The likelier device when the rule answers `unknown`, and that of a `conditional` layer as things stand."""
    of_rank: ClassVar[bool] = False
    """Whether it is about numbers of dimensions, which the parser may change for the DLA in newer releases."""
    judges_candidates: ClassVar[bool] = False
    """Whether the builder asks it of whole candidates: a layer that fails it alone joins one first and cuts it then."""
    expected: ClassVar[str] = ""
    source: ClassVar[str] = ""
    confidence: ClassVar[Confidence] = Confidence.DOCUMENTED
    """What a finding says was expected, and on what grounds, where that is the same for every layer."""
    good: ClassVar[Example] = Example("y = Relu(x)")
    bad: ClassVar[Example]

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        """The finding when `layer` breaks the rule on the case's target, else None."""
        raise NotImplementedError

    def breaks(self, layer: Layer, limit: Limit, received: str, *, expected: str = "") -> Finding:
        """The finding for a broken bound: `fallback` when the bound was read or measured, `unknown` when inferred."""
        verdict = Verdict.UNKNOWN if limit.confidence is Confidence.INFERRED else Verdict.FALLBACK
        return self._finding(layer, verdict, expected or limit.text, received, (limit.source, limit.confidence))

    def refuses(
        self, layer: Layer, received: str, *, expected: str = "", source: str = "", confidence: Confidence | None = None
    ) -> Finding:
        """The finding for something that is refused whatever the bound; inferred grounds give `unknown`."""
        confidence = confidence or self.confidence
        verdict = Verdict.UNKNOWN if confidence is Confidence.INFERRED else Verdict.FALLBACK
        return self._finding(layer, verdict, expected, received, (source, confidence))

    def notes(
        self, layer: Layer, received: str, *, expected: str = "", source: str = "", confidence: Confidence | None = None
    ) -> Finding:
        """The finding for a layer that stays on the DLA with a remark: a lower confidence, a change of precision."""
        return self._finding(layer, Verdict.NATIVE, expected, received, (source, confidence or self.confidence))

    def depends(self, layer: Layer, received: str, *, expected: str, source: str) -> Finding:
        """The finding for a layer that the DLA takes once something outside of it is settled."""
        return self._finding(layer, Verdict.CONDITIONAL, expected, received, (source, Confidence.DOCUMENTED))

    def two_dimensional(
        self, layer: Layer, sides: int, source: str, confidence: Confidence = Confidence.DOCUMENTED
    ) -> Finding | None:
        """The finding unless a window has two sides: with one it has a two-dimensional form, with three it has none."""
        if sides == 2:
            return None
        found = self.refuses(layer, f"{sides} spatial dimensions", expected="2", source=source, confidence=confidence)
        return found if sides == 1 else replace(found, remedy=Remedy.NONE)

    def _finding(
        self, layer: Layer, verdict: Verdict, expected: str, received: str, ground: tuple[str, Confidence]
    ) -> Finding:
        joint = ", allowed" if verdict is not Verdict.NATIVE else ", note:"
        return self._written(layer.name, verdict, joint, (expected or self.expected, received), ground)

    def _written(
        self, layer: str, verdict: Verdict, joint: str, texts: tuple[str, str], ground: tuple[str, Confidence]
    ) -> Finding:
        expected, received = texts
        return Finding(
            rule=self.id,
            layer=layer,
            verdict=verdict,
            message=f"{received}{joint} {expected}",
            expected=expected,
            received=received,
            source=ground[0] or self.source,
            fix=section(type(self), "Use instead"),
            confidence=ground[1],
            remedy=self.otherwise or self.remedy,
        )


A = TypeVar("A", bound=Attributes)


class AttributeRule(Rule, Generic[A]):
    """A rule on the attributes of a layer, silent on releases that lack the bound `limit` where it names one."""

    attributes: type[A]

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if not isinstance(layer.attributes, self.attributes) or (self.limit and case.limit(self.limit) is None):
            return None
        return self.look(layer, layer.attributes, case)

    def look(self, layer: Layer, attributes: A, case: Case) -> Finding | None:
        """The finding for one layer."""
        raise NotImplementedError


class Bound(AttributeRule[A]):
    """A rule that holds numbers of a layer against the bound `limit`, and does no more."""

    fields: ClassVar[tuple[str, ...]]
    """The numbers among the layer's attributes."""
    noun: ClassVar[str]
    """What a finding calls them."""

    def look(self, layer: Layer, attributes: A, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        if limit is None:
            return None
        values = [getattr(attributes, field) for field in self.fields]
        numbers = tuple(number for value in values for number in (value if isinstance(value, tuple) else (value,)))
        return None if self.fits(limit, numbers) else self.breaks(layer, limit, f"{self.noun} {by(numbers)}")

    def fits(self, limit: Limit, numbers: tuple[int, ...]) -> bool:
        """Whether the numbers are allowed."""
        return limit.allows(*numbers)


class ModelRule(Rule):
    """One condition on the whole model; the finding's layer is empty."""

    kinds = ()

    def examine_model(self, case: Case) -> Finding | None:
        """The finding when the model or the target breaks the rule, else None."""
        raise NotImplementedError

    def says(
        self,
        verdict: Verdict,
        received: str,
        *,
        expected: str = "",
        source: str = "",
        confidence: Confidence | None = None,
    ) -> Finding:
        """The finding about the whole model."""
        texts, ground = (expected or self.expected, received), (source, confidence or self.confidence)
        return self._written("", verdict, "; expected", texts, ground)


def title(rule: type[Rule]) -> str:
    """The rule in one sentence: the first paragraph of its docstring."""
    return " ".join(_document(rule).split("\n\n", 1)[0].split())


def section(rule: type[Rule], heading: str) -> str:
    """The text behind a heading of a rule's docstring, on one line; empty when the rule has none."""
    collected: list[str] = []
    taking = False
    for line in _document(rule).splitlines():
        head = line.split(":", 1)[0]
        if head in HEADINGS and ":" in line:
            taking = head == heading
            line = line.split(":", 1)[1]
        if taking:
            collected.append(line.strip())
    return " ".join(" ".join(collected).split())


def fix_safety(rule: type[Rule]) -> str:
    """What a page says of the rule's remedy."""
    if rule.otherwise is None:
        return rule.remedy.value
    return f"{rule.remedy.value} where `dlaflow fix` has a rewrite for the layer, otherwise {rule.otherwise.value}"


def _document(rule: type[Rule]) -> str:
    return _clean(rule.__doc__ or "")


_clean = cache(inspect.cleandoc)
