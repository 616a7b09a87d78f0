"""The command line: one file a command; each turns arguments into a call and prints the answer.

The table below is all that `dlaflow --help` needs, so the argument parser and the commands load only when one runs.
"""

from __future__ import annotations

import sys

from dlaflow.errors import EXIT_DONE
from dlaflow.version import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("dlaflow.cli.train:train", "Train a demo network (or your own) on CIFAR-10 or the built-in digits."),
    "export": ("dlaflow.cli.export:export", "Export trained weights to a checked, one-file ONNX model."),
    "check": ("dlaflow.cli.check:check", "Tell what of a model will run on the DLA, why not, and what to change."),
    "fix": ("dlaflow.cli.fix:fix", "Rewrite a model so that it stays on the DLA, and prove that it computes the same."),
    "score": ("dlaflow.cli.score:score", "Compare a prediction with the log of a real build of the model."),
    "explain": ("dlaflow.cli.explain:explain", "Print the page of a rule: what it asks, why, and what to use instead."),
    "boards": ("dlaflow.cli.boards:boards", "List the boards and releases, and which of them have a DLA."),
    "doctor": ("dlaflow.cli.doctor:doctor", "Tell what this machine is, what works here and how to get the rest."),
    "estimate": ("dlaflow.cli.estimate:estimate", "Estimate latency and energy before the board, with error bars."),
    "calibrate": ("dlaflow.cli.calibrate:calibrate", "Calibrate INT8: a TensorRT cache and a Q/DQ model."),
    "build": ("dlaflow.cli.build:build", "Build a TensorRT engine, or print the command that builds it on a board."),
    "profile": ("dlaflow.cli.profile:profile", "Tell where the time goes and what switches cost: logs, captures."),
    "parse": ("dlaflow.cli.parse:parse", "Turn any NVIDIA log, profile or capture into JSON."),
    "cache": ("dlaflow.cli.cache:cache", "Look into INT8 calibration caches, check and translate them."),
    "sensitivity": (
        "dlaflow.cli.sensitivity:sensitivity",
        "Find the layers that INT8 hurts, and which to keep in FP16.",
    ),
    "evaluate": ("dlaflow.cli.evaluate:evaluate", "Measure the accuracy of a model, with its interval."),
    "run": ("dlaflow.cli.run:run", "Run a recipe: train, export, check, calibrate, evaluate, report."),
    "sweep": ("dlaflow.cli.sweep:sweep", "Run many recipes on a Ray cluster: accuracy against estimated latency."),
    "remote": ("dlaflow.cli.remote:remote", "Do it on a board over SSH: build, profile, bench, evaluate, probe."),
    "compare": ("dlaflow.cli.compare:compare", "Compare runs in one report, and fail on regressions."),
    "completion": ("dlaflow.cli.completion:completion", "Print the script that completes commands in a shell."),
}
"""Name → (module:function, one line of help), in the order of the journey."""

_EPILOGUE = """Examples:
  dlaflow run examples/walkthrough.toml
  dlaflow check model.onnx --board agx-orin-64gb --jetpack 5.1.1 --precision int8
  dlaflow check model.onnx --board orin-nx-16gb --jetpack 6.2 --fail-on fallback --sarif findings.sarif

`dlaflow COMMAND --help` tells the options of a command. Each takes `--debug` too: the traceback of whatever ends it."""


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
    from dlaflow.cli.faults import end_with, flush, open_streams, take_debug

    open_streams()
    words, debug = take_debug(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(words)
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
