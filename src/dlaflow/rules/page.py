"""A rule's page, for `dlaflow explain` and for docs/rules: made from its docstring, its limits and its examples."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dlaflow.rules.base import HEADINGS, Example, Rule, fix_safety, section, title
from dlaflow.targets.limits import Limit, limits

_PLACE = re.compile(r"\{([a-z_.]+)\}")


def summary(rule: type[Rule]) -> str:
    """The rule in one sentence, with the newest bounds put in."""
    return _PLACE.sub(lambda match: _newest(match[1]), title(rule))


def page(rule: type[Rule]) -> str:
    """The whole page as Markdown."""
    lines = [f"# {rule.id} {rule.__name__}", "", summary(rule), ""]
    for heading in HEADINGS:
        if text := section(rule, heading):
            lines += [f"**{heading}:** {text}", ""]
    lines += [f"**Fix safety:** {fix_safety(rule)}", ""]
    names = dict.fromkeys([*([rule.limit] if rule.limit else []), *_PLACE.findall(title(rule))])
    lines += [*_table("Bounds", "allowed", list(names)), *_table("Further bounds", "what it is about", rule.further)]
    lines += ["## Good", "", *_example(rule.good), "", "## Bad", "", *_example(rule.bad), ""]
    return "\n".join(lines).rstrip()


def _table(heading: str, about: str, names: Sequence[str]) -> list[str]:
    bounds = [limit for name in names for limit in limits() if limit.id == name]
    if not bounds:
        return []
    rows = [
        f"| {bound.releases} | {', '.join(bound.dla)} | {bound.text} | {bound.confidence.value} | {bound.source} |"
        for bound in bounds
    ]
    head = [f"## {heading}", "", f"| releases | DLA | {about} | known as | source |", "|---|---|---|---|---|"]
    return [*head, *rows, ""]


def _newest(name: str) -> str:
    known = [limit for limit in limits() if limit.id == name]
    return max(known, key=_since).text if known else name


def _since(limit: Limit) -> tuple[int, ...]:
    return tuple(int(part) for part in (limit.since or "0").split("."))


def _example(example: Example) -> list[str]:
    tensors = [f"x: float[{example.x}]"]
    tensors += [f"{name}: {kind}" for name, kind in example.more_inputs]
    tensors += [f"{name}: constant float[{shape}]" for name, shape in example.weights]
    tensors += [f"{name}: constant {kind} {{{values}}}" for name, kind, values in example.constants]
    head = f"# {example.board}, TensorRT {example.tensorrt}, {example.precision}"
    return ["```", head, *(f"# {tensor}" for tensor in tensors), *example.nodes.splitlines(), "```"]
