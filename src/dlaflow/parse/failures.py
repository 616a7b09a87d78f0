"""Errors and warnings of a build or a run that concern the DLA: a code, the words they are known by, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """One known error: every one of `words` must occur in the text."""

    reason: str
    words: tuple[str, ...]
    meaning: str


_NO_CORE = (
    "There is no such DLA core (Nano, Orin Nano, Thor and desktop GPUs have none), or the container lacks the device."
)
_SUBMIT = "The driver refused the task: often too little memory or too many loadables at once."
_INTERNAL = "TensorRT's DLA part failed by itself; another release or a smaller subgraph may pass."
_STANDALONE = "A standalone or safe build takes the whole network in one DLA subgraph: see which layers fall back."
_CACHE = (
    "The calibration cache does not fit this library: its first line must carry the library's version and algorithm."
)

FAILURES: tuple[Failure, ...] = (
    Failure("no_dla_available", ("Cannot create DLA engine",), _NO_CORE),
    Failure("no_dla_available", ("dlaEngineCount",), _NO_CORE),
    Failure("no_dla_available", ("getDLACore() < mCore.numEngines",), _NO_CORE),
    Failure("no_dla_available", ("dlaCore", "numEngines()"), _NO_CORE),
    Failure("no_dla_available", ("No DLA core available",), _NO_CORE),
    Failure("no_dla_available", ("dlaContext != nullptr",), _NO_CORE),
    Failure("safe_needs_one_subgraph", ("Safety certified DLA should only have one graph",), _STANDALONE),
    Failure("safe_needs_one_subgraph", ("Safe DLA is enabled but not all layers",), _STANDALONE),
    Failure(
        "direct_io_refused",
        ("kDIRECT_IO specified but no conformant",),
        "Without GPU fallback inputs and outputs need DLA formats: give --inputIOFormats and --outputIOFormats.",
    ),
    Failure(
        "direct_io_refused",
        ("reformatting nodes are needed",),
        "The I/O formats given need a reformat, which only a GPU does.",
    ),
    Failure(
        "io_consumer_not_on_dla",
        ("forceToUseNvmIO",),
        "A network input or output touches a layer that is not on the DLA.",
    ),
    Failure(
        "builder_internal_error",
        ("RegionType::kNVM",),
        "A network input or output touches a layer that is not on the DLA.",
    ),
    Failure("builder_internal_error", ("nvmediaTensorCache",), _INTERNAL),
    Failure(
        "noise",
        ("kPREFER_PRECISION_CONSTRAINTS cannot be set",),
        "Noise of trtexec 8.2 to 8.5 and 10.3, not the cause.",
    ),
    Failure("dla_submit_failed", ("submit program to DLA engine",), _SUBMIT),
    Failure("dla_submit_failed", ("DLA Error in submit",), _SUBMIT),
    Failure("dla_runtime_error", ("NVMEDIA_DLA :", "ERROR"), _SUBMIT),
    Failure("dla_runtime_error", ("DLA Error in",), _SUBMIT),
    Failure(
        "out_of_memory", ("NvMapMem", "error"), "The board's memory is used up: the DLA shares it with all others."
    ),
    Failure("out_of_memory", ("OutOfMemory",), "The board's memory is used up: CPU, GPU and DLA share it."),
    Failure("crashed", ("core dumped",), "The program crashed: the log ends where it did."),
    Failure("crashed", ("Killed",), "The program was killed, mostly by the kernel for want of memory."),
    Failure(
        "standalone_loadable_given",
        ("use cuDLA APIs instead",),
        "This file is a DLA loadable: it runs with cuDLA, not with --loadEngine.",
    ),
    Failure(
        "dla_compiler_missing",
        ("libnvdla_compiler",),
        "The package nvidia-l4t-dla-compiler is missing (often in containers).",
    ),
    Failure("calibration_cache_header", ("Calibration table does not match",), _CACHE),
    Failure("calibration_cache_header", ("impossible to read tensor scales",), _CACHE),
    Failure(
        "missing_scale",
        ("Missing scale and zero-point for tensor",),
        "The tensor has no scale, so its layers do not run in INT8: the cache lacks it, or was refused as a whole.",
    ),
    Failure(
        "calibrator_restriction",
        ("only supports kENTROPY_CALIBRATOR_2",),
        "The DLA takes scales of the entropy calibrator (version 2) alone.",
    ),
    Failure(
        "no_implementation_for_dla_node",
        ("Could not find any implementation for node",),
        "No implementation passed. GPU (Myelin) nodes carry the same name form: look at the placement.",
    ),
    Failure(
        "made_up_ranges",
        ("Calibrator is not being used",),
        "INT8 without a calibration: every tensor gets an invented range. Speed is real, accuracy is not.",
    ),
    Failure("onnx_import_error", ("While parsing node number",), "The ONNX importer refused this node."),
    Failure("onnx_import_error", ("Assertion failed", "mporter"), "The ONNX importer refused a node."),
    Failure("onnx_import_error", ("Assertion failed", "onnx2trt"), "The ONNX importer refused a node."),
    Failure("unknown_option", ("Unknown option:",), "This release of trtexec does not know the option."),
)

GENERIC_TAILS = (
    "Engine could not be created from network",
    "Engine set up failed",
    "Parsing model failed",
    "Failed to parse onnx file",
    "Failed to create engine from model",
    "Inference set up failed",
    "Building engine failed",
    "Network And Config setup failed",
)
"""Errors that only say that something before them failed."""

_HEAD = re.compile(r"(?:Error\[\d+\]: |\d+: )?\[([\w.]+)::([^\]]+?)::(\d+)\] Error Code (\d+): ")
_API_HEAD = re.compile(r"(?:Error\[\d+\]: )?(I\w+::\w+): Error Code (\d+): ")
_CODE = re.compile(r"Error\[(\d+)\]: ")
_OLD_HEAD = re.compile(r"(?:\.\./)?(?:[\w/]+/)?(\w+\.(?:cpp|h)) \((\d+)\) - (.+?) in (\S+): (-?\d+) ")
_IMPORT_NODE = re.compile(r'While parsing node number (\d+) \[(\w+)(?: -> "(.*?)")?')


@dataclass(frozen=True, slots=True)
class Head:
    """Where in the library an error was raised; 10.x names the call of the API and no file."""

    file: str
    function: str
    code: int


@dataclass(frozen=True, slots=True)
class ImportNode:
    """The node that the ONNX importer stopped at: its index, operator and first output."""

    index: int
    operator: str
    output: str


_DRIVER = re.compile(r"NVMEDIA_DLA|NVMAP_IOC|NvMapMem\w*:|nvdla\w*:|NVDLA\w*:")
_CRASH = re.compile(r"(?:\S+: line \d+: +\d+ )?(?:Segmentation fault|Aborted|Bus error|Illegal instruction|Killed)\b")


def driver_level(text: str) -> str:
    """The level of a line that the driver or the shell prints beside TensorRT's own, empty for any other."""
    return "E" if _DRIVER.match(text) else "F" if _CRASH.match(text) else ""


def failure_of(text: str) -> Failure | None:
    """The known error that `text` is, or None."""
    for failure in FAILURES:
        if all(word in text for word in failure.words):
            return failure
    return None


def head_of(text: str) -> Head | None:
    """The head of a library error (`[file::function::line] Error Code N`, or the form of 7.x), or None."""
    if (match := _HEAD.search(text)) is not None:
        return Head(match.group(1), match.group(2), int(match.group(4)))
    if (match := _API_HEAD.match(text)) is not None:
        return Head("", match.group(1), int(match.group(2)))
    if (match := _OLD_HEAD.search(text)) is not None:
        return Head(match.group(1), match.group(4), int(match.group(5)))
    match = _CODE.match(text)
    return Head("", "", int(match.group(1))) if match else None


def import_node_of(text: str) -> ImportNode | None:
    """The ONNX node that an import error names, or None."""
    match = _IMPORT_NODE.search(text)
    return ImportNode(int(match.group(1)), match.group(2), match.group(3) or "") if match else None


def is_generic_tail(text: str) -> bool:
    """Whether an error only repeats that something before it failed."""
    return text.startswith(GENERIC_TAILS) or any(tail in text[:80] for tail in GENERIC_TAILS)
