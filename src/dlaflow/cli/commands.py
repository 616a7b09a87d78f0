"""The commands, without loading any of them."""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("dlaflow.cli.train:train", "Train a network on CIFAR-10 or the built-in digits."),
    "export": ("dlaflow.cli.export:export", "Export trained weights to a checked, one-file ONNX model."),
    "check": ("dlaflow.cli.check:check", "Tell what will run on the DLA, why not, and what to change."),
    "fix": ("dlaflow.cli.fix:fix", "Rewrite a model for the DLA, and prove that it is the same."),
    "score": ("dlaflow.cli.score:score", "Compare a prediction with the log of a real build of the model."),
    "explain": ("dlaflow.cli.explain:explain", "Print what a rule asks, why, and what to use instead."),
    "boards": ("dlaflow.cli.boards:boards", "List the boards, their releases, and which have a DLA."),
    "doctor": ("dlaflow.cli.doctor:doctor", "Tell what works on this machine, and how to get the rest."),
    "estimate": ("dlaflow.cli.estimate:estimate", "Estimate latency and energy before the board, with error bars."),
    "schedule": ("dlaflow.cli.schedule:schedule", "Tell which network to run on which core: GPU, DLA 0, DLA 1."),
    "calibrate": ("dlaflow.cli.calibrate:calibrate", "Calibrate INT8: a TensorRT cache and a Q/DQ model."),
    "qat": ("dlaflow.cli.qat:qat", "Fine-tune a network with the DLA's INT8 in it."),
    "build": ("dlaflow.cli.build:build", "Build an engine, or print the command for a board."),
    "deploy": ("dlaflow.cli.deploy:deploy", "Write what makes other systems use an engine on its core."),
    "profile": ("dlaflow.cli.profile:profile", "Tell where the time goes and what switches cost: logs, captures."),
    "parse": ("dlaflow.cli.parse:parse", "Turn any NVIDIA log, profile or capture into JSON."),
    "cache": ("dlaflow.cli.cache:cache", "Look into INT8 calibration caches, check and translate them."),
    "sensitivity": (
        "dlaflow.cli.sensitivity:sensitivity",
        "Find the layers that INT8 hurts, and which to keep in FP16.",
    ),
    "evaluate": ("dlaflow.cli.evaluate:evaluate", "Measure the accuracy of a model, with its interval."),
    "loadable": ("dlaflow.cli.loadable:loadable", "Look at, run, time and evaluate a DLA loadable through cuDLA."),
    "run": ("dlaflow.cli.run:run", "Do it all for one ONNX file, or run a recipe."),
    "sweep": ("dlaflow.cli.sweep:sweep", "Run many recipes on Ray: accuracy against latency."),
    "survey": ("dlaflow.cli.survey:survey", "Survey many models on many targets, before and after fix."),
    "remote": ("dlaflow.cli.remote:remote", "Build, profile, bench, evaluate, probe over SSH."),
    "compare": ("dlaflow.cli.compare:compare", "Compare runs of any kind, logs too, and fail on regressions."),
    "config": ("dlaflow.cli.config:config", "Tell the project's settings and where each comes from."),
    "completion": ("dlaflow.cli.completion:completion", "Print the script that completes commands in a shell."),
}
"""Name → (module:function, one line of help), in the order of the journey."""

GROUPS: dict[str, tuple[str, ...]] = {
    "Look": ("check", "estimate", "explain", "boards", "doctor", "config", "parse", "score", "compare", "completion"),
    "Change": ("fix", "train", "export"),
    "Quantise": ("calibrate", "qat", "cache", "sensitivity", "evaluate"),
    "Build and run": ("run", "build", "deploy", "loadable", "profile"),
    "On boards": ("remote",),
    "Many at once": ("schedule", "survey", "sweep"),
}
"""The commands as the help shows them: each stands in one group."""

_TARGET = ("board", "jetpack", "precision", "batch")
TAKES: dict[str, tuple[str, ...]] = {
    "check": _TARGET,
    "fix": _TARGET,
    "estimate": _TARGET,
    "schedule": ("board", "jetpack", "precision"),
    "survey": ("board", "jetpack", "precision"),
    "build": _TARGET,
    "run": (*_TARGET, "data"),
    "calibrate": ("board", "jetpack", "data"),
    "sensitivity": ("board", "jetpack", "data"),
    "evaluate": ("data",),
}
"""Command → the settings that it takes where its own options do not say. (--batch of the last three counts images.)"""

FIRST: dict[str, str] = {
    "check": "board jetpack precision batch shape html json fail-on against layers",
    "fix": "out board jetpack precision shape allow data samples dry-run cut",
    "calibrate": "data samples resize mean std cache qdq fp16 method shape",
    "build": "out board jetpack precision batch shape cache dla-core standalone print-command",
    "run": "board jetpack precision shape data mean std out resume on",
    "profile": "log layer-times nsys tegrastats model board jetpack html json print-command",
}
"""Command with many options → the ten that matter first, which its help shows in a panel of their own."""
