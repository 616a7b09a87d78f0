"""The releases: JetPack and DRIVE OS, the TensorRT that each carries, and what ONNX that TensorRT reads."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from dlaflow.errors import UsageError, unknown_name
from dlaflow.targets.features import find_feature
from dlaflow.targets.version import Version

Usable = Literal["yes", "no", "uncertain"]
_L4T = re.compile(r"\d{1,3}\.\d{1,3}(\.\d{1,3})?")
_FIRST_L4T = "20"
"""JetPack's own numbers lie below, those of L4T above."""


class Release(msgspec.Struct, frozen=True):
    """A software release of a board.

    `usable` tells whether its TensorRT can build for a DLA: yes, no, or uncertain where the documents contradict.
    `tensorrt_known` is sourced or inferred.
    """

    name: str
    family: str
    tensorrt: str
    usable: Usable
    boards: tuple[str, ...]
    l4t: str = ""
    tensorrt_known: str = "sourced"
    dla_sw: str = ""
    cuda: str = ""
    python: str = ""
    note: str = ""

    @property
    def version(self) -> Version:
        """TensorRT's version as a number."""
        return Version.parse(self.tensorrt)

    @property
    def max_opset(self) -> int:
        """The newest ONNX opset that this TensorRT's parser reads."""
        found = find_feature("opset", self.version)
        assert found is not None
        return msgspec.convert(found.value, int)


class _File(msgspec.Struct):
    release: tuple[Release, ...]
    tensorrt_series: tuple[str, ...]


@cache
def _file() -> _File:
    return msgspec.toml.decode(resources.files(__package__).joinpath("releases.toml").read_bytes(), type=_File)


def tensorrt_series() -> tuple[str, ...]:
    """The major and minor numbers of the TensorRTs that are known to have been published, oldest first."""
    return _file().tensorrt_series


def releases() -> tuple[Release, ...]:
    """All releases, oldest first within a family."""
    return _file().release


def find_release(name: str) -> Release:
    """The release of a JetPack number (`5.1.1`), DRIVE OS number (`drive-6.0.9.0`) or L4T (`r35.2.1`, `35.2.1`).

    Of several JetPacks with one L4T the newest. Raises UsageError that names the nearest release.
    """
    wanted = name.strip().lower().removeprefix("jetpack").strip(" -")
    for release in releases():
        if release.name == wanted:
            return release
    tag = wanted.removeprefix("l4t").strip(" -").removeprefix("r")
    if found := [release for release in releases() if _has_l4t(release.l4t, tag)]:
        return found[-1]
    if _L4T.fullmatch(tag) and Version.parse(tag).since(_FIRST_L4T):
        raise unknown_name("L4T release", name, {part for one in releases() for part in _parts(one.l4t)})
    raise unknown_name("JetPack or DRIVE OS release", name, [release.name for release in releases()])


def _parts(l4t: str) -> list[str]:
    return [part for part in re.split(r"[ /,]+", l4t) if part]


def _has_l4t(text: str, wanted: str) -> bool:
    """Whether a release's `l4t` takes in a number: `32.7.x` has 32.7.2, `35.4.1-35.6.4` all between."""
    if not _L4T.fullmatch(wanted):
        return False
    number = Version.parse(wanted)
    for part in _parts(text):
        first, _, last = part.partition("-")
        if part.endswith(".x"):
            if f"{wanted}.".startswith(part.removesuffix("x")):
                return True
        elif Version.parse(first) <= number <= Version.parse(last or first):
            return True
    return False


def refuse_unpublished(tensorrt: str) -> None:
    """Raise UsageError, with the nearest, for a major and minor number that no published TensorRT is known to have.

    TensorRT is installed apart from JetPack too, so a patch may be any, and the newest series may have gone on.
    """
    series, known = Version.parse(tensorrt).parts[:2], [Version.parse(text).parts for text in tensorrt_series()]
    newest = max(known)
    if series in known or (series > newest and series[0] == newest[0]):
        return
    major, minor = (*series, 0)[:2]
    near = min(known, key=lambda each: (abs(each[0] - major), abs(each[1] - minor)))
    own = [release.tensorrt for release in releases() if release.version.parts[:2] == near]
    raise UsageError(
        "no published TensorRT is known to have this number",
        expected=f"major and minor at least, such as {own[-1] if own else '.'.join(map(str, near))}",
        received=tensorrt,
        then="`dlaflow boards BOARD` tells what each release brings.",
    )


def release_of_tensorrt(version: str, board: str) -> Release:
    """The release that brings a TensorRT version to a board, or one made up for a version that no release names.

    A made-up release is named `TensorRT X.Y.Z`; whether it can build for a DLA stands in features.toml.
    """
    wanted = Version.parse(version)
    matching = [release for release in releases() if release.version == wanted]
    for release in matching:
        if board in release.boards:
            return release
    if wanted.before("5"):
        raise UsageError("TensorRT before 5.0 has no DLA on Jetson", expected="5.0 or later", received=version)
    found = find_feature("dla_on_jetson", wanted)
    assert found is not None
    return Release(
        name=f"TensorRT {version}",
        family="TensorRT",
        tensorrt=version,
        usable=msgspec.convert(found.value, Usable),
        boards=(board,),
        tensorrt_known="given",
    )
