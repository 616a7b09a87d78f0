"""What a finding's remedy is in words: the call of `dlaflow fix` that answers it, or that it stays on the GPU."""

from __future__ import annotations

from collections.abc import Sequence

from dlaflow.types import Device, Finding, PlacedLayer, Remedy, Verdict

_OPTIONS = {
    Remedy.TOLERANCE: " --allow tolerance",
    Remedy.DATA: " --allow data --data IMAGES",
}
_ORDER = list(Remedy)


def fix_call(findings: Sequence[Finding]) -> str:
    """A sentence on what `dlaflow fix` has for findings of one rule; empty where no rewrite matches at any of them."""
    named = [finding for finding in findings if finding.rewrites]
    if not named:
        return ""
    safest = min((finding.remedy for finding in named), key=_ORDER.index)
    rewrites = ", ".join(dict.fromkeys(name for finding in named for name in finding.rewrites))
    where = f" at {len(named)} of {len(findings)}" if len(named) < len(findings) else ""
    does = "does it" if all(finding.verdict is Verdict.CONDITIONAL for finding in named) else "has a rewrite"
    return f"`dlaflow fix{_OPTIONS.get(safest, '')}` {does}{where}: {rewrites}."


def against(layer: PlacedLayer) -> list[Finding]:
    """The findings that speak against a layer on the DLA; none for a layer that leaves no work at run time."""
    if layer.device is Device.FOLDED:
        return []
    return [finding for finding in layer.findings if finding.verdict is not Verdict.NATIVE]


def has_remedy(finding: Finding) -> bool:
    """Whether something can be done about a finding that speaks against the DLA."""
    return finding.verdict is not Verdict.NATIVE and finding.remedy is not Remedy.NONE
