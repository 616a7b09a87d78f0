"""Clocks: changed only on request; put back by the worker, else by the guardian, else by the next call of an agent."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

from .folder import RefusedRequest, place, program, ran, read, text_of, write

_SECONDS = 60


def lock_clocks() -> None:
    """Store the clocks, then fix them at their highest. The marker comes first, so that nobody forgets them."""
    tool, saved = program("jetson_clocks"), place("clocks.saved")
    with suppress(FileNotFoundError):
        os.unlink(saved)
    _as_root(tool, "--store", saved)
    write(place("clocks.locked"), {"boot": _boot(), "saved": saved})
    _as_root(tool)


def restore_clocks() -> None:
    """Put the clocks back if they are changed; after a restart the board has its own again."""
    marker = place("clocks.locked")
    if not os.path.exists(marker):
        return
    found = read(marker)
    if found.get("boot") == _boot():
        try:
            _as_root(program("jetson_clocks"), "--restore", str(found["saved"]))
        except (RefusedRequest, OSError, KeyError, subprocess.SubprocessError):
            return
    with suppress(FileNotFoundError):
        os.unlink(marker)


def _as_root(*command: str) -> None:
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    code, printed = ran(*prefix, *command, seconds=_SECONDS)
    if code != 0:
        text = " ".join(printed.split())[:300]
        raise RefusedRequest("clocks", f"{os.path.basename(command[0])} ended with {code}: {text}")


def _boot() -> str:
    with suppress(OSError):
        return text_of("/proc/sys/kernel/random/boot_id")
    return ""
