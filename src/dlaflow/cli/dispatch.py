"""Find the command, parse its options, run it; turn the parser's own errors into one line."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from cyclopts import App, ArgumentCollection, CycloptsError, Group, Parameter, UnusedCliTokensError

from dlaflow.api.claims import Use, claims_of, hints_of, refuse_overwriting
from dlaflow.cli.commands import COMMANDS, FIRST, TAKES
from dlaflow.cli.terminal import fitted_output
from dlaflow.errors import EXIT_DONE, UsageError, unknown_name
from dlaflow.files import is_stdout, protected, report_on_stderr
from dlaflow.version import __version__

_HINT = " Did you mean "
_WHOLE_LINES = {"build", "completion", "parse", "profile", "remote"}
"""Commands that print lines to be pasted or read by programs: breaking those would change them."""

_SHORT = {"boards", "check", "explain", "score"}
"""Commands that neither train nor compute with large matrices."""

NEGATIVES = Parameter(negative="")
"""No --no-X beside a switch, no --empty-X beside a list."""
_MOST_USED, _OPTIONS = Group("Most used", sort_key=-1), Group("Options", sort_key=0)
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_OBJECTS = 100_000
"""New objects between two searches for garbage. Loading the modules makes 80,000, most of which stay; with Python's own
number (700 to 2,000) they are looked through a hundred times."""


def dispatch(argv: list[str]) -> int:
    """Run `argv` (command first) and return its exit code.

    Raises UsageError for an unknown command or option, and whatever the command itself raises.
    """
    name = argv[0]
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    try:
        with ExitStack() as during:
            if name in _SHORT:
                during.enter_context(short_lived())
            if name in TAKES:  # the others start without reading what a project set
                from dlaflow.cli.settings import with_settings

                argv = with_settings(argv)
            outcome = perform(application(name), argv, fitted=name not in _WHOLE_LINES)
    except CycloptsError as error:
        raise _explained(error, name) from None
    return outcome if isinstance(outcome, int) else EXIT_DONE


def perform(app: App, argv: list[str], *, fitted: bool = False) -> object:
    """Parse, refuse outputs that would destroy something, and run; where one of them is stdout, the rest is stderr's.

    The parser takes a lone `-` for an option, `./-` for a path; both are the same to pathlib.
    """
    words = ["./-" if word == "-" else word for word in argv]
    command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    claims = list(claims_of(hints_of(command), bound.arguments))
    refuse_overwriting(claims)
    with ExitStack() as during:
        during.enter_context(protected(claim.path for claim in claims if claim.use is Use.READ))
        if any(claim.writes and is_stdout(claim.path) for claim in claims):
            during.enter_context(report_on_stderr())
        if fitted:
            during.enter_context(fitted_output())
        return command(*bound.args, **bound.kwargs)


class _Command(App):
    """One command. Its help shows the options that matter first in a panel of their own, and no default of nothing."""

    def assemble_argument_collection(
        self, *, default_parameter: Parameter | None = None, parse_docstring: bool = False
    ) -> ArgumentCollection:
        found = super().assemble_argument_collection(
            default_parameter=default_parameter, parse_docstring=parse_docstring
        )
        if not parse_docstring:  # that is what help asks for
            return found
        rank = {f"--{name}": place for place, name in enumerate(FIRST.get(self.name[0], "").split())}
        for argument in found:
            default = argument.field_info.default
            if default is False or default in (None, (), ""):
                argument.parameter = Parameter.combine(argument.parameter, Parameter(show_default=False))
            if argument.name in rank:
                argument.parameter = Parameter.combine(argument.parameter, Parameter(group=_MOST_USED))
        found.sort(key=lambda each: rank.get(each.name, len(rank)))
        return found


def application(*names: str) -> App:
    """The parser of these commands."""
    app = App(
        name="dlaflow",
        version=__version__,
        help_format="markdown",
        default_parameter=NEGATIVES,
        group_parameters=_OPTIONS,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for name in names:
        module, _, attribute = COMMANDS[name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, App):
            command, function = _Command(name=name), command
            command.default(function)
        app.command(command)
    return app


def _explained(error: CycloptsError, name: str) -> UsageError:
    """The parser's message as one line of ours, with its guess at what was meant last."""
    help_line = f"See `dlaflow {name} --help`."
    if isinstance(error, UnusedCliTokensError):
        extra = " ".join(error.unused_tokens or [])
        return UsageError(f"`dlaflow {name}` does not know what to do with: {extra}", then=help_line)
    line, _, guess = " ".join(str(error).split()).partition(_HINT)
    then = f"{_HINT.strip()} {guess.rstrip('?.')}? {help_line}" if guess else help_line
    return UsageError(line.rstrip("."), then=then)


@contextmanager
def short_lived() -> Iterator[None]:
    """While this is open, modules load without searches for garbage, and numpy without threads.

    numpy's BLAS starts a thread a core when it is imported, for products of large matrices: on two cores this takes as
    much processor time as the import itself. A number of threads that the user chose is kept. Nor is garbage looked
    for when the process ends and its memory goes back anyway.
    """
    atexit.register(gc.freeze)
    thresholds = gc.get_threshold()
    gc.set_threshold(_OBJECTS, *thresholds[1:])
    ours = _BLAS_THREADS not in os.environ
    os.environ.setdefault(_BLAS_THREADS, "1")
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if ours:
            del os.environ[_BLAS_THREADS]
