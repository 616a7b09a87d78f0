"""Reading a node's attributes with their defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


class NodeAttributes:
    """The attributes of one node; a missing one gives the default."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self._all = {attribute.name: attribute for attribute in node.attribute}

    def __contains__(self, name: str) -> bool:
        return name in self._all

    def integer(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        return int(self._all[name].i) if name in self._all else default

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        return float(self._all[name].f) if name in self._all else default

    def text(self, name: str, default: str = "") -> str:
        """A string attribute."""
        return self._all[name].s.decode("utf-8", "replace") if name in self._all else default

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings, empty when it is absent."""
        if name not in self._all:
            return ()
        return tuple(value.decode("utf-8", "replace") for value in self._all[name].strings)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers, None when it is absent."""
        return tuple(int(value) for value in self._all[name].ints) if name in self._all else None

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """A list of floats, None when it is absent."""
        return tuple(float(value) for value in self._all[name].floats) if name in self._all else None

    def graph(self, name: str) -> onnx.GraphProto | None:
        """A subgraph, None when it is absent."""
        return self._all[name].g if name in self._all else None
