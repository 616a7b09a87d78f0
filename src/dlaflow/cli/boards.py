"""`dlaflow boards`: which boards and releases there are, and which of them have a DLA."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from dlaflow.cli.terminal import Quiet
from dlaflow.errors import EXIT_DONE
from dlaflow.files import write_atomic
from dlaflow.targets.board import boards as all_boards
from dlaflow.targets.page import boards_page, boards_text
from dlaflow.targets.release import releases
from dlaflow.version import __version__


def boards(*, json: Path | None = None, markdown: Path | None = None, quiet: Quiet = False) -> int:
    """List the boards and releases, and which of them have a DLA.

    Examples:

        dlaflow boards

        dlaflow boards --json boards.json

    Parameters
    ----------
    json
        Also write all figures, with how each is known, to this file.
    markdown
        Also write the page docs/boards.md to this file.
    """
    if json:
        body = {
            "schema": "dlaflow.boards/1",
            "dlaflow": __version__,
            "boards": msgspec.to_builtins(all_boards()),
            "releases": msgspec.to_builtins(releases()),
        }
        write_atomic(json, msgspec.json.format(msgspec.json.encode(body), indent=1) + b"\n")
    if markdown:
        write_atomic(markdown, boards_page())
    if not quiet:
        sys.stdout.write(boards_text() + "\n")
    return EXIT_DONE
