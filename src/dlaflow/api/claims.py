"""Which arguments name files, and what for: an output never goes over an input or over another output.

An argument says so in its type: `OutFile` is written, `KeptFile` is read and written again, `OutFolder` is a folder
that is written into, and every other path is read. The same marks serve commands and functions.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, TypeAlias

from dlaflow.errors import UsageError
from dlaflow.files import check_output, same_file


class Use(Enum):
    """What a file is for."""

    READ = "read"
    WRITTEN = "written"
    KEPT = "read and written"
    FOLDER = "a folder that is written into"


OutFile: TypeAlias = Annotated[str | os.PathLike[str], Use.WRITTEN]
"""The path of a file to write."""
Written: TypeAlias = Annotated[Path, Use.WRITTEN]
"""The same as a command takes it; `-` is stdout."""
KeptFile: TypeAlias = Annotated[str | os.PathLike[str], Use.KEPT]
"""The path of a file that is read where it exists, and written."""

_DATA = frozenset({".bin", ".gz", ".npy", ".npz", ".tar"})
"""What is read out of a folder besides images."""
_RUN = "run.json"


@dataclass(frozen=True, slots=True)
class Claim:
    """A path that an argument names."""

    name: str
    path: Path
    use: Use

    @property
    def writes(self) -> bool:
        """Whether a file is written there."""
        return self.use in (Use.WRITTEN, Use.KEPT)


def claims_of(hints: Mapping[str, object], values: Mapping[str, object]) -> Iterator[Claim]:
    """The paths among values, by their types; records are looked through."""
    for name, value in values.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            yield from claims_of(hints_of(type(value)), own)
        else:
            for hint, path in _typed_parts(hints.get(name), value):
                if (use := use_of(hint)) and isinstance(path, str | os.PathLike):
                    yield Claim(name, path_in(path), use)


def _typed_parts(hint: object, value: object) -> Iterator[tuple[object, object]]:
    """A value with its type; several ones each with theirs, as a pair such as (name, file) has them."""
    if not isinstance(value, list | tuple):
        yield hint, value
        return
    kinds = (typing.get_args(each) for each in (hint, *typing.get_args(hint)) if typing.get_origin(each) is tuple)
    own = next((kind for kind in kinds if Ellipsis not in kind and len(kind) == len(value)), (hint,) * len(value))
    yield from zip(own, value, strict=True)


def refuse_overwriting(claims: Sequence[Claim]) -> None:
    """Raises UsageError for an output that is an input or another output, InputError where it cannot be written."""
    outputs = [claim for claim in claims if claim.writes]
    for index, output in enumerate(outputs):
        if output.use is Use.WRITTEN:
            check_output(output.path)
        for other in outputs[:index]:
            if same_file(output.path, other.path):
                raise UsageError(
                    f"{_option(other)} and {_option(output)} name the same file",
                    received=output.path,
                    then="Name another file for one of them.",
                )
        for source in claims:
            if not source.writes and source.use is Use.READ and _reads(source, output.path):
                raise UsageError(
                    f"{_option(output)} would overwrite what the command reads ({source.name} {source.path})",
                    received=output.path,
                    then="Name another file: an input is kept, so that the work can be done again.",
                )


@functools.lru_cache
def hints_of(owner: type | Callable[..., object]) -> dict[str, object]:
    """The types of a record's fields or of a function's parameters; those that only type checkers know are left out."""
    hints: dict[str, object] = {}
    for each in reversed(owner.__mro__) if isinstance(owner, type) else [owner]:
        scope = vars(sys.modules[each.__module__])
        for name, text in vars(each).get("__annotations__", getattr(each, "__annotations__", {})).items():
            with suppress(NameError):
                one = SimpleNamespace(__annotations__={name: text})
                hints |= typing.get_type_hints(one, scope, include_extras=True)
    return hints


def use_of(hint: object) -> Use | None:
    """What the paths of a type are for; None where it names none."""
    parts = [hint]
    for part in parts:
        if isinstance(part, Use):
            return part
        parts += [*typing.get_args(part), *getattr(part, "__metadata__", ())]
    return Use.READ if any(part is Path or typing.get_origin(part) is os.PathLike for part in parts) else None


def path_in(text: str | os.PathLike[str]) -> Path:
    """The path that an argument names, also behind the name of an input (`left=images/`), which may hold `=` itself."""
    whole, given = Path(text), os.fspath(text)
    behind = (Path(given[place + 1 :]) for place, letter in enumerate(given) if letter == "=")
    return whole if whole.exists() else next((path for path in behind if path.name and path.exists()), whole)


def _option(claim: Claim) -> str:
    return f"--{claim.name.replace('_', '-')}"


def _reads(source: Claim, output: Path) -> bool:
    """Whether an output that exists is a file that `source` names or leads to."""
    if same_file(source.path, output):
        return True
    if not output.is_file():
        return False
    if source.path.is_dir():
        from dlaflow.quantize.images import SUFFIXES

        read = (path for path in source.path.rglob("*") if path.suffix.lower() in SUFFIXES | _DATA)
        return any(same_file(path, output) for path in (source.path / _RUN, *read))
    if source.path.suffix == ".onnx" and source.path.is_file():
        from dlaflow.graph.load import external_files

        return any(same_file(path, output) for path in external_files(source.path))
    return False
