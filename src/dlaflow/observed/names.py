"""From the names that a build prints to the layers of a placed graph: fused names, copies, and suffixes that drift.

The builder joins names when it fuses layers (`A + B`, `PWN(A, B)`, `A || B`) and decorates those it adds; its parser
makes taken names unique with a number (`Split_20`) that depends on everything imported before.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from dlaflow.parse.nodes import foreign_ends, split_names
from dlaflow.types import PlacedLayer, Placement

_NOISE_KINDS = frozenset({"COPY", "REFORMAT", "NOOP", "NO_OP", "CAST_COPY"})
_NOISE = re.compile(
    r"^Reformatting CopyNode |^Reformat(?:ting)? | copy$| finish$|_copy_(?:in|out)put$|_copy$| (?:to|from) nvm$"
    r"|^\d+ copy$|^scale_(?:constant|operand|eltwise)_of_| (?:in|out)put reformatter \d+$|^__mye"
)
_REFORMAT = re.compile(r"Reformatting CopyNode for (?:Input|Output) Tensor \d+ to (.*)")
_OLD_REFORMAT = re.compile(r"(.*?) (?:input|output) reformatter \d+$")
_COPY = re.compile(r"(?:_copy_output| copy)$")
_SUFFIX = re.compile(r"_(\d+)$")
_PREFIXES = ("copied_", "scale_eltwise_of_", "scale_operand_of_")
_AFTER = ("reshape_after_", "squeeze_after_", "copied_squeeze_after_")


def is_noise(name: str, kind: str = "") -> bool:
    """Whether an entry is a copy, a reformat or a constant of the builder's own: no layer of the network."""
    return kind.upper() in _NOISE_KINDS or bool(_NOISE.search(name))


def parts_of(name: str) -> tuple[str, ...]:
    """The layers that a printed name joins: `PWN(A, PWN(B, C)) + D` holds A, B, C, D; a reformat's are its target's.

    A `{ForeignNode[a...b]}` gives its two ends, since it does not list what lies between.
    """
    name = name.strip()
    if match := _REFORMAT.match(name) or _OLD_REFORMAT.match(name):
        return parts_of(match.group(1))
    if ends := foreign_ends(name):
        return tuple(dict.fromkeys(part for end in ends for part in parts_of(end)))
    if name.startswith("{") and name.endswith("}"):
        return tuple(split_names(name[1:-1], ","))
    found: list[str] = []
    for merged in split_names(_COPY.sub("", name), " || "):
        for part in split_names(merged, " + "):
            if part.startswith("PWN(") and part.endswith(")"):
                found += [inner for piece in split_names(part[4:-1]) for inner in parts_of(piece)]
            else:
                found.append(part)
    return tuple(dict.fromkeys(found))


class Resolver:
    """Finds the layers of a placed graph that a printed name means.

    `lenient` collects the names that were not found as they stand, with the layer that was taken for each.
    """

    def __init__(self, placement: Placement) -> None:
        self._by_name = {layer.name: layer for layer in placement.layers}
        self._layers = placement.layers
        self._bases: dict[str, list[PlacedLayer]] = defaultdict(list)
        self.lenient: dict[str, str] = {}
        for layer in placement.layers:
            self._bases[_SUFFIX.sub("", layer.name)].append(layer)

    def one(self, name: str, kind: str = "") -> PlacedLayer | None:
        """The layer of a single name, or None when the graph has none like it."""
        if name in self._by_name:
            return self._by_name[name]
        plain = next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), name)
        layer = self._by_name.get(plain)
        if layer is None and not is_unnamed(name):
            layer = self._helper(name) or self._drifted(name, kind)
        if layer is not None:
            self.lenient[name] = layer.name
        return layer

    def all(self, name: str, kind: str = "") -> tuple[list[PlacedLayer], list[str]]:
        """The layers of a printed name, and those of its parts that were not found.

        Numbers of unnamed layers drift with everything imported before: beside a named layer they count only when both
        come from one ONNX node.
        """
        found: dict[str, PlacedLayer] = {}
        missing: list[str] = []
        for part in sorted((part for part in parts_of(name) if not is_noise(part)), key=is_unnamed):
            layer = self.one(part, kind)
            if layer is None:
                missing.append(part)
            elif not found or not is_unnamed(part) or _shares_node(layer, found.values()):
                found[layer.name] = layer
        return list(found.values()), missing

    def _helper(self, name: str) -> PlacedLayer | None:
        """The builder's reshape after a product: 8.4 names it after the bias addition, later ones after the product."""
        if not re.match(r"(copied_)?(squeeze|reshape)_after_", name):
            return None
        helpers = [layer for layer in self._layers if not layer.onnx_nodes and layer.name.startswith(_AFTER)]
        return helpers[0] if len(helpers) == 1 else None

    def _drifted(self, name: str, kind: str) -> PlacedLayer | None:
        """`X_20` among our X, X_5 and X_6: the last, since the number only grows."""
        base = _SUFFIX.sub("", name)
        if base == name:
            return None
        layers = [layer for layer in self._bases.get(base, []) if not kind or layer.kind == kind]
        layers = [layer for layer in layers if layer.name != base and set(layer.onnx_nodes) == {base}]
        return layers[-1] if layers else None


def is_unnamed(name: str) -> bool:
    """Whether a layer has no name but the number that its place in the network gave it."""
    return name.startswith("(Unnamed Layer*")


def _shares_node(layer: PlacedLayer, others: Iterable[PlacedLayer]) -> bool:
    return any(set(layer.onnx_nodes) & set(other.onnx_nodes) for other in others)
