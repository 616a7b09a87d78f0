"""The commands, without loading any of them."""

from __future__ import annotations

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
    "loadable": ("dlaflow.cli.loadable:loadable", "Look at, run, time and evaluate a DLA loadable through cuDLA."),
    "run": ("dlaflow.cli.run:run", "Run a recipe: train, export, check, calibrate, evaluate, report."),
    "sweep": ("dlaflow.cli.sweep:sweep", "Run many recipes on a Ray cluster: accuracy against estimated latency."),
    "remote": ("dlaflow.cli.remote:remote", "Do it on a board over SSH: build, profile, bench, evaluate, probe."),
    "compare": ("dlaflow.cli.compare:compare", "Compare runs of any kind, logs too, and fail on regressions."),
    "completion": ("dlaflow.cli.completion:completion", "Print the script that completes commands in a shell."),
}
"""Name → (module:function, one line of help), in the order of the journey."""
