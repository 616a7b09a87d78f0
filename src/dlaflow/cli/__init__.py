"""The command line: one file a command; each turns arguments into a call and prints the answer.

The table of commands is all that `dlaflow --help` needs: the parser of arguments and a command load when one runs.
"""

from __future__ import annotations

import shutil
import sys
import textwrap

from dlaflow.cli.commands import COMMANDS, GROUPS
from dlaflow.errors import EXIT_DONE
from dlaflow.version import __version__

__all__ = ["COMMANDS", "help_text", "main"]

_NARROWEST = 40
_EPILOGUE = """Examples:
  dlaflow run model.onnx --board orin-nx-16gb
  dlaflow check model.onnx --jetpack 5.1.1 --fail-on fallback

`dlaflow COMMAND --help` tells its options; `--debug` shows the traceback of
whatever ends it. Where a file is written, `-` is stdout."""


def help_text() -> str:
    """The page of `dlaflow --help`."""
    columns = max(shutil.get_terminal_size().columns, _NARROWEST)
    name_width = max(map(len, COMMANDS)) + 2
    lines: list[str] = []
    for title, names in GROUPS.items():
        lines.append(f"{title}:")
        for name in names:
            lines += textwrap.wrap(
                COMMANDS[name][1],
                columns - 1,
                initial_indent=f"  {name:<{name_width}}",
                subsequent_indent=" " * (name_width + 2),
            )
    return "\n".join(
        [
            f"dlaflow {__version__}: take a vision model to NVIDIA's DLA and keep it there.",
            "",
            "Usage: dlaflow COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            _EPILOGUE,
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return the exit code; `dlaflow.errors` lists them. Whatever goes wrong is one line."""
    from dlaflow.cli.faults import end_with, heeding_signals, take_debug
    from dlaflow.cli.streams import flush, harmless_output

    whole_process = arguments is None
    arguments, debug = take_debug(sys.argv[1:] if arguments is None else arguments)
    with harmless_output(), heeding_signals(whole_process=whole_process):
        try:
            code = _run(arguments)
            flush()
        except (Exception, KeyboardInterrupt) as error:
            return end_with(error, debug=debug)
    return code


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in {"-h", "--help", "help"}:
        sys.stdout.write(help_text() + "\n")
        return EXIT_DONE
    if argv[0] in {"--version", "-V"}:
        sys.stdout.write(f"dlaflow {__version__}\n")
        return EXIT_DONE
    from dlaflow.cli.dispatch import dispatch

    return dispatch(argv)
