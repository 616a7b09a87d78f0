"""The JSON that dlaflow writes and reads back: placements, measurements and whole runs.

Each file carries `schema` and `dlaflow` (the version). The records map one to one, but for a switch's `source`, which
is written as `from`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from dlaflow.errors import InputError
from dlaflow.files import record_json
from dlaflow.reading import read_bytes
from dlaflow.report.records import RunRecord
from dlaflow.types import Measurement, Placement

if TYPE_CHECKING:
    from dlaflow.profile.profile import Profiled

PLACEMENT_SCHEMA = "dlaflow.placement/1"
MEASUREMENTS_SCHEMA = "dlaflow.measurements/1"
RUN_SCHEMA = "dlaflow.run/1"
PROFILE_SCHEMA = "dlaflow.profile/1"

_Record = TypeVar("_Record")
_Json = dict[str, object]


def placement_json(placement: Placement) -> bytes:
    """The file of `dlaflow check --json`."""
    return record_json(PLACEMENT_SCHEMA, _renamed(msgspec.to_builtins(placement), "source", "from"))


def measurements_json(measurements: list[Measurement]) -> bytes:
    """A file of numbers, such as that of `dlaflow evaluate --json`."""
    return record_json(MEASUREMENTS_SCHEMA, {"measurements": msgspec.to_builtins(measurements)})


def run_json(run: RunRecord) -> bytes:
    """The file `run.json` in the folder of a run."""
    return record_json(RUN_SCHEMA, _renamed(msgspec.to_builtins(run), "source", "from"))


def read_placement(path: str | Path) -> Placement:
    """Read what `placement_json` wrote.

    Raises InputError when the file is not one.
    """
    return _convert(_renamed(_load(path, PLACEMENT_SCHEMA), "from", "source"), Placement, path)


def read_measurements(path: str | Path) -> list[Measurement]:
    """Read what `measurements_json` wrote.

    Raises InputError when the file is not one.
    """
    return _convert(_load(path, MEASUREMENTS_SCHEMA).get("measurements"), list[Measurement], path)


def read_run(path: str | Path) -> RunRecord:
    """Read what `run_json` wrote.

    Raises InputError when the file is not one.
    """
    return _convert(_renamed(_load(path, RUN_SCHEMA), "from", "source"), RunRecord, path)


def read_profiles(path: str | Path) -> list[Profiled]:
    """Read the file of `dlaflow profile --json`.

    Raises InputError when the file is not one.
    """
    from dlaflow.profile.profile import Profiled

    return _convert(_load(path, PROFILE_SCHEMA).get("profiles"), list[Profiled], path)


def schema_of(path: str | Path) -> str:
    """The `schema` of a JSON file that dlaflow wrote.

    Raises InputError when it is not JSON or names none.
    """
    schema = _object(path).get("schema")
    if not isinstance(schema, str):
        raise InputError(f"{path} does not say what it is", expected='a "schema" key', received="none")
    return schema


def _renamed(body: _Json, old: str, new: str) -> _Json:
    """The body with one key of each switch named anew: of a placement, or of those in the variants of a run."""
    if isinstance(switches := body.get("switches"), list):
        body["switches"] = [
            {(new if key == old else key): value for key, value in switch.items()}
            for switch in switches
            if isinstance(switch, dict)
        ]
    variants = body.get("variants")
    for variant in variants if isinstance(variants, list) else ():
        for name in ("placement", "measured"):
            if isinstance(variant, dict) and isinstance(variant.get(name), dict):
                _renamed(variant[name], old, new)
    return body


def _object(path: str | Path) -> _Json:
    try:
        body = msgspec.json.decode(read_bytes(path))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not JSON", received=str(error)) from None
    if not isinstance(body, dict):
        raise InputError(
            f"{path} is not one of dlaflow's files", expected="a JSON object", received=type(body).__name__
        )
    return body


def _load(path: str | Path, schema: str) -> _Json:
    body = _object(path)
    if body.get("schema") != schema:
        raise InputError(f"{path} is another kind of file", expected=schema, received=str(body.get("schema")))
    return body


def _convert(body: object, kind: type[_Record], path: str | Path) -> _Record:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{path} does not have the expected contents", received=str(error)) from None
