"""Find the command, parse its options, run it; turn the parser's own errors into one line."""

from __future__ import annotations

from cyclopts import App, CycloptsError

from dlaflow import __version__
from dlaflow.cli import COMMANDS
from dlaflow.errors import EXIT_DONE, UsageError, unknown_name


def dispatch(argv: list[str]) -> int:
    """Run `argv` (command first) and return its exit code.

    Raises UsageError for an unknown command or option, and whatever the command itself raises.
    """
    name = argv[0]
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    function, _ = COMMANDS[name]
    app = App(
        name="dlaflow",
        version=__version__,
        help_format="markdown",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    app.command(function, name=name)
    try:
        outcome = app(argv, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        line = " ".join(str(error).split())
        raise UsageError(line.rstrip("."), then=f"See `dlaflow {name} --help`.") from None
    return outcome if isinstance(outcome, int) else EXIT_DONE
