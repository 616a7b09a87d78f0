"""Findings as SARIF 2.1.0, the format that code hosts show beside a change."""

from __future__ import annotations

import os

import msgspec

from dlaflow.files import json_bytes
from dlaflow.types import Finding, Placement, Verdict
from dlaflow.version import __version__

_LEVELS = {Verdict.FALLBACK: "warning", Verdict.UNKNOWN: "note", Verdict.CONDITIONAL: "warning", Verdict.NATIVE: "note"}
_PROPERTIES = ("verdict", "confidence", "expected", "received", "source", "fix", "remedy", "rewrites")
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif_json(placement: Placement) -> bytes:
    """The findings of a placement, one result each, located in the model file at the layer's name."""
    found = [*placement.findings, *(finding for layer in placement.layers for finding in layer.findings)]
    rules = list(dict.fromkeys(finding.rule for finding in found))
    run = {
        "tool": {
            "driver": {"name": "dlaflow", "version": __version__, "rules": [_rule(rule, found) for rule in rules]}
        },
        # Code hosts refuse two runs of one tool unless they are of different things: here, of different models.
        "automationDetails": {"id": f"dlaflow/{_uri(placement)}/"},
        "artifacts": [{"location": {"uri": _uri(placement)}, "hashes": {"sha-256": placement.model.sha256}}],
        "results": [_result(finding, rules.index(finding.rule), placement) for finding in found],
        "properties": {"target": msgspec.to_builtins(placement.target)},
    }
    body = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json_bytes(body)


def _rule(rule: str, found: list[Finding]) -> dict[str, object]:
    first = next(finding for finding in found if finding.rule == rule)
    description: dict[str, object] = {"id": rule, "shortDescription": {"text": f"allowed: {first.expected}"}}
    if first.fix:
        description["help"] = {"text": f"Use instead: {first.fix}"}
    return description


def _result(finding: Finding, index: int, placement: Placement) -> dict[str, object]:
    # An ONNX file has no lines, yet code hosts show nothing without one.
    physical = {"artifactLocation": {"uri": _uri(placement)}, "region": {"startLine": 1}}
    where: dict[str, object] = {"physicalLocation": physical}
    if finding.layer:
        where["logicalLocations"] = [{"fullyQualifiedName": finding.layer, "kind": "element"}]
    text = f"{finding.layer}: {finding.message}" if finding.layer else finding.message
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS[finding.verdict],
        "message": {"text": text},
        "locations": [where],
        "properties": {name: getattr(finding, name) for name in _PROPERTIES},
    }


def _uri(placement: Placement) -> str:
    """The model's path as a relative or file URI reference: percent-encoded, with forward slashes."""
    from urllib.parse import quote

    path = placement.model.path.replace("\\", "/")
    return ("file://" if path.startswith("/") else "") + quote(os.fsencode(path))
