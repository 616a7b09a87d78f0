"""From the names of a build log to the layers of a prediction: fused names, copies, and suffixes that drift.

The builder joins names when it fuses layers (`A + B`, `PWN(A, B)`, `A || B`) and decorates those it adds; its parser
makes taken names unique with a number (`Split_20`) that depends on everything imported before.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from dlaflow.types import PlacedLayer, Placement

_NOISE_KINDS = frozenset({"COPY", "REFORMAT", "NOOP", "NO_OP", "CAST_COPY"})
_NOISE = re.compile(
    r"^Reformatting CopyNode |^Reformat(?:ting)? | copy$| finish$|_copy_(?:in|out)put$|_copy$| (?:to|from) nvm$"
    r"|^\d+ copy$|^scale_(?:constant|operand|eltwise)_of_| (?:in|out)put reformatter \d+$|^__mye"
)
_SEPARATOR = re.compile(r" \+ | \|\| ")
_SUFFIX = re.compile(r"_(\d+)$")
_PREFIXES = ("copied_", "scale_eltwise_of_", "scale_operand_of_")


def is_noise(name: str, kind: str = "") -> bool:
    """Whether an entry is a copy, a reformat or a constant of the builder's own: no layer of the network."""
    return kind in _NOISE_KINDS or bool(_NOISE.search(name))


def leaves(name: str) -> list[str]:
    """The layers that a printed name joins: `PWN(A, PWN(B, C)) + D` holds A, B, C, D."""
    text = name.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    found: list[str] = []
    for part in _top_level(text, _SEPARATOR):
        if part.startswith("PWN(") and part.endswith(")"):
            for inner in _arguments(part[4:-1]):
                found += leaves(inner)
        else:
            found.append(part)
    return found


def _top_level(text: str, separator: re.Pattern[str]) -> list[str]:
    """Split at separators that stand outside `PWN(...)`; other brackets belong to names."""
    parts, start = [], 0
    for match in separator.finditer(text):
        before = text[start : match.start()]
        if before.count("PWN(") and before.count("(") > before.count(")"):
            continue
        parts.append(before.strip())
        start = match.end()
    return [part for part in (*parts, text[start:].strip()) if part]


def _arguments(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and text.startswith(", ", index):
            parts.append(text[start:index])
            start = index + 2
    return [*parts, text[start:]]


class Resolver:
    """Finds the predicted layers that a printed name means."""

    def __init__(self, placement: Placement) -> None:
        self._order = {layer.name: index for index, layer in enumerate(placement.layers)}
        self._layers = placement.layers
        self._bases: dict[str, list[PlacedLayer]] = defaultdict(list)
        for layer in placement.layers:
            self._bases[_SUFFIX.sub("", layer.name)].append(layer)

    def one(self, name: str, kind: str = "") -> PlacedLayer | None:
        """The layer of a single name, or None when the prediction has none like it."""
        for candidate in (name, *(name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix))):
            if candidate in self._order:
                return self._layers[self._order[candidate]]
        if _unnamed(name):
            return None
        if layer := self._helper(name):
            return layer
        return self._drifted(name, kind)

    def all(self, name: str, kind: str = "") -> tuple[list[PlacedLayer], list[str]]:
        """The layers of a printed name, and those of its parts that were not found.

        Numbers of unnamed layers drift with everything imported before: beside a named layer they count only when both
        come from one ONNX node.
        """
        found: dict[str, PlacedLayer] = {}
        missing: list[str] = []
        parts = [leaf for leaf in leaves(name) if not is_noise(leaf)]
        for leaf in sorted(parts, key=_unnamed):
            layer = self.one(leaf, kind)
            if layer is None:
                missing.append(leaf)
            elif not found or not _unnamed(leaf) or _shares_node(layer, found.values()):
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


def _unnamed(name: str) -> bool:
    return name.startswith("(Unnamed Layer*")


def _shares_node(layer: PlacedLayer, others: Iterable[PlacedLayer]) -> bool:
    return any(set(layer.onnx_nodes) & set(other.onnx_nodes) for other in others)


_AFTER = ("reshape_after_", "squeeze_after_", "copied_squeeze_after_")
