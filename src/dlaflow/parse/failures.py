"""Why a build, a load or a run fails: the table failures.toml, and the heads that TensorRT gives its errors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from dlaflow.parse.messages import PLACEMENT_RULES, Effect, placement_message

Blame = Literal["environment", "model", "usage", "none"]


class Failure(msgspec.Struct, frozen=True):
    """One known cause; see failures.toml for the fields. `what` reads inside a sentence, `then` is a sentence.

    `outlived` is what to say of it in a run that did not fail.
    """

    id: str
    patterns: tuple[tuple[str, ...], ...]
    blame: Blame
    what: str
    source: str
    then: str = ""
    aliases: tuple[str, ...] = ()
    option: str = ""
    rules: tuple[str, ...] = ()
    general: bool = False
    outlived: str = ""

    @property
    def page(self) -> str:
        """What `dlaflow explain` prints, as Markdown."""
        blame = {
            "environment": "the machine that builds or runs",
            "model": "the model or a file made from it",
            "usage": "the command line",
            "none": "nobody: worth knowing, not the cause of a failure",
        }[self.blame]
        facts = {
            "Whose part": blame,
            "What to do": self.then,
            "In a run that passed": self.outlived,
            "Option of `dlaflow build`": f"`{self.option}`" if self.option else "",
            "Foreseen by": _listed(self.rules),
            "Also called": ", ".join(f"`{name}`" for name in self.aliases),
            "Known by": "; ".join(" … ".join(f"`{part}`" for part in pattern) for pattern in self.patterns),
            "Source": self.source,
        }
        what = self.what if self.what.startswith("cuDLA") else f"{self.what[0].upper()}{self.what[1:]}"
        return _page(self.id, f"{what}.", facts)

    def shows_in(self, text: str) -> bool:
        """Whether one of the patterns occurs in a message."""
        return any(all(fragment in text for fragment in pattern) for pattern in self.patterns)


class OutcomeLines(msgspec.Struct, frozen=True):
    """What the tools print of how they ended, as parts of lines."""

    failed: tuple[str, ...]
    passed: tuple[str, ...]


class _File(msgspec.Struct):
    failure: tuple[Failure, ...]
    predicted_by: dict[str, tuple[str, ...]]
    outcome_lines: OutcomeLines


@cache
def _file() -> _File:
    return msgspec.toml.decode(resources.files(__package__).joinpath("failures.toml").read_bytes(), type=_File)


def failures() -> tuple[Failure, ...]:
    """Every known cause, the most telling first."""
    return _file().failure


def outcome_lines() -> OutcomeLines:
    """How the tools say that they ended well or not; trtexec's own line is read apart."""
    return _file().outcome_lines


class Reason(msgspec.Struct, frozen=True):
    """The code of what the DLA's validators may say of a layer, what it means, and the rules that predict it."""

    id: str
    meaning: str
    rules: tuple[str, ...]

    @property
    def page(self) -> str:
        """What `dlaflow explain` prints, as Markdown."""
        source = "messages of TensorRT's DLA validators in public build logs"
        return _page(self.id, self.meaning, {"Foreseen by": _listed(self.rules), "Source": source})


def _listed(rules: tuple[str, ...]) -> str:
    return ", ".join(f"{rule} (`dlaflow explain {rule}`)" for rule in rules)


def _page(id: str, text: str, facts: dict[str, str]) -> str:
    lines = [f"# {id}", "", text, ""]
    for heading, fact in facts.items():
        if fact:
            lines += [f"**{heading}:** {fact}", ""]
    return "\n".join(lines).rstrip()


@cache
def reasons() -> tuple[Reason, ...]:
    """The codes that messages of a log carry, and that measured findings have as their rule."""
    meanings: dict[str, dict[str, None]] = {
        "other_restriction": {"A refusal that no template knows, stated by the line before the layer's fallback.": None}
    }
    for template in PLACEMENT_RULES:
        meanings.setdefault(template.reason, {})[template.meaning] = None
    return tuple(Reason(id, " ".join(meanings[id]), rules) for id, rules in _file().predicted_by.items())


GENERIC_TAILS = (
    "Engine could not be created from network",
    "Engine set up failed",
    "Parsing model failed",
    "Failed to parse onnx file",
    "Failed to create engine from model",
    "Inference set up failed",
    "Building engine failed",
    "Network And Config setup failed",
    "Engine creation failed",
    "Engine deserialization failed",
    "Assertion engine != nullptr failed",
    "Assertion enginePtr != nullptr failed",
    "Got invalid engine!",
)
"""Errors that only say that something before them failed."""

_LOOKED_AT = 4000
"""So many characters of a message are searched: the expressions are quadratic, and hostile lines have millions."""
_HEAD = re.compile(r"(?:Error\[\d+\]: |\d+: )?\[([\w.]+)::([^\]]+?)::(\d+)\] Error Code (\d+): ")
_API_HEAD = re.compile(r"(?:Error\[\d+\]: )?(I\w+::\w+): Error Code (\d+): ")
_CODE = re.compile(r"Error\[(\d+)\]: ")
_OLD_HEAD = re.compile(r"(?:\.\./)?(?:[\w/]+/)?(\w+\.(?:cpp|h)) \((\d+)\) - (.+?) in (\S+): (-?\d+) ")
_IMPORT_NODE = re.compile(r'While parsing node number (\d+) \[(\w+)(?: -> "(.*?)")?')


@dataclass(frozen=True, slots=True)
class Head:
    """Where in the library an error was raised; 10.x names the call of the API and no file."""

    file: str
    function: str
    code: int


@dataclass(frozen=True, slots=True)
class ImportNode:
    """The node that the ONNX importer stopped at: its index, operator and first output."""

    index: int
    operator: str
    output: str


_DRIVER = re.compile(r"NVMEDIA_DLA|NVMAP_IOC|NvMapMem\w*:|nvdla\w*:|NVDLA\w*:")
_CRASH = re.compile(r"(?:\S+: line \d+: +\d+ )?(?:Segmentation fault|Aborted|Bus error|Illegal instruction|Killed)\b")


def driver_level(text: str) -> str:
    """The level of a line that the driver or the shell prints beside TensorRT's own, empty for any other."""
    return "E" if _DRIVER.match(text) else "F" if _CRASH.match(text) else ""


def failure_of(text: str) -> Failure | None:
    """The known cause that `text` shows, or None."""
    return next((failure for failure in failures() if failure.shows_in(text)), None)


def meaning_of(text: str) -> tuple[tuple[Failure, ...], tuple[Reason, ...]]:
    """The most telling cause that one message shows, and what it says of a layer; a layer's move fails nothing."""
    placed = placement_message(text)
    said = tuple(each for each in reasons() if placed is not None and each.id == placed[0].reason)
    if said and placed is not None and placed[0].effect is not Effect.FAILURE:
        return (), said
    causes = sorted(
        (each for each in failures() if each.shows_in(text)), key=lambda each: (each.blame == "none", each.general)
    )
    return tuple(causes[:1]), said


def head_of(text: str) -> Head | None:
    """The head of a library error (`[file::function::line] Error Code N`, or the form of 7.x), or None."""
    text = text[:_LOOKED_AT]
    if (match := _HEAD.search(text)) is not None:
        return Head(match.group(1), match.group(2), int(match.group(4)))
    if (match := _API_HEAD.match(text)) is not None:
        return Head("", match.group(1), int(match.group(2)))
    if (match := _OLD_HEAD.search(text)) is not None:
        return Head(match.group(1), match.group(4), int(match.group(5)))
    match = _CODE.match(text)
    return Head("", "", int(match.group(1))) if match else None


def import_node_of(text: str) -> ImportNode | None:
    """The ONNX node that an import error names, or None."""
    match = _IMPORT_NODE.search(text[:_LOOKED_AT])
    return ImportNode(int(match.group(1)), match.group(2), match.group(3) or "") if match else None


def is_generic_tail(text: str) -> bool:
    """Whether an error only repeats that something before it failed."""
    return text.startswith(GENERIC_TAILS) or any(tail in text[:240] for tail in GENERIC_TAILS)
