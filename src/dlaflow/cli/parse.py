"""`dlaflow parse`: any NVIDIA artefact → its kind and its records as JSON."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import msgspec

from dlaflow import __version__
from dlaflow.errors import EXIT_DONE, UsageError
from dlaflow.files import write_atomic
from dlaflow.measure.profile_capture import summarise_capture
from dlaflow.parse.detect import Kind
from dlaflow.parse.read import Artefact, read_artefact

SCHEMA = "dlaflow.artefact/1"


def parse(*files: Path, json: Path | None = None) -> int:
    """Tell what a file is and print what it holds as JSON.

    Knows trtexec logs and help, exported profiles, layer information, times and outputs, Nsight Systems SQLite,
    tegrastats, nvpmodel, jetson_clocks, nv_tegra_release and cuDLA statistics.

    Examples:

        dlaflow parse build.log | jq .artefacts[0].record.runs[0].performance

        dlaflow parse tegrastats.log --json power.json

    Parameters
    ----------
    files
        The files; what they are is told by their content.
    json
        Write to this file rather than to the terminal.
    """
    if not files:
        raise UsageError("nothing to parse", expected="at least one file", received="none")
    artefacts = [_out(path, read_artefact(path)) for path in files]
    body = msgspec.json.encode({"schema": SCHEMA, "dlaflow": __version__, "artefacts": artefacts})
    text = msgspec.json.format(body, indent=1) + b"\n"
    if json is not None:
        write_atomic(json, text)
    else:
        sys.stdout.write(text.decode())
    return EXIT_DONE


def _out(path: Path, artefact: Artefact) -> dict[str, object]:
    record: object = artefact.record
    if isinstance(record, frozenset):
        record = sorted(record)
    elif artefact.kind is Kind.NSYS_SQLITE:
        record = replace(summarise_capture(path), sample=())
    found = {"path": str(path), "kind": artefact.kind.value, "record": msgspec.to_builtins(record)}
    return {**found, "note": artefact.note} if artefact.note else found
