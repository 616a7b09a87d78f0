"""`dlaflow parse`: any NVIDIA artefact → its kind and its records as JSON."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import msgspec

from dlaflow.api.claims import Written
from dlaflow.cli.terminal import Quiet
from dlaflow.errors import EXIT_DONE, InputError, UsageError
from dlaflow.files import record_json, write_atomic
from dlaflow.parse.detect import Kind
from dlaflow.parse.log import TrtexecLog
from dlaflow.parse.read import Artefact, read_artefact
from dlaflow.parse.text import text_of
from dlaflow.profile.capture import summarise_capture
from dlaflow.quantize.cache import hex_of, parse_cache

SCHEMA = "dlaflow.artefact/1"


def parse(*files: Path, json: Written | None = None, quiet: Quiet = False) -> int:
    """Tell what a file is and print what it holds as JSON.

    Knows trtexec logs and help, exported profiles, layer information, times and outputs, Nsight Systems SQLite,
    tegrastats, nvpmodel, jetson_clocks, nv_tegra_release, calibration caches and cuDLA statistics. `failure` holds the
    cause of a log that failed and what to do, null otherwise.

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
    text = record_json(SCHEMA, {"artefacts": artefacts})
    if json is not None:
        write_atomic(json, text)
    elif not quiet:
        sys.stdout.write(text.decode())
    return EXIT_DONE


def _out(path: Path, artefact: Artefact) -> dict[str, object]:
    record: object = artefact.record
    note = artefact.note
    if isinstance(record, frozenset):
        record = sorted(record)
    elif artefact.kind in {Kind.CALIBRATION_CACHE, Kind.ORT_CALIBRATION}:
        record, note = _cache(path)
    elif artefact.kind is Kind.NSYS_SQLITE:
        record = replace(summarise_capture(path), sample=())
    failure = record.outcome if isinstance(record, TrtexecLog) and record.outcome.state == "failed" else None
    found = {"path": str(path), "kind": artefact.kind.value, "record": msgspec.to_builtins(record)}
    found["failure"] = msgspec.to_builtins(failure)
    return {**found, "note": note} if note else found


def _cache(path: Path) -> tuple[dict[str, object] | None, str]:
    """A cache, scales as numbers and as the digits found (infinity is no JSON number), and what is wrong with it."""
    text = text_of(path).replace("\r\n", "\n")
    try:
        cache, note = parse_cache(text, str(path)), ""
    except InputError as error:
        whole, _, torn = text.rstrip("\n").rpartition("\n")
        try:
            cache, note = parse_cache(f"{whole}\n", str(path)), f"the last line is torn: {torn[:60]!r}"
        except InputError:
            return None, str(error)
    entries = [
        {"tensor": entry.name, "scale": entry.scale, "hex": hex_of(entry.scale)}
        for entry in cache.entries
        if entry.name
    ]
    return {"header": cache.header, "tensorrt": cache.tensorrt, "entries": entries}, note
