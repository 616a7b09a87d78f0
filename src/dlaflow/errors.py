"""The exceptions of dlaflow, and the exit code that each one ends the program with.

    DlaflowError                 any failure that dlaflow explains            exit 2
    ├── UsageError               wrong option, unknown board or name          exit 2
    ├── InputError               a file or value that cannot be used          exit 2
    └── EnvironmentLacksError    a program, package or device is missing      exit 3

Exit codes: 0 done; 1 findings (what `--fail-on` asked for); 2 wrong usage or input, or the machine refused (no memory,
a full disk); 3 the environment lacks something; 70 a fault of dlaflow; 130 interrupted.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from dlaflow.visible import visible

EXIT_DONE = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_FAULT = 70
"""Any exception that nobody foresaw: never 1, which a script reads as findings (70 is sysexits.h's EX_SOFTWARE)."""
EXIT_INTERRUPTED = 130

_SHOWN = 12
"""Known names that an error lists."""
_LONGEST = 2000
"""Characters of what an error quotes; lists of known names are the longest of ours."""


class DlaflowError(Exception):
    """A failure with one clear line: what happened, expected and received, what to do next."""

    exit_code = EXIT_USAGE

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        received: object = None,
        then: str | None = None,
    ) -> None:
        self.what = what
        self.expected = expected
        self.received = received
        self.then = then
        super().__init__(self._line())

    def _line(self) -> str:
        line = _cut(self.what)
        facts = [f"{name} {_cut(str(fact))}" for name, fact in self._facts() if fact is not None]
        line += f": {', '.join(facts)}" if facts else ""
        return visible(f"{line.removesuffix('.')}. {self.then}" if self.then else line)

    def _facts(self) -> tuple[tuple[str, object], tuple[str, object]]:
        return ("expected", self.expected), ("received", self.received)


def _cut(text: str) -> str:
    """A text that may quote a whole file, down to what a person reads: its start and its end."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


class UsageError(DlaflowError):
    """The command line or an option of the Python API is wrong."""


class InputError(DlaflowError):
    """A file or a value that was handed in cannot be used."""


class EnvironmentLacksError(DlaflowError):
    """A program, a Python package or a device that the step needs is not there."""

    exit_code = EXIT_ENVIRONMENT


def unknown_name(kind: str, received: str, known: Iterable[str], aliases: Iterable[str] = ()) -> UsageError:
    """The error for a name that no registry knows, with the nearest known one (or alias, which is accepted too)."""
    names = sorted(known)
    near = difflib.get_close_matches(received, [*names, *aliases], n=1, cutoff=0.4)
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    then = f"Did you mean {near[0]!r}? Known: {shown}" if near else f"Known: {shown}"
    return UsageError(f"unknown {kind} {received!r}", then=then)


def require(*packages: str, extra: str, what_for: str) -> None:
    """Import the packages, so that a module that needs them at its top can be imported after this call.

    Raises EnvironmentLacksError, naming the extra of dlaflow to install, when one is absent or broken.
    """
    from importlib import import_module
    from importlib.util import find_spec

    for package in packages:
        problem = "is not installed" if find_spec(package) is None else ""
        try:
            if not problem:
                import_module(package)
        except (ImportError, OSError) as error:
            problem = f"does not load ({' '.join(str(error).split())})"
        if problem:
            raise EnvironmentLacksError(
                f"{what_for} needs the Python package {package}, which {problem}",
                then=f"Install it with: pip install 'dlaflow[{extra}]'",
            )
