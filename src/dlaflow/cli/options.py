"""Groups of options that several commands take; each narrows a record of the library to what a command line can say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter

from dlaflow.targets.options import TargetOptions

T = TypeVar("T")
Group = Annotated[T | None, Parameter(name="*")]
"""The fields of a record as options; their help stands behind each field. None: none of them was given."""

Out = Annotated[Path, Parameter(name=["--out", "-o"])]
Shape = Annotated[
    tuple[str, ...],
    Parameter(
        name="--shape",
        show_default=False,
        help="The size of an input that the model leaves open, batch included: NAME:1x3x640x640. Repeat it for further "
        "inputs; the name may be left out with one input.",
    ),
]
"""`--shape`, for every command that reads a model."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Target(TargetOptions):
    """What the model is for."""

    shape: Shape = ()
