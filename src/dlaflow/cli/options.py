"""Groups of options that several commands take; each narrows a record of the library to what a command line can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar, get_type_hints

from cyclopts import Group, Parameter

from dlaflow.api.claims import KeptFile, OutFile, Use, Written
from dlaflow.api.images import ImageOptions
from dlaflow.api.keywords import File
from dlaflow.fixed_shape import ShapesGiven
from dlaflow.targets.options import TargetOptions

_Record = TypeVar("_Record")
Out = Annotated[Path, Use.WRITTEN, Parameter(name=["--out", "-o"])]
OutFolder = Annotated[Path, Use.FOLDER, Parameter(name=["--out", "-o"])]
InputText = Annotated[str, Use.READ]
"""A word that may be the path of an input."""
InputTexts = Annotated[tuple[str, ...], Use.READ]
"""Words that may be paths of inputs, also behind `NAME=`."""
Shape = Annotated[
    tuple[str, ...],
    Parameter(
        name="--shape",
        help="The size of an input that the model leaves open, batch included: NAME:1x3x640x640. Repeat it for further "
        "inputs; the name may be left out with one input.",
    ),
]
"""`--shape`, for every command that reads a model."""

_AS_TEXT: dict[object, object] = {
    OutFile: Written,
    OutFile | None: Written | None,
    KeptFile | None: Annotated[Path, Use.KEPT] | None,
    File: Path,
    File | None: Path | None,
    Sequence[File]: tuple[Path, ...],
    Sequence[str]: tuple[str, ...],
    Annotated[Sequence[str], Use.READ]: InputTexts,
    str | int | None: str | None,
    str | Sequence[str] | None: str | None,
    str | Sequence[int] | None: str | None,
    str | Sequence[float] | None: str | None,
    ShapesGiven: Shape,
}
"""The type of a field in the library → what the command line takes for it."""


_GROUPS = {
    "Target": "board jetpack tensorrt precision batch shape mode",
    "Images": "data data_dir samples resize mean std layout",
    "Engine in detail": "layer_device layer_precision obey input_format output_format workspace dla_sram "
    "dla_local_dram dla_global_dram timing_cache optimization_level sparsity detailed version_compatible plugin "
    "strongly_typed scales",
    "Way to build": "via gpu build_only trtexec timeout verbose",
}
"""Panels of the help, in their order after the options of the command itself → the options in them."""
_GROUP_OF = {
    name: Group(title, sort_key=number)
    for number, (title, names) in enumerate(_GROUPS.items(), start=1)
    for name in names.split()
}


def _shown(name: str, kind: object) -> object:
    """The type of an option with the panel that shows it."""
    return Annotated[kind, Parameter(group=_GROUP_OF[name])] if name in _GROUP_OF else kind


def group(record: type[_Record]) -> type[_Record]:
    """Make the fields of a dataclass options of a command; their help stands behind each field, inherited ones too.

    The parser looks up the types of a record in the module of the last subclass, where names of its bases are unknown.
    What a caller in Python may also give as a list or a number is text on a command line.
    """
    hints = get_type_hints(record, include_extras=True)
    types = {name: _shown(name, _AS_TEXT.get(hint, hint)) for name, hint in hints.items()}
    record.__annotations__ = record.__init__.__annotations__ = types
    marked: type[_Record] = Parameter(name="*")(record)
    return marked


@group
@dataclass(frozen=True, kw_only=True)
class Target(TargetOptions):
    """What the model is for."""


@dataclass(frozen=True, kw_only=True)
class _Data:
    """Where the images come from."""

    data: InputTexts
    """cifar10, digits, a folder of images (sub-folders are classes), a video, or a .npy/.npz file; for a model with
    several inputs a .npz with their names, or NAME=SOURCE for each."""


@group
@dataclass(frozen=True, kw_only=True)
class Source(ImageOptions, _Data):
    """Where the images come from, and how they are read."""


@dataclass(frozen=True, kw_only=True)
class _MaybeData(_Data):
    data: InputTexts = ()
    """cifar10, digits, a folder of images (sub-folders are classes), a video, or a .npy/.npz file; for a model with
    several inputs a .npz with their names, or NAME=SOURCE for each. FP16 alone needs none."""


@group
@dataclass(frozen=True, kw_only=True)
class MaybeSource(ImageOptions, _MaybeData):
    """Images for a command that can do without."""


@dataclass(frozen=True, kw_only=True)
class Reaching:
    """How to reach boards and how long to wait for them."""

    ssh_config: Path | None = None
    """A configuration for ssh in place of ~/.ssh/config."""
    wait: float = 0.0
    """Seconds to wait while another host uses the board."""
    reconnect: float = 180.0
    """Seconds that a board may be away in all, since its work last got on; its job goes on meanwhile."""
