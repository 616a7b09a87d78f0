"""What a job may run: trtexec (or this agent in its place) and nsys, with known options, on files of its own folder."""

from __future__ import annotations

import os
import re
import sys

from . import generated
from .folder import ID, NAME, SHA, Record, RefusedRequest, need, program

BINDINGS = "bindings"
"""The program that builds through TensorRT's Python API: this agent itself."""
LOADABLE = "loadable"
"""The program that runs a DLA loadable: this agent's module cudla."""
KINDS = ("build", "profile", "bench", "evaluate", "probe", "power", "loadable")

_ARGUMENT = re.compile(r"--([A-Za-z][A-Za-z0-9-]*)(?:=([^\x00-\x1f]*))?")
_TEXT = re.compile(r"[^\x00-\x1f]{0,200}")
_FILE = frozenset(generated.TAKES_FILE.split())
"""Options whose value is the name of one file in the job's folder."""
_FILES = frozenset(generated.TAKES_FILES.split())
_TENSORS = frozenset(generated.TAKES_TENSORS.split())
_TEXTS = frozenset(generated.TAKES_TEXT.split())
_NSYS = frozenset(["trace", "force-overwrite", "accelerator-trace"])


def check_job(job: Record) -> None:
    """Refuse a job that is not one of ours, before anything is written."""
    need(ID, job.get("id"), "a job")
    if job.get("kind") not in KINDS:
        raise RefusedRequest("refused", f"not a kind of job: {job.get('kind')!r}")
    for field in ("desk", "title"):
        need(_TEXT, job.get(field, ""), field)
    for name, sha in job["files"].items():
        need(NAME, name, "a file")
        need(SHA, sha, "a hash")
    for phase in job["phases"]:
        need(NAME, phase.get("name"), "a phase")
        for run in phase["runs"]:
            need(NAME, run.get("name"), "a run")
            if not isinstance(run.get("seconds"), (int, float)) or not 0 < run["seconds"] <= 7 * 86400:
                raise RefusedRequest("refused", f"not a time limit in seconds: {run.get('seconds')!r}")
            command_of(run, resolve=False)


def command_of(run: Record, resolve: bool = True) -> list[str]:
    """The argument list of a run; `resolve` looks the programs up."""
    name = run.get("program")
    find = program if resolve else str
    check = _checked_loadable if name == LOADABLE else _checked
    arguments = [check(argument) for argument in run["arguments"]]
    if name == "trtexec":
        return [find("trtexec"), *arguments]
    if name == LOADABLE:
        return [sys.executable, os.path.abspath(sys.argv[0]), LOADABLE, *arguments]
    if name == BINDINGS:
        return [sys.executable, os.path.abspath(sys.argv[0]), BINDINGS, *arguments]
    if name == "nsys-profile":
        flags = [_checked_nsys(flag) for flag in run["flags"]]
        out = f"--output={run['name']}"
        return [find("nsys"), "profile", "--force-overwrite=true", out, *flags, find("trtexec"), *arguments]
    if name == "nsys-export":
        report = need(NAME, run.get("report"), "a report")
        out = f"--output={report}.sqlite"
        return [find("nsys"), "export", "--type=sqlite", "--force-overwrite=true", out, f"{report}.nsys-rep"]
    raise RefusedRequest("refused", f"not a program of this agent: {name!r}")


def _checked(argument: object) -> str:
    match = _ARGUMENT.fullmatch(argument) if isinstance(argument, str) else None
    if match is None:
        raise RefusedRequest("refused", f"not an option: {argument!r}")
    name, value = match.group(1), match.group(2)
    if name in _FILE:
        need(NAME, value, f"a file for --{name}")
    elif name in _FILES:
        for one in (value or "").split(","):
            # As a path, so that the loader takes the job's own file and no library of that name.
            need(re.compile(rf"\./{NAME.pattern}"), one, f"a file for --{name}")
    elif name in _TENSORS:
        for one in (value or "").split(","):
            need(NAME, one.rpartition(":")[2], f"a file for --{name}")
    elif name not in _TEXTS:
        raise RefusedRequest("refused", f"not an option of this agent: --{name}")
    return match.group(0)


def _checked_loadable(argument: object) -> str:
    match = _ARGUMENT.fullmatch(argument) if isinstance(argument, str) else None
    name, value = (match.group(1), match.group(2) or "") if match else ("", "")
    if match and name in ("loadable", "inputs"):
        for one in value.split(","):
            need(NAME, one, f"a file for --{name}")
    elif name not in ("core", "runs", "warmUp", "megahertz") or not re.fullmatch("[0-9]{1,9}", value):
        raise RefusedRequest("refused", f"not an option of a loadable's run: {argument!r}")
    return str(argument)


def _checked_nsys(flag: object) -> str:
    match = _ARGUMENT.fullmatch(flag) if isinstance(flag, str) else None
    if match is None or match.group(1) not in _NSYS:
        raise RefusedRequest("refused", f"not an option of this agent: {flag!r}")
    return match.group(0)
