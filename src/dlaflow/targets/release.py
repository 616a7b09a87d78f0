"""The releases: JetPack and DRIVE OS, the TensorRT that each carries, and what ONNX that TensorRT reads."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from dlaflow.errors import UsageError, unknown_name
from dlaflow.targets.features import find_feature
from dlaflow.targets.version import Version

Usable = Literal["yes", "no", "uncertain"]


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


@cache
def releases() -> tuple[Release, ...]:
    """All releases, oldest first within a family."""
    text = resources.files(__package__).joinpath("releases.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, tuple[Release, ...]])["release"]


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
