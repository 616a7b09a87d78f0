"""What a machine is: answers to the questions of `dlaflow doctor`, from fixed lists."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress

from .folder import Record, RefusedRequest, answer, program, ran

_FILES = ("/proc/device-tree/compatible", "/proc/device-tree/model", "/etc/nv_tegra_release")
_COMMANDS = (
    ("dpkg-query", "--show", "libnvinfer*"),
    ("dpkg-query", "--show", "nvidia-l4t-core"),
    ("dpkg-query", "--show", "nvidia-jetpack"),
    ("nvpmodel", "-q"),
    ("jetson_clocks", "--show"),
    ("nvcc", "--version"),
    ("/usr/local/cuda/bin/nvcc", "--version"),
    ("nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"),
    ("nsys", "profile", "--help"),
)
_PROGRAMS = ("trtexec", "nsys", "tegrastats", "jetson_clocks", "nvpmodel", "sudo", "rsync")
_SECONDS = 20
_LONGEST = 200000
# Asked in another process, because a broken driver may crash it.
_TENSORRT = "import tensorrt as t;print(t.__version__,t.Builder(t.Logger(t.Logger.ERROR)).num_DLA_cores)"


def facts(request: Record) -> None:
    """Files, outputs of commands, places of programs, and which of the host's paths exist."""
    texts = {}
    for path in _FILES:
        with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            texts[path] = file.read(_LONGEST)
    outputs = []
    for command in _COMMANDS:
        text = output_of(*command)
        if text:
            outputs.append({"command": command, "text": text})
    places = {}
    for name in _PROGRAMS:
        with suppress(RefusedRequest):
            places[name] = program(name)
    paths = [path for path in request.get("paths", []) if isinstance(path, str) and os.path.exists(path)]
    answer(
        {
            "files": texts,
            "commands": outputs,
            "places": places,
            "paths": paths,
            "architecture": platform.machine(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "tensorrt": _tensorrt(),
        }
    )


def output_of(*command: str) -> str:
    """What a command prints; empty when it is not there or fails."""
    try:
        code, text = ran(*command, seconds=_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return ""
    return text[:_LONGEST] if code == 0 else ""


def _tensorrt() -> Record:
    printed = output_of(sys.executable, "-c", _TENSORRT).split()
    if len(printed) < 2 or not printed[-1].isdigit():
        return {"version": "", "dla_cores": None}
    return {"version": printed[-2], "dla_cores": int(printed[-1])}
