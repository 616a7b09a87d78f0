"""The command line: one file a command; each turns arguments into a call and prints the answer.

The table of commands is all that `dlaflow --help` needs: the parser of arguments and a command load when one runs.
"""

from __future__ import annotations

import sys

from dlaflow.cli.commands import COMMANDS
from dlaflow.errors import EXIT_DONE
from dlaflow.version import __version__

__all__ = ["COMMANDS", "help_text", "main"]

_EPILOGUE = """Examples:
  dlaflow run examples/walkthrough.toml
  dlaflow check model.onnx --board agx-orin-64gb --jetpack 5.1.1 --precision int8
  dlaflow check model.onnx --board orin-nx-16gb --jetpack 6.2 --fail-on fallback --sarif findings.sarif

`dlaflow COMMAND --help` tells the options of a command. Each takes `--debug` too: the traceback of whatever ends it.
Where a file is written, `-` is stdout; the report then goes to stderr (or nowhere with --quiet)."""


def help_text() -> str:
    """The page of `dlaflow --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            f"dlaflow {__version__}: take a vision model to NVIDIA's DLA and prove that it stays there.",
            "",
            "Usage: dlaflow COMMAND [OPTIONS]",
            "",
            "Commands:",
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
