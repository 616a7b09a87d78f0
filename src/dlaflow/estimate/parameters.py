"""The shipped parameters and the user's own: one TOML file a set, each number with its prior, spread and reason.

Shipped files lie beside this module and are written by `scripts/fit_estimate`; what `dlaflow estimate --learn` finds
goes to the user's folder (`DLAFLOW_PARAMETERS`, else `~/.config/dlaflow/estimate`), one file a board and set, and
never replaces a shipped file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import msgspec

from dlaflow.errors import InputError
from dlaflow.estimate.dla import PARAMETER_NAMES, DlaEngine, DlaParameters
from dlaflow.estimate.gpu import GPU_PARAMETER_NAMES, GpuParameters
from dlaflow.files import write_atomic
from dlaflow.reading import TOML_BYTES, read_bytes

SCHEMA = "dlaflow.estimate-parameters/1"
DLA_SETS = ("v2-int8", "v2-fp16", "v1-int8", "v1-fp16")
GPU_SETS = ("ampere", "volta")


class Fitted(msgspec.Struct, frozen=True):
    """A fitted number: its median, the sd of its logarithm, what was believed before, and why."""

    median: float
    log_sd: float
    prior: float
    prior_log_sd: float
    why: str


class Spread(msgspec.Struct, frozen=True):
    """Half widths of the 80% interval on the logarithm: of whole networks, and of engines of a few layers."""

    network: float
    layer: float


class ParameterSet(msgspec.Struct, frozen=True):
    """One TOML file. `data` tells the points behind it, `subjects` their models and layer kinds, `kinds` the kinds of
    DLA steps that they tell of."""

    schema: str
    dlaflow: str
    key: str
    data: str
    points: int
    subjects: tuple[str, ...]
    spread: Spread
    parameters: dict[str, Fitted]
    macs_per_clock: float = 0.0
    bytes_per_element: int = 0
    kinds: tuple[str, ...] = ()

    @property
    def learned(self) -> bool:
        """True for a set that a user's measurements made."""
        return self.data.startswith("learned")


@dataclass(frozen=True, slots=True)
class DlaSet:
    """An engine with its interval and where both come from."""

    engine: DlaEngine
    source: ParameterSet


@dataclass(frozen=True, slots=True)
class GpuSet:
    """A GPU generation with its interval and where both come from."""

    parameters: GpuParameters
    source: ParameterSet


def dla_set(generation: str, precision: str, board: str | None = None) -> DlaSet:
    """The set of a DLA generation and precision; the user's own for `board` when there is one.

    Raises InputError when the user's file is damaged.
    """
    key = f"{generation}-{precision}"
    own = learned_path(board, key) if board else None
    if own is not None and own.exists():
        return as_dla_set(read_set(own))
    return as_dla_set(_shipped(key))


def as_dla_set(source: ParameterSet) -> DlaSet:
    """A set with its engine."""
    generation, precision = source.key.split("-")
    values = {name: source.parameters[name].median for name in PARAMETER_NAMES}
    engine = DlaEngine(generation, precision, source.macs_per_clock, source.bytes_per_element, DlaParameters(**values))
    return DlaSet(engine, source)


def gpu_set(generation: str) -> GpuSet:
    """The set of a GPU generation."""
    source = _shipped(generation)
    return GpuSet(GpuParameters(**{name: source.parameters[name].median for name in GPU_PARAMETER_NAMES}), source)


def learned_path(board: str, key: str) -> Path:
    """Where the user's own set of a board lies."""
    folder = os.environ.get("DLAFLOW_PARAMETERS")
    base = Path(folder) if folder else Path.home() / ".config" / "dlaflow" / "estimate"
    return base / f"{board}_{key}.toml"


def read_set(path: Path) -> ParameterSet:
    """Read a set.

    Raises InputError when it cannot be read or lacks a parameter.
    """
    try:
        found = msgspec.toml.decode(read_bytes(path, TOML_BYTES), type=ParameterSet)
    except (ValueError, RecursionError) as error:  # of msgspec, of UTF-8, of tomllib
        raise InputError(
            f"{path} is not a set of parameters", received=str(error), then="Remove it, then learn again."
        ) from None
    expected = set(GPU_PARAMETER_NAMES if found.key in GPU_SETS else PARAMETER_NAMES)
    if missing := expected - set(found.parameters):
        raise InputError(
            f"{path} lacks parameters", expected=", ".join(sorted(missing)), received="none", then="Learn again."
        )
    return found


def write_set(found: ParameterSet, path: Path) -> None:
    """Write a set as TOML, whole or not at all."""
    lines = [
        f"# Parameters of the estimate: {found.key}. Written by "
        + ("`dlaflow estimate --learn`." if found.learned else "scripts/fit_estimate; run it to fit again."),
        "# median: fitted; log_sd: sd of its logarithm; prior, prior_log_sd, why: what was believed before.",
        f"schema = {_text(found.schema)}",
        f"dlaflow = {_text(found.dlaflow)}",
        f"key = {_text(found.key)}",
        f"data = {_text(found.data)}",
        f"points = {found.points}",
        f"subjects = [{', '.join(map(_text, found.subjects))}]",
    ]
    if found.macs_per_clock:
        lines += [f"macs_per_clock = {found.macs_per_clock}", f"bytes_per_element = {found.bytes_per_element}"]
        lines += [f"kinds = [{', '.join(map(_text, found.kinds))}]"]
    lines += [
        "",
        "[spread]  # half widths of the 80% interval on the logarithm, from held-out points",
        f"network = {found.spread.network:.3f}",
        f"layer = {found.spread.layer:.3f}",
        "",
        "[parameters]",
    ]
    width = max(map(len, found.parameters))
    for name, number in found.parameters.items():
        lines.append(
            f"{name:<{width}} = {{ median = {_number(number.median)}, log_sd = {_number(number.log_sd)}, "
            f"prior = {_number(number.prior)}, prior_log_sd = {_number(number.prior_log_sd)}, "
            f"why = {_text(number.why)} }}"
        )
    write_atomic(path, "\n".join(lines) + "\n")


def shipped_folder() -> Path:
    """Where the shipped sets lie."""
    return Path(str(resources.files(__package__).joinpath("parameters")))


@cache
def _shipped(key: str) -> ParameterSet:
    return read_set(shipped_folder() / f"{key}.toml")


def _number(value: float) -> str:
    text = f"{value:.4g}"
    return text if any(mark in text for mark in ".e") else text + ".0"


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
