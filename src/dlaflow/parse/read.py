"""Read any artefact: the kind is known by its content, the record by the kind's own parser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dlaflow.errors import InputError
from dlaflow.parse.detect import Kind, detect
from dlaflow.parse.device import DeviceText, parse_device
from dlaflow.parse.exports import (
    CudlaLayer,
    LayerInfo,
    OutputTensor,
    ProfileFile,
    TimesFile,
    parse_cudla_csv,
    parse_layer_info,
    parse_output,
    parse_profile,
    parse_times,
)
from dlaflow.parse.help_text import parse_help
from dlaflow.parse.log import TrtexecLog
from dlaflow.parse.nsys import CaptureInfo, read_info
from dlaflow.parse.tegrastats import Tegrastats, parse_tegrastats
from dlaflow.parse.text import Source, path_of
from dlaflow.parse.trtexec import parse_log

Record = (
    TrtexecLog
    | ProfileFile
    | LayerInfo
    | TimesFile
    | Tegrastats
    | DeviceText
    | CaptureInfo
    | frozenset[str]
    | tuple[OutputTensor, ...]
    | tuple[CudlaLayer, ...]
)
UNTESTED = "read by the manual's description; untested on real data, since no real file of the kind is public"


@dataclass(frozen=True, slots=True)
class Artefact:
    """A file's kind with its record; None for kinds that are known and not read here (caches, reports, SQL).

    `note` is for a reader that was written from descriptions, because no real file of the kind is public.
    """

    kind: Kind
    record: Record | None
    note: str = ""


def read_artefact(source: Source) -> Artefact:
    """Read a file or a text of any kind; never fails on text.

    Raises InputError when a file cannot be read or a database is damaged.
    """
    kind = detect(source)
    reader = _READERS.get(kind)
    record = reader(source) if reader else None
    note = ""
    if kind is Kind.CUDLA_CSV:
        note = f"cuDLA statistics: {UNTESTED}"
    elif isinstance(record, LayerInfo) and any(layer.type == "DLA" for layer in record.layers):
        note = f"layer information with DLA layers: {UNTESTED}"
    return Artefact(kind, record, note)


def _capture(source: Source) -> CaptureInfo:
    path = path_of(source)
    if path is None:
        raise InputError("an SQLite export is read from its file, not from text", then="Give the path.")
    return read_info(path)


_READERS: dict[Kind, Callable[[Source], Record]] = {
    Kind.TRTEXEC_LOG: parse_log,
    Kind.TENSORRT_LOG: parse_log,
    Kind.TRTEXEC_HELP: parse_help,
    Kind.NSYS_HELP: parse_help,
    Kind.PROFILE: parse_profile,
    Kind.LAYER_INFO: parse_layer_info,
    Kind.TIMES: parse_times,
    Kind.OUTPUT: parse_output,
    Kind.TEGRASTATS: parse_tegrastats,
    Kind.DEVICE: parse_device,
    Kind.CUDLA_CSV: parse_cudla_csv,
    Kind.NSYS_SQLITE: _capture,
}
