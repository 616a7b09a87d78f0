"""What kind of artefact a file is, by its content. Names and endings are not trusted."""

from __future__ import annotations

import json
import re
from enum import Enum

from dlaflow.parse.outcome import level_of, state_in
from dlaflow.parse.text import Source, decoded, head_of, path_of


class Kind(str, Enum):
    """The artefacts that dlaflow can tell apart."""

    TRTEXEC_LOG = "trtexec-log"
    TRTEXEC_HELP = "trtexec-help"
    TENSORRT_LOG = "tensorrt-log"
    PROFILE = "profile"
    LAYER_INFO = "layer-info"
    TIMES = "times"
    OUTPUT = "output"
    TREX_METADATA = "trex-metadata"
    CALIBRATION_CACHE = "calibration-cache"
    ORT_CALIBRATION = "ort-calibration"
    NSYS_SQLITE = "nsys-sqlite"
    NSYS_REPORT = "nsys-report"
    NSYS_HELP = "nsys-help"
    SQL = "sql"
    TEGRASTATS = "tegrastats"
    DEVICE = "device"
    CUDLA_CSV = "cudla-csv"
    UNKNOWN = "unknown"


_HEAD_BYTES = 1 << 18
_LOG_LINE = re.compile(
    r"^(?:\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] ?)+(?:\[TRT\] )?\[[FEWIV]\]|^\[[FEWIV]\] |^\[TensorRT\] [A-Z]+: "
    r"|^(?:ERROR|WARNING|INFO|VERBOSE): \[TRT\]|^\[(?:Dla|Gpu)Layer\] |Unsupported on DLA|on DLA, falling back"
    r"|\[Torch-TensorRT|\[TRT\]|:\d\d +(?:ERROR|WARNING|INFO|VERBOSE)\] ",
    re.MULTILINE,
)
_TENSORRT = re.compile(
    r"TensorRT|tensorrt|trtexec|\bTRT\b|nvinfer|NVMEDIA|NvMap|\bDLA\b|kDLA|Error Code:? \d|onnx2trt"
    r"|cu(?:DLA|dla)|\.cpp::\w+::\d"
)
_TEGRASTATS = re.compile(r"^(?:.{0,80}[\s:])?RAM \d+/\d+[kMG]?B(?= ?\(lfb| SWAP| I?RAM| CPU| cpu|\s*$)", re.MULTILINE)
_DEVICE = re.compile(
    r"# R\d+ \(release\)|^[ \t]*(?:NV Power Mode|NV Fan Mode:|SOC family:)|POWER_MODEL:? ID=\d+"
    r"|^ii[ \t]+(?:nvidia-jetpack|nvidia-l4t)"
    r"|^(?:Package: )?nvidia-(?:l4t-core|jetpack)\b|\bP-Number: p\d{4}|nvidia,tegra\d{3}|\bL4T_VERSION="
    r"|^NVIDIA (?:Jetson|Orin) |^[ \t]*\w+:?[ \t]+(?:Online=\d )?MinFreq=\d+ MaxFreq=\d+",
    re.MULTILINE,
)
_CACHE = re.compile(r"\ufeff?TRT-\d+-\w+Calibration")
_CACHE_LINES = re.compile(r"^\S.*: [0-9a-f]{1,8}$", re.MULTILINE)
_ORT_LINE = re.compile(r"^\S.* -?\d+(?:\.\d+)?(?:e-?\d+)?$")


def detect(source: Source) -> Kind:
    """Tell the kind of a file (or of a text) from its beginning. Raises InputError when it cannot be read."""
    path = path_of(source)
    if path is None:
        return _of_text(str(source)[:_HEAD_BYTES])
    head = head_of(path, _HEAD_BYTES)
    if head.startswith(b"SQLite format 3\0"):
        return Kind.NSYS_SQLITE
    if head.startswith(b"QDSTRM") or b"QuadD" in head[:256] or path.suffix in {".nsys-rep", ".qdrep"}:
        return Kind.NSYS_REPORT
    return _of_text(decoded(head))


def _of_text(text: str) -> Kind:
    start = text.lstrip("\ufeff \t\r\n")
    if start[:1] in "[{" and (kind := _of_json(start)) is not None:
        return kind
    if _CACHE.match(start):
        return Kind.CALIBRATION_CACHE
    if "layer_name" in start.partition("\n")[0] and "," in start.partition("\n")[0]:
        return Kind.CUDLA_CSV
    if start.startswith(("--", "CREATE TABLE", "BEGIN")) and "CREATE TABLE" in text:
        return Kind.SQL
    return _of_lines(text, start)


def _of_lines(text: str, start: str) -> Kind:
    if re.match(r"(?:Layers:\s*)?Name: .+, LayerType: ", start):
        return Kind.LAYER_INFO
    if "--onnx=<file>" in text or ("=== Model Options ===" in text and "\n  --" in text):
        return Kind.TRTEXEC_HELP
    if "&&&& " in text and "TensorRT." in text:
        return Kind.TRTEXEC_LOG
    # A device dump may hold a sample of tegrastats, a tegrastats log holds no device dump.
    if _DEVICE.search(text):
        return Kind.DEVICE
    if _TEGRASTATS.search(text):
        return Kind.TEGRASTATS
    if _LOG_LINE.search(text):
        return Kind.TRTEXEC_LOG if "=== Model Options ===" in text else Kind.TENSORRT_LOG
    if "DLA core" in text or "num_DLA_cores" in text:
        return Kind.TENSORRT_LOG
    if _TENSORRT.search(text) and any(
        level_of(line, behind_error=False) or state_in(line) for line in text.splitlines()
    ):
        return Kind.TENSORRT_LOG
    if "usage: nsys" in start or ("--trace=" in text and "--accelerator-trace" in text) or "--cuda-graph-trace" in text:
        return Kind.NSYS_HELP
    lines = [line for line in start.splitlines() if line.strip()][:40]
    if lines and all(_ORT_LINE.match(line) for line in lines[:-1]) and len(lines) > 1 and " " in lines[0]:
        return Kind.ORT_CALIBRATION
    return Kind.CALIBRATION_CACHE if len(_CACHE_LINES.findall(text)) > max(2, len(lines) // 2) else Kind.UNKNOWN


_MARKS: tuple[tuple[str, Kind], ...] = (
    (r'"computeMs"\s*:', Kind.TIMES),
    (r'"averageMs"\s*:|\{\s*"count"\s*:\s*\d+\s*\}', Kind.PROFILE),
    (r'"dimensions"\s*:\s*"[\dx]*"', Kind.OUTPUT),
    (r'"Layers"\s*:\s*\[|"LayerType"\s*:', Kind.LAYER_INFO),
    (r'"(?:performance_summary|model_options|build_options)"\s*:', Kind.TREX_METADATA),
    (r'"(?:CalibrationCache|bindings|dataType|max_range|min_range|highest|lowest)"', Kind.ORT_CALIBRATION),
)


def _of_json(start: str) -> Kind | None:
    """The kind of a JSON text, or None when it only begins like one (log lines begin with a bracket too)."""
    if start.startswith('{"log":') or not re.match(r'\[\s*[\[{"\]]|\{\s*["}]', start):
        return None
    head = start[:8192]
    found = [(match.start(), kind) for expression, kind in _MARKS if (match := re.search(expression, head)) is not None]
    if found:
        return min(found)[1]
    try:
        value = json.loads(start)
    except (ValueError, RecursionError):
        return Kind.UNKNOWN
    if isinstance(value, dict) and value and all(isinstance(item, int | float | list) for item in value.values()):
        return Kind.ORT_CALIBRATION
    return Kind.UNKNOWN
