"""The line that stands before every number of a model that the target's parser does not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlaflow.cli import terminal

if TYPE_CHECKING:
    from dlaflow.types import Placement


def say_unread(placement: Placement, *, quiet: bool) -> None:
    """Tell on stderr that no engine comes out of the model as it is, or a wrong one."""
    from dlaflow.rules.reading import no_engine

    console = terminal.console(stderr=True, quiet=quiet)
    for finding in no_engine(placement.findings):
        console.print(f"caution: {finding.message}. {finding.fix}", markup=False)
