"""From devices to loadables: which DLA nodes TensorRT compiles as one ForeignNode.

Up to TensorRT 8, nodes are grouped by how many changes of device still lie between them and the network's end; nodes
of the same count on the DLA share a loadable, connected or not. That reproduces the real builds: in YOLO11n under 8.5.2
the slice of the values travels with the transpose after the SoftMax, not with the slices of queries and keys.
TensorRT 7 counted from the start (YOLOv4 under 7.1.3). Another effective batch counts as a change too.

From TensorRT 10 on, nodes are first taken in network order and join the loadable before them unless they need a result
that left it; a change of the effective batch cuts ("Segmenting subgraph due to mismatched batch size"). Then each node
moves to the last loadable of its batch that its readers allow. Both halves are needed: in DETR under 10.3 the product
of the values stays with queries and keys, the only loadable of its batch, and the class head joins the last product of
the boxes; in YOLO26n the slice of the values has nothing against the SoftMax, and all heads end in the last loadable.

Afterwards a second pass validates whole candidates and cuts them where a layer fails, and the limit of loadables a core
drops the smallest.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby

from dlaflow.placement.lifting import adds_bias
from dlaflow.placement.nodes import Node, Wiring
from dlaflow.targets.version import Version
from dlaflow.types import Device

_COUNTS_FROM_END_SINCE = Version.parse("8.0")
_RUNS_SINCE = Version.parse("10.0")
_Side = tuple[Device, int | None]


def group(nodes: list[Node], version: Version, refused_later: set[str]) -> list[list[Node]]:
    """The candidates for loadables, each in network order, in the order of their first layers.

    `refused_later` names nodes that pass on their own and fail when the whole candidate is validated: they leave for
    the GPU and cut their candidate in two. Nodes are changed in place.
    """
    wiring = Wiring.of(nodes)
    if version >= _RUNS_SINCE:
        groups = _as_late_as_possible([part for run in _runs(nodes, wiring) for part in _by_batch(run)], nodes, wiring)
    else:
        groups = _of_one_level(nodes, _levels(nodes, wiring, from_end=version >= _COUNTS_FROM_END_SINCE))
    candidates = [part for members in groups for part in _cut(members, refused_later)]
    return sorted(candidates, key=lambda members: members[0].order)


def keep_largest(
    candidates: list[list[Node]], nodes: list[Node], limit: int
) -> tuple[list[list[Node]], list[list[Node]]]:
    """Split the candidates into those that stay and those beyond the limit: the ones with most layers stay.

    YOLOv4 under TensorRT 7.1.3 shows that the larger ones survive; among equals the earlier ones do (YOLOv4-tiny, where
    a Concat that only joins tensors of the GPU does not count, and DETR, where a product and its bias count as one).
    """
    if len(candidates) <= limit:
        return candidates, []
    wiring = Wiring.of(nodes)
    sizes = [sum(_counts(node, wiring) for node in members) for members in candidates]
    ranked = sorted(range(len(candidates)), key=lambda index: (-sizes[index], index))
    staying = set(ranked[:limit])
    kept = [members for index, members in enumerate(candidates) if index in staying]
    dropped = [members for index, members in enumerate(candidates) if index not in staying]
    return kept, dropped


def _counts(node: Node, wiring: Wiring) -> bool:
    makers = wiring.before(node)
    if node.kind == "CONCATENATION":
        return not makers or any(maker.device is not Device.GPU for maker in makers)
    return not adds_bias(node, wiring)


def _runs(nodes: list[Node], wiring: Wiring) -> list[list[Node]]:
    """DLA nodes in network order, each in the run before it unless a result that left the run comes back to it."""
    runs: list[list[Node]] = []
    inside: set[int] = set()
    behind: set[int] = set()
    for node in (each for each in nodes if each.runs):
        makers = {id(maker) for maker in wiring.before(node)}
        if node.device is not Device.DLA:
            if makers & (inside | behind):
                behind.add(id(node))
            continue
        if not runs or makers & behind:
            runs.append([])
            inside, behind = set(), set()
        runs[-1].append(node)
        inside.add(id(node))
    return runs


def _by_batch(run: list[Node]) -> list[list[Node]]:
    """A run falls apart where the effective batch changes ("Segmenting subgraph due to mismatched batch size")."""
    return [list(part) for _, part in groupby(run, key=lambda node: node.batch)]


def _as_late_as_possible(groups: list[list[Node]], nodes: list[Node], wiring: Wiring) -> list[list[Node]]:
    """Each node in the last group of its batch that comes before everything which reads its results elsewhere."""
    place = {id(node): index for index, members in enumerate(groups) for node in members}
    batches = [members[0].batch for members in groups]
    latest: dict[int, int] = {}
    for node in (each for each in reversed(nodes) if each.runs):
        on_dla = node.device is Device.DLA
        bound = len(groups) - 1
        for reader in wiring.after(node):
            enters = not on_dla and reader.device is Device.DLA
            bound = min(bound, latest.get(id(reader), bound) - enters)
        if on_dla:
            here = place[id(node)]  # where a reader is listed before it, as in no network of a parser, it stays there
            bound = next((at for at in range(bound, here, -1) if batches[at] == node.batch), here)
            place[id(node)] = bound
        latest[id(node)] = bound
    moved: list[list[Node]] = [[] for _ in groups]
    for node in nodes:
        if id(node) in place:
            moved[place[id(node)]].append(node)
    return [members for members in moved if members]


def _of_one_level(nodes: list[Node], levels: dict[int, int]) -> list[list[Node]]:
    groups: dict[tuple[int, _Side], list[Node]] = defaultdict(list)
    for node in nodes:
        if node.device is Device.DLA:
            groups[levels[id(node)], _side(node)].append(node)
    return list(groups.values())


def _side(node: Node) -> _Side:
    return (node.device, node.batch if node.device is Device.DLA else None)


def _levels(nodes: list[Node], wiring: Wiring, *, from_end: bool) -> dict[int, int]:
    """How many changes of side lie between each node and the end (or the start) of the network, at most."""
    levels: dict[int, int] = {}
    for node in reversed(nodes) if from_end else nodes:
        if not node.runs:
            continue
        near = wiring.after(node) if from_end else wiring.before(node)
        steps = (levels.get(id(other), 0) + (_side(other) != _side(node)) for other in near)
        levels[id(node)] = max(steps, default=0)
    return levels


def _cut(members: list[Node], refused_later: set[str]) -> list[list[Node]]:
    """Cut a candidate where a node fails its validation: what comes before it in the order, and what comes after."""
    parts: list[list[Node]] = [[]]
    for node in members:
        if node.name in refused_later:
            node.device = Device.GPU
            parts.append([])
        else:
            parts[-1].append(node)
    return [part for part in parts if part]
