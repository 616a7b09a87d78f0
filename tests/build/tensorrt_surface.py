"""A strict module made from a dump of TensorRT's real bindings: what the binding lacks raises, here as there.

Unknown attributes and enum values, properties that cannot be set, wrong argument counts, keywords or types: each raises
AttributeError or TypeError. Behaviour is added by `tensorrt_machine.py`; a member without any raises
NotImplementedError, so that no test passes by accident.
"""

from __future__ import annotations

import enum
import json
import re
from pathlib import Path
from types import ModuleType

_SIGNATURE = re.compile(r"^\w+\((?P<parameters>.*)\) -> ")
_PARAMETER = re.compile(r"^(?P<name>\w+)(?:: (?P<type>.*?))?(?: = (?P<default>.*))?$")


class Surface:
    """The classes, enums and functions of one release."""

    def __init__(self, dump: Path) -> None:
        content = json.loads(dump.read_text(encoding="utf-8"))
        self.version = content["version"]
        self.classes = content["classes"]
        self.module = ModuleType("tensorrt")
        self.module.__version__ = self.version
        for name, values in content["enums"].items():
            setattr(self.module, name, make_enum(name, values))
        self.behaviour: dict[tuple[str, str], object] = {}
        for name in self.classes:
            self._make_class(name)
        for name, signatures in content["functions"].items():
            setattr(self.module, name, self._function(name, signatures))

    def member(self, owner: str, name: str) -> dict | None:
        """A member of a class or of its bases, as dumped; None when the real class has none."""
        entry = self.classes[owner]
        if name in entry["members"]:
            return entry["members"][name]
        return next(filter(None, (self.member(base, name) for base in entry["bases"] if base in self.classes)), None)

    def make(self, owner: str, **state: object) -> object:
        """An object of a class, as the library makes it; `state` holds the values of its properties."""
        cls = getattr(self.module, owner)
        made = object.__new__(cls)
        object.__setattr__(made, "_ready", True)
        object.__setattr__(made, "_state", dict(state))
        return made

    def _make_class(self, name: str) -> None:
        if hasattr(self.module, name):
            return
        bases = []
        for base in self.classes[name]["bases"]:
            if base in self.classes:
                self._make_class(base)
                bases.append(getattr(self.module, base))
        surface = self

        def getattribute(instance: object, attribute: str) -> object:
            return surface._get(name, instance, attribute)

        def set_attribute(instance: object, attribute: str, value: object) -> None:
            surface._set(name, instance, attribute, value)

        def initialise(instance: object, *arguments: object, **keywords: object) -> None:
            surface._initialise(name, instance, arguments, keywords)

        members = {
            "__init__": initialise,
            "__getattribute__": getattribute,
            "__setattr__": set_attribute,
            "_double": name,
            **{one: None for one in self.classes[name]["members"] if not one.startswith("__")},
        }
        cls = type(name, tuple(bases) or (object,), members)
        setattr(self.module, name, cls)
        if name == "ILogger":
            cls.Severity = make_enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])
            for level in cls.Severity:
                setattr(cls, level.name, level)

    def _initialise(self, owner: str, instance: object, arguments: tuple, keywords: dict) -> None:
        entry = self.member(owner, "__init__")
        if not entry or not entry["signatures"]:
            raise TypeError(f"{owner}: No constructor defined!")
        self.check(f"{owner}.__init__", entry["signatures"], (instance, *arguments), keywords)
        object.__setattr__(instance, "_ready", True)
        object.__setattr__(instance, "_state", {})
        start = self.behaviour.get((owner, "__init__"))
        if start:
            start(instance, *arguments)

    def _get(self, owner: str, instance: object, attribute: str) -> object:
        if attribute.startswith("_"):
            return object.__getattribute__(instance, attribute)
        if any(attribute in cls.__dict__ for cls in type(instance).__mro__ if "_double" not in cls.__dict__):
            return object.__getattribute__(instance, attribute)
        member = self.member(owner, attribute)
        if member is None:
            raise AttributeError(f"{owner} of TensorRT {self.version} has no {attribute!r}")
        if not getattr(instance, "_ready", False):
            raise TypeError(f"{owner}.__init__() must be called when overriding __init__")
        if attribute in type(instance).__dict__ and type(instance).__dict__[attribute] is not None:
            return object.__getattribute__(instance, attribute)
        if member["kind"] == "property":
            return self._value(owner, instance, attribute)
        return self._bound(owner, instance, attribute, member["signatures"])

    def _value(self, owner: str, instance: object, attribute: str) -> object:
        if attribute in instance._state:
            return instance._state[attribute]
        reader = self._behaviour(owner, attribute)
        return reader(instance)

    def _bound(self, owner: str, instance: object, attribute: str, signatures: list[str]) -> object:
        def call(*arguments: object, **keywords: object) -> object:
            ordered = self.check(f"{owner}.{attribute}", signatures, (instance, *arguments), keywords)
            return self._behaviour(owner, attribute)(*ordered)

        return call

    def _behaviour(self, owner: str, attribute: str) -> object:
        for name in (owner, *self.classes[owner]["bases"]):
            if (name, attribute) in self.behaviour:
                return self.behaviour[name, attribute]
        raise NotImplementedError(f"the double knows no behaviour for {owner}.{attribute}")

    def _set(self, owner: str, instance: object, attribute: str, value: object) -> None:
        if attribute.startswith("_"):
            object.__setattr__(instance, attribute, value)
            return
        member = self.member(owner, attribute)
        if member is None or member["kind"] != "property":
            raise AttributeError(f"{owner} of TensorRT {self.version} has no property {attribute!r}")
        if not member["settable"]:
            raise AttributeError(f"{owner}.{attribute} of TensorRT {self.version} cannot be set")
        instance._state[attribute] = value

    def _function(self, name: str, signatures: list[str]) -> object:
        def call(*arguments: object, **keywords: object) -> object:
            ordered = self.check(name, signatures, arguments, keywords) if signatures else arguments
            known = self.behaviour.get(("", name))
            if known is None:
                raise NotImplementedError(f"the double knows no behaviour for {name}")
            return known(*ordered)

        return call

    def check(self, what: str, signatures: list[str], arguments: tuple, keywords: dict) -> list[object]:
        """The arguments in order when one overload takes them; TypeError otherwise."""
        for text in signatures:
            if "*args" in text:
                continue
            ordered = self._match(text, arguments, keywords)
            if ordered is not None:
                return ordered
        received = [type(one).__name__ for one in arguments[1:]]
        raise TypeError(f"{what} of TensorRT {self.version}: no overload takes {received} {keywords}: {signatures}")

    def _match(self, text: str, arguments: tuple, keywords: dict) -> list[object] | None:
        parameters = [_PARAMETER.match(part) for part in _split(_SIGNATURE.match(text)["parameters"])]
        if len(arguments) > len(parameters):
            return None
        ordered = list(arguments)
        left = dict(keywords)
        for parameter in parameters[len(arguments) :]:
            if parameter["name"] in left:
                ordered.append(left.pop(parameter["name"]))
            elif parameter["default"] is None:
                return None
        if left:
            return None
        pairs = zip(parameters, ordered, strict=False)
        fits = (parameter["name"] == "self" or self._fits(parameter["type"] or "", one) for parameter, one in pairs)
        return ordered if all(fits) else None

    def _fits(self, spelled: str, value: object) -> bool:
        name = re.split(r"[.:]+", spelled.partition("[")[0])[-1]
        if name in ("List", "Sequence", "list"):
            return isinstance(value, (list, tuple))
        if name in ("int", "SupportsInt"):
            return isinstance(value, int)
        if name in ("str", "bool", "tuple", "list", "float"):
            return isinstance(value, {"str": str, "bool": bool, "tuple": tuple, "list": list, "float": float}[name])
        if name in ("buffer", "Buffer"):
            return isinstance(value, (bytes, bytearray, memoryview))
        if name == "Dims":
            return isinstance(value, (tuple, list)) and all(isinstance(size, int) for size in value)
        cls = getattr(self.module, name, None)
        if not isinstance(cls, type):
            return True
        return isinstance(value, cls) and (isinstance(value, enum.Enum) or getattr(value, "_ready", False))


def make_enum(name: str, values: list[str]) -> type[enum.Enum]:
    """An enum whose values convert to int, as pybind11's do."""
    made = enum.Enum(name, {value: index for index, value in enumerate(values)})
    made.__int__ = lambda self: self.value
    return made


def _split(parameters: str) -> list[str]:
    """Split at the commas outside brackets."""
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(parameters):
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and depth == 0:
            parts.append(parameters[start:index].strip())
            start = index + 1
    return [*parts, parameters[start:].strip()]
