"""The releases: JetPack and DRIVE OS, the TensorRT that each carries, and what ONNX that TensorRT reads."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from dlaflow.errors import UsageError, unknown_name
from dlaflow.targets.version import Version


class Release(msgspec.Struct, frozen=True):
    """A software release of a board.

    `usable` tells whether its TensorRT can build for a DLA: yes, no, or uncertain where the documents contradict.
    `tensorrt_known` is sourced or inferred.
    """

    name: str
    family: str
    tensorrt: str
    usable: Literal["yes", "no", "uncertain"]
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
        return max_opset(self.version)


_OPSETS = (("8.0", 13), ("8.2", 13), ("8.4", 16), ("8.5", 17), ("8.6", 17), ("10.0", 20), ("10.8", 22), ("11.0", 24))
"""First release → newest opset. onnx-tensorrt's operators.md of each branch, as far as read: 8.5 reads 17 (facts)."""


def max_opset(version: Version) -> int:
    """The newest ONNX opset that a TensorRT release reads: 17 for 8.5; never above what is known to be read."""
    newest = 11
    for since, opset in _OPSETS:
        if version >= Version.parse(since):
            newest = opset
    return newest


class _File(msgspec.Struct):
    release: tuple[Release, ...]


@cache
def releases() -> tuple[Release, ...]:
    """All releases, oldest first within a family."""
    text = resources.files(__package__).joinpath("releases.toml").read_bytes()
    return msgspec.toml.decode(text, type=_File).release


def find_release(name: str) -> Release:
    """The release of a JetPack number (`5.1.1`) or DRIVE OS number (`drive-6.0.9.0`).

    Raises UsageError that names the nearest release.
    """
    wanted = name.strip().lower().removeprefix("jetpack").strip(" -")
    for release in releases():
        if release.name == wanted:
            return release
    raise unknown_name("JetPack or DRIVE OS release", name, [release.name for release in releases()])


def release_of_tensorrt(version: str, board: str) -> Release:
    """The release that brings a TensorRT version to a board, or one made up for a version that no release names.

    A made-up release is named `TensorRT X.Y.Z`; whether it can build for a DLA follows NVIDIA's own words: up to 10.7
    and from 11.4.1 yes, 10.8 to 10.16 uncertain, 11.0 to 11.4.0 no.
    """
    wanted = Version.parse(version)
    matching = [release for release in releases() if release.version == wanted]
    for release in matching:
        if board in release.boards:
            return release
    if wanted < Version.parse("5"):
        raise UsageError("TensorRT before 5.0 has no DLA on Jetson", expected="5.0 or later", received=version)
    usable: Literal["yes", "no", "uncertain"] = "yes"
    if Version.parse("10.8") <= wanted < Version.parse("11.0"):
        usable = "uncertain"
    elif Version.parse("11.0") <= wanted < Version.parse("11.4.1"):
        usable = "no"
    return Release(
        name=f"TensorRT {version}",
        family="TensorRT",
        tensorrt=version,
        usable=usable,
        boards=(board,),
        tensorrt_known="given",
    )
