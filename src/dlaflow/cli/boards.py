"""`dlaflow boards`: which boards and releases there are, and which of them have a DLA."""

from __future__ import annotations

import sys

from dlaflow.api.claims import Written
from dlaflow.cli.terminal import Quiet
from dlaflow.errors import EXIT_DONE
from dlaflow.files import record_json, together, write_atomic
from dlaflow.targets.board import boards as all_boards
from dlaflow.targets.board import find_board
from dlaflow.targets.page import board_text, boards_page, boards_text
from dlaflow.targets.release import releases


def boards(
    board: str | None = None, /, *, json: Written | None = None, markdown: Written | None = None, quiet: Quiet = False
) -> int:
    """List the boards and releases, and which of them have a DLA.

    Examples:

        dlaflow boards

        dlaflow boards orin-nx-16gb

        dlaflow boards --json boards.json

    Parameters
    ----------
    board
        A board: its figures, and its releases with their L4T, TensorRT and whether the DLA can be used.
    json
        Also write all figures, with how each is known, to this file.
    markdown
        Also write the page docs/boards.md to this file.
    """
    one = find_board(board) if board is not None else None
    chosen = (one,) if one else all_boards()
    own = tuple(each for each in releases() if one is None or one.id in each.boards)
    with together():
        if json:
            write_atomic(json, record_json("dlaflow.boards/1", {"boards": chosen, "releases": own}))
        if markdown:
            write_atomic(markdown, boards_page())
    if not quiet:
        sys.stdout.write((board_text(one) if one else boards_text()) + "\n")
    return EXIT_DONE
