"""`dlaflow boards`: which boards and releases there are, and which of them have a DLA."""

from __future__ import annotations

import sys

from dlaflow.api.claims import Written
from dlaflow.cli.terminal import Quiet
from dlaflow.errors import EXIT_DONE
from dlaflow.files import record_json, together, write_atomic
from dlaflow.targets.board import boards as all_boards
from dlaflow.targets.page import boards_page, boards_text
from dlaflow.targets.release import releases


def boards(*, json: Written | None = None, markdown: Written | None = None, quiet: Quiet = False) -> int:
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
    with together():
        if json:
            write_atomic(json, record_json("dlaflow.boards/1", {"boards": all_boards(), "releases": releases()}))
        if markdown:
            write_atomic(markdown, boards_page())
    if not quiet:
        sys.stdout.write(boards_text() + "\n")
    return EXIT_DONE
