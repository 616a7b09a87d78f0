"""`dlaflow config`: which settings hold here, and where each comes from."""

from __future__ import annotations

import os
from pathlib import Path

from dlaflow.api.claims import Written
from dlaflow.cli import terminal
from dlaflow.cli.settings import FILE, KEYS, effective, layers
from dlaflow.files import record_json, write_atomic


def config(*, json: Written | None = None, quiet: terminal.Quiet = False) -> None:
    """Tell the project's settings and where each comes from.

    The nearest dlaflow.toml upwards, or pyproject.toml with a table tool.dlaflow, holds board, jetpack, precision,
    batch and data. DLAFLOW_BOARD and DLAFLOW_JETPACK win over the file, options over both. Recipes take none of it.

    For example:

        dlaflow config

        dlaflow config --json settings.json

    Parameters
    ----------
    json
        Also write the settings to this file.
    """
    found = effective(layers(Path.cwd(), os.environ))
    if json is not None:
        rows = [{"name": each.name, "values": each.values, "source": each.source} for each in found.values()]
        write_atomic(json, record_json("dlaflow.settings/1", {"settings": rows}))
    lines = [
        f"{key:<10} {', '.join(found[key].values) if key in found else '-':<24} "
        f"{found[key].source if key in found else ''}".rstrip()
        for key in KEYS
    ]
    terminal.say(*lines, quiet=quiet)
    if not found:
        terminal.say(f'Nothing is set. For example, in {FILE}: board = "orin-nx-16gb"', quiet=quiet)
