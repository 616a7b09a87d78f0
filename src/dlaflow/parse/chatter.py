"""Lines that a log holds and that tell nothing of placement or speed: known, so that the unknown ones stand out."""

from __future__ import annotations

import re

_COLLECTOR = re.compile(
    r"\s*(?:Collecting data\.\.\.|Generating '|Generated:|Processing events|Exporting |Importing |Saving |"
    r"\[\d+/\d+\] \[|Capture (?:start|stop)|\S+\.(?:nsys-rep|qdrep|qdstrm|sqlite)\s*$|WARNING: (?:CPU|The) )"
)
_KNOWN_STARTS = (
    "[MemUsage", "[BlockAssignment]", "[MS]", "Note: The application clock", "Loading standard plugins",
    "Start parsing", "Finish parsing", "Model version:", "Doc string:", "Domain:", "Total Host Persistent",
    "Total Device Persistent", "Total Scratch", "Max Scratch", "Total Activation", "Total Weights", "Detected ",
    "Local timing cache", "Engine generation completed", "Engine loaded in", "Using random values",
    "Using values loaded", "Setting persistentCacheLimit", "Starting inference", "Trace averages of",
    "Explanations of the performance", "... Omitting", "Set shape of input", "Compiler backend is used",
    "***************", "===============", "Tactic", "Fastest Tactic", ">>>>>>>>>>",
    "Successfully casted down", "No layer is running",
    "Some tactics do not have sufficient", "FP32 and INT8 precisions have been specified",
    "To show e2e network timing", "The e2e network timing is not reported", "Skipped inference phase",
    "Created engine", "TensorRT-managed", "The profiling verbosity was set", "Output(s)s format",
    "Capturing CUDA graph", "Successfully captured CUDA graph", "Graph optimization time", "Timing cache",
    "Global timing cache", "Loaded ", "Starting Calibration", "Calibrated batch", "Post Processing Calibration",
    "Calibration completed", "Reading Calibration Cache", "Generated calibration scales",
    "To regenerate calibration cache", "Registered plugin", "Enqueue", "Thread", "Deserializ", "Serializ",
    "Total per-runner", "Allocated ", "Plugin ", "Reused", "Mem", "TF32 is enabled", "$ ",
)  # fmt: skip


_OTHER_PROGRAM = re.compile(
    r"\[(?:DEBUG|INFO|WARN|WARNING|ERROR|FATAL)\]|\d+:\d\d:\d\d\.\d+ +\d+ +0x|\[[A-Z]:onnxruntime:"
    r"|\*\* (?:INFO|WARN|ERROR)|(?:DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL):[\w.]+:"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d|\[\d+\.\d+\]"
    r"|\S+@\S+:\S*[$#] |(?:real|user|sys)\t\d+m"
)


def is_of_another_program(text: str) -> bool:
    """Whether a line without TensorRT's prefix begins like a log line of its own: it continues nothing."""
    return _OTHER_PROGRAM.match(text) is not None


def is_collector_line(text: str) -> bool:
    """Whether Nsight Systems, around the run, printed this line."""
    return _COLLECTOR.match(text) is not None


def is_known_line(text: str) -> bool:
    """Whether an informational line is familiar though nothing is taken from it."""
    return text.startswith(_KNOWN_STARTS)
