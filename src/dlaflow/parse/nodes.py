"""Names of the placement lists: fused names, subgraphs, and lists separated by commas that names may hold as well."""

from __future__ import annotations

import re

from dlaflow.parse.log import DlaNode, GpuNode

_FOREIGN = re.compile(r"\{?ForeignNode\[(.*)\]\}?", re.DOTALL)
_ENTRY = re.compile(r"\[(Dla|Gpu)Layer\] (?:([A-Z][A-Z0-9_]+): )?(.*)", re.DOTALL)


def foreign_ends(name: str) -> tuple[str, str] | None:
    """The first and the last layer of `{ForeignNode[first...last]}` (twice the same for a single layer), or None.

    The form alone does not mean DLA: Myelin nodes on the GPU carry it too.
    """
    match = _FOREIGN.fullmatch(name.strip())
    if match is None:
        return None
    first, dots, last = match.group(1).partition("...")
    return (first, last) if dots else (first, first)


def dla_node(text: str) -> DlaNode:
    """One DLA entry of 8.x or later: a subgraph or a single layer."""
    raw = text.strip().rstrip(",")
    ends = foreign_ends(raw)
    if ends is None and raw.startswith("{") and raw.endswith("}") and (groups := brace_groups(raw)):
        return groups[0]
    if ends is None:
        return DlaNode(raw, raw, (raw,), raw)
    return DlaNode(ends[0], ends[1], (ends[0],) if "..." not in raw else None, raw)


def list_entry(text: str) -> DlaNode | GpuNode | None:
    """The node of a `[DlaLayer] ...` or `[GpuLayer] TYPE: ...` line, or None."""
    match = _ENTRY.match(text)
    if match is None:
        return None
    if match.group(1) == "Gpu":
        return GpuNode(match.group(2) or "", match.group(3).strip())
    return dla_node(match.group(3))


def split_names(text: str, separator: str = ", ") -> list[str]:
    """Split at `separator` where no round bracket is open (`PWN(a, b)` stays whole); unpaired brackets are text."""
    parts: list[str] = []
    depth = 0
    for piece in text.split(separator):
        if depth:
            parts[-1] += separator + piece
        else:
            parts.append(piece)
        depth = max(0, depth + piece.count("(") - piece.count(")"))
    if depth:
        parts = text.split(separator)
    return [part.strip() for part in parts if part.strip()]


def brace_groups(text: str) -> list[DlaNode]:
    """The subgraphs of `{a,b,c}, {d,e}, ` (5.x to 7.x): every group lists all its layers."""
    groups = []
    for chunk in text.strip().rstrip(",").split("}, "):
        body = chunk.strip().rstrip(",").strip()
        if not body:
            continue
        closed = body.endswith("}") and body.count("{") <= body.count("}")
        inside = body[:-1] if closed else body
        inside = inside.removeprefix("{")
        members = tuple(split_names(inside, ","))
        if members:
            groups.append(DlaNode(members[0], members[-1], members, "{" + inside + "}"))
    return groups


def gpu_names(text: str) -> list[GpuNode]:
    """The GPU layers of a comma-separated line (5.x to 7.x)."""
    return [GpuNode("", name) for name in split_names(text.rstrip(" ,"))]
