"""What holds for a whole project: dlaflow.toml, [tool.dlaflow] in pyproject.toml, and two variables.

The nearest file upwards counts, as ruff does it; the command line wins over the environment, that over the file. A
recipe reads none of it: it says itself what it is for, so that it gives the same everywhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec

from dlaflow.cli.commands import TAKES
from dlaflow.cli.streams import fit
from dlaflow.cli.terminal import columns
from dlaflow.errors import DlaflowError, InputError
from dlaflow.fixed_shape import refuse_batch
from dlaflow.recipe.toml import check_keys, read_toml, struct_of
from dlaflow.targets.board import find_board
from dlaflow.targets.options import TargetOptions
from dlaflow.targets.release import find_release
from dlaflow.targets.target import LATEST, left_out

FILE = "dlaflow.toml"
_VARIABLES = {"board": "DLAFLOW_BOARD", "jetpack": "DLAFLOW_JETPACK"}


class _Project(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of the file."""

    board: str | None = None
    jetpack: str | None = None
    precision: Literal["fp16", "int8"] | None = None
    batch: int | None = None
    data: str | tuple[str, ...] | None = None


KEYS = tuple(field.name for field in msgspec.structs.fields(_Project))


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting with where it comes from: a file, or a variable."""

    name: str
    values: tuple[str, ...]
    source: str


def layers(folder: Path, environment: Mapping[str, str]) -> list[dict[str, Setting]]:
    """The settings of the environment, then those of the nearest file.

    Raises InputError for a file that cannot be used.
    """
    names = {key: environment.get(variable, "").strip() for key, variable in _VARIABLES.items()}
    found = [{key: Setting(key, (value,), f"${_VARIABLES[key]}") for key, value in names.items() if value}]
    found.append(_from_file(folder))
    return found


def effective(found: Sequence[Mapping[str, Setting]], given: Mapping[str, str] = {}) -> dict[str, Setting]:
    """What holds beside the options that are `given`. A release is that of its board: another board drops it.

    Raises InputError for a name that no board or release has; what an option stands for is not looked at.
    """
    chosen: dict[str, Setting] = {}
    board = given.get("board")
    for layer in found:
        own = layer["board"].values[0] if "board" in layer else None
        for name, setting in layer.items():
            other = name == "jetpack" and board is not None and own is not None and board != own
            if name not in given and not other and not (name == "jetpack" and "tensorrt" in given):
                chosen.setdefault(name, setting)
        board = board or own
    for setting in chosen.values():
        _check(setting)
    return chosen


def with_settings(argv: list[str]) -> list[str]:
    """The words of a command with the settings that it takes, where its own options do not say."""
    name, words = argv[0], argv[1 : argv.index("--") if "--" in argv else None]
    if {"-h", "--help"} & {*words}:
        return argv
    if name == "run" and any(word.lower().endswith(".toml") for before, word in pairwise(argv) if before != "--on"):
        return argv
    given = {}
    for before, after in pairwise([*words, ""]):
        option, equals, value = before.partition("=")
        if option.startswith("--"):
            given[option[2:]] = value if equals else after
    found = effective(layers(Path.cwd(), os.environ), given)
    if "jetpack" in TAKES[name] and not {"-q", "--quiet"} & {*words}:
        _tell_default(given, found)
    taken = [f"--{one}={value}" for one in TAKES[name] if one in found for value in found[one].values]
    return [name, *taken, *argv[1:]]


def _tell_default(given: Mapping[str, str], found: Mapping[str, Setting]) -> None:
    """On a terminal: that a newer release with a DLA was left out, because nobody named one."""
    named = given.get("jetpack") or ("jetpack" in found and found["jetpack"].values[0]) or ""
    if "tensorrt" in given or named not in ("", LATEST) or not sys.stderr.isatty():
        return
    try:
        board = given.get("board") or (found["board"].values[0] if "board" in found else TargetOptions.board)
        target = TargetOptions(board=board).target()
    except DlaflowError:
        return  # the command says it
    newer = [release.name for release in left_out(target.board, target.release) if release.usable == "yes"]
    if newer:
        note = (
            f"For JetPack {target.release.name}; {', '.join(newer)} takes typed models alone: name it with --jetpack."
        )
        sys.stderr.write(fit(note, columns()) + "\n")


def _from_file(folder: Path) -> dict[str, Setting]:
    for place in (folder, *folder.parents):
        for path, table in ((place / FILE, ()), (place / "pyproject.toml", ("tool", "dlaflow"))):
            if not path.exists():
                continue
            body: object = read_toml(path, "file of settings")
            for key in table:
                body = body.get(key) if isinstance(body, dict) else None
            if body is not None:
                return _read(body, path)
    return {}


def _read(body: object, path: Path) -> dict[str, Setting]:
    check_keys(body, _Project, "", f"file {path}")
    project = struct_of(body, _Project, f"file {path}")
    found = {}
    for key in KEYS:
        value = getattr(project, key)
        if value is not None:
            values = tuple(map(str, value)) if isinstance(value, tuple) else (str(value),)
            if key == "data":  # a path counts from the file
                values = tuple(str(path.parent / each) if (path.parent / each).exists() else each for each in values)
            found[key] = Setting(key, values, str(path))
    return found


def _check(setting: Setting) -> None:
    value = setting.values[0] if setting.values else ""
    try:
        if setting.name == "board":
            find_board(value)
        elif setting.name == "jetpack" and value.lower() != LATEST:
            find_release(value)
        elif setting.name == "batch":
            refuse_batch(int(value))
    except DlaflowError as error:
        raise InputError(f"{setting.source}: {error}") from None
