"""Why a build or a load failed, in plain words, with the next step.

`explain` reads the messages of trtexec or of the library's logger (they are the same sentences). The first cause in the
order of the table wins: what a message says of the environment comes before what it says of the model, and the generic
last lines ("Engine set up failed") are never a cause.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dlaflow.errors import DlaflowError, EnvironmentLacksError, InputError, UsageError
from dlaflow.parse.failures import import_node_of, is_generic_tail
from dlaflow.parse.line import split_line

Blame = Literal["environment", "model", "usage"]

_KEPT = 400
_ERRORS: dict[Blame, type[DlaflowError]] = {
    "environment": EnvironmentLacksError,
    "model": InputError,
    "usage": UsageError,
}


@dataclass(frozen=True, slots=True)
class Cause:
    """One known cause: any of `words` marks it (each a set of fragments that must all occur in one message)."""

    id: str
    words: tuple[tuple[str, ...], ...]
    blame: Blame
    what: str
    then: str


CAUSES: tuple[Cause, ...] = (
    Cause(
        "disk_full",
        (("No space left on device",), ("Disk quota exceeded",)),
        "environment",
        "the disk is full",
        "Free some space or save the engine elsewhere; nothing half-written is kept.",
    ),
    Cause(
        "no_driver",
        (("CUDA driver version is insufficient",), ("no CUDA-capable device",), ("CUDA initialization failure",)),
        "environment",
        "TensorRT finds no working CUDA driver or GPU here",
        "Run it on the board. In a container start with `--runtime nvidia`; `dlaflow doctor` tells what is missing.",
    ),
    Cause(
        "dla_compiler_missing",
        (("libnvdla_compiler",),),
        "environment",
        "the DLA compiler library is missing (often in containers)",
        "Install it: apt-get install nvidia-l4t-dla-compiler.",
    ),
    Cause(
        "library_missing",
        (("error while loading shared libraries",), ("cannot open shared object file",)),
        "environment",
        "a shared library that TensorRT needs is missing",
        "Install the whole of it: apt-get install tensorrt, then `dlaflow doctor`.",
    ),
    Cause(
        "no_dla_core",
        (
            ("Cannot create DLA engine",),
            ("dlaEngineCount > 0",),
            ("getDLACore() < mCore.numEngines",),
            ("dlaCore", "numEngines()"),
            ("No DLA core available",),
            ("dlaContext != nullptr",),
        ),
        "environment",
        "there is no such DLA core here",
        "Orin Nano, Thor and desktop GPUs have none; Xavier and Orin have cores 0 and 1. In a container map the device "
        "nodes (`--runtime nvidia`). `dlaflow doctor` counts the cores; --gpu-only builds without the DLA.",
    ),
    Cause(
        "out_of_memory",
        (
            ("out of memory",),
            ("OutOfMemory",),
            ("std::bad_alloc",),
            ("Cuda failure: 2",),
            ("Requested amount of GPU memory",),
        ),
        "environment",
        "the memory did not suffice",
        "Close what else uses the GPU, lower the batch, or limit the workspace (--workspace MiB).",
    ),
    Cause(
        "version_mismatch",
        (
            ("Current Version", "Serialized Engine Version"),
            ("version tag does not match",),
            ("Version tag does not match",),
            ("Serialization assertion", "magicTag"),
            ("compiled for an incompatible",),
            ("engine plan file is not compatible",),
            ("different models of devices",),
        ),
        "model",
        "the engine was built by another TensorRT or for another device",
        "An engine serves only the release and the chip that built it: build it again here.",
    ),
    Cause(
        "standalone_loadable",
        (("use cuDLA APIs instead",),),
        "usage",
        "this file is a standalone DLA loadable; TensorRT's runtime cannot load it",
        "Run it with cuDLA, or build a hybrid engine (without --standalone).",
    ),
    Cause(
        "plugin_missing",
        (
            ("getPluginCreator could not find plugin",),
            ("Plugin not found",),
            ("No importer registered for op",),
            ("Cannot deserialize plugin",),
            ("Unable to load library", "plugin"),
            ("Could not load plugin library",),
        ),
        "model",
        "the model uses an operator for which TensorRT has no layer and no plugin was loaded",
        "Give the plugin's library with --plugin FILE.so, or export the model without that operator.",
    ),
    Cause(
        "wrong_io_format",
        (("kDIRECT_IO specified but no conformant",), ("reformatting nodes are needed",), ("forceToUseNvmIO",)),
        "usage",
        "without GPU fallback the inputs and outputs must already be in a DLA format, and these are not",
        "Give --input-format int8:dla_hwc4 --output-format int8:chw32 (fp16: chw16), or allow GPU fallback.",
    ),
    Cause(
        "format_not_supported",
        (("The input format", "not supported"), ("IO format", "not supported"), ("Invalid", "IOFormat")),
        "usage",
        "an input or output has a format that its layer does not take",
        "DLA inputs: dla_linear, dla_hwc4, chw16 (fp16) or chw32 (int8); outputs: dla_linear, chw16, chw32.",
    ),
    Cause(
        "dla_validation_failed",
        (
            ("Safety certified DLA should only have one graph",),
            ("Safe DLA is enabled but not all layers",),
            ("DLA validation failed",),
            ("Validation failed for DLA layer",),
            ("is not supported on DLA", "fallback is not enabled"),
            ("not running on DLA", "GPU fallback"),
            ("Try making fallback to GPU",),
        ),
        "model",
        "the DLA refused part of the model and falling back to the GPU is not allowed",
        "`dlaflow check` names the layers and `dlaflow fix` rewrites what it can; otherwise allow GPU fallback.",
    ),
    Cause(
        "calibration_cache",
        (
            ("Calibration table does not match",),
            ("impossible to read tensor scales",),
            ("Calibration failure",),
            ("missing scale",),
        ),
        "model",
        "the calibration cache does not fit this release or this model",
        "Make it again with `dlaflow calibrate MODEL --cache FILE --tensorrt VERSION`.",
    ),
    Cause(
        "dla_submit_failed",
        (("submit program to DLA engine",), ("DLA Error in submit",), ("NVMEDIA_DLA :", "ERROR")),
        "environment",
        "the DLA driver refused the task",
        "Often too little memory or too many loadables on one core: stop other DLA programs, or use the other core.",
    ),
    Cause(
        "unknown_option",
        (("Unknown option:",),),
        "usage",
        "this trtexec does not know an option",
        "Name its release with --tensorrt VERSION, or give the right --jetpack.",
    ),
    Cause(
        "shapes",
        (
            ("Static model does not take explicit shapes",),
            ("dynamic or shape inputs", "optimization profile"),
            ("Required optimization profile is invalid",),
        ),
        "usage",
        "the shapes given do not fit the model's inputs",
        "A model with a fixed batch takes no --batch; one with an open batch needs it.",
    ),
    Cause(
        "onnx_import",
        (("While parsing node number",), ("MODEL_DESERIALIZE_FAILED",), ("Failed to parse the ONNX model",)),
        "model",
        "TensorRT cannot read the ONNX model",
        "`dlaflow check` tells which operator is unknown to this release; an older opset may help.",
    ),
    Cause(
        "no_implementation",
        (("Could not find any implementation for node",),),
        "model",
        "TensorRT found no implementation for a node",
        "Allow another precision (--fp16-too) or more workspace; otherwise it is the release: try a newer one.",
    ),
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What went wrong: the known cause (`unknown` when none matched), the message that shows it and the next step."""

    id: str
    what: str
    evidence: str
    then: str
    blame: Blame

    def error(self) -> DlaflowError:
        """The exception that the command line prints."""
        said = f"{self.what} (TensorRT says: {self.evidence})" if self.evidence else self.what
        return _ERRORS[self.blame](said, then=self.then)


def explain(lines: Iterable[str]) -> Explanation:
    """The cause of a failed build or load, from the lines of its log."""
    # The log is read once and only lines that show a cause are kept, so that a huge one costs no memory.
    errors: dict[str, str] = {}
    warnings: dict[str, str] = {}
    first_error = ""
    tail = ""
    for raw in lines:
        level, _, text = split_line(raw.rstrip("\n"))
        if level in {"V", "I"} or not text.strip():
            continue
        found = warnings if level == "W" else errors
        for cause in CAUSES:
            if cause.id not in found and _shows(cause, text):
                found[cause.id] = text
        if level in {"E", "F"}:
            tail = text
            if not first_error and not is_generic_tail(text) and not _is_noise(text):
                first_error = text
    # A good hybrid build warns of much that it then works around: warnings speak only where no error does.
    shown = errors or ({} if first_error else warnings)
    for cause in CAUSES:
        if cause.id in shown:
            said = shown[cause.id]
            return Explanation(cause.id, _worded(cause, said), _short(said), cause.then, cause.blame)
    evidence = _short(first_error or tail)
    if evidence:
        then = "Look for the first line marked [E] in the log; `--verbose` says more."
        return Explanation("unknown", "TensorRT gave up for an unknown reason", evidence, then, "model")
    then = "Warnings and errors go to stderr: run it with 2>&1 so that the log holds them."
    return Explanation("silent", "TensorRT gave up and its log holds no error", "", then, "model")


def _shows(cause: Cause, text: str) -> bool:
    return any(all(fragment in text for fragment in fragments) for fragments in cause.words)


def _worded(cause: Cause, text: str) -> str:
    node = import_node_of(text)
    return f"{cause.what}: it stopped at node {node.index} ({node.operator})" if node else cause.what


def _is_noise(text: str) -> bool:
    return "kPREFER_PRECISION_CONSTRAINTS cannot be set" in text


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _KEPT else f"{line[: _KEPT - 3]}..."
