"""Releases and rules in words: a rule in one sentence, with the bounds that hold for a target put in."""

from __future__ import annotations

import re

from dlaflow.errors import UsageError
from dlaflow.rules.base import title
from dlaflow.rules.registry import find_rule
from dlaflow.targets.limits import find_limit
from dlaflow.targets.version import Version
from dlaflow.types import TargetInfo

_BOUND = re.compile(r"\{([a-z0-9_.]+)\}")


def release_title(target: TargetInfo) -> str:
    """The release as people say it: `JetPack 5.1.1`, `drive-6.0.9.0`, `TensorRT 8.5.2`."""
    if target.jetpack.startswith(("TensorRT", "drive")):
        return target.jetpack
    return f"JetPack {target.jetpack.removeprefix('jetpack-')}"


def rule_title(rule: str, target: TargetInfo) -> str:
    """The rule's condition as a sentence; empty for a rule that this dlaflow does not know (a file of another one)."""
    try:
        sentence = title(find_rule(rule))
        version = Version.parse(target.tensorrt)
    except (UsageError, ValueError):
        return ""

    def bound(match: re.Match[str]) -> str:
        limit = find_limit(match.group(1), version, target.dla)
        return limit.text if limit else "what the release allows"

    try:
        return _BOUND.sub(bound, sentence)
    except KeyError:
        return ""
