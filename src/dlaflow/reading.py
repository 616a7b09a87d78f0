"""What is handed in, opened in one place: only files on a disk, and only so much of them.

A pipe may never end, a device reads on for ever, and a few kilobytes can stand for any number of bytes or pixels. Each
limit lies far above what real files need; where somebody needs more, an environment variable raises it, and the line
that refuses names it. docs/limits.md lists them all.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dlaflow.errors import InputError, UsageError


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of `what` is read, counted in `unit`: at most `usual`, or what the environment's `variable` says."""

    variable: str
    usual: int
    unit: str
    what: str

    @property
    def most(self) -> int:
        """The limit of this process.

        Raises UsageError when the variable holds no number.
        """
        given = os.environ.get(self.variable, "").strip()
        if not given:
            return self.usual
        if not (given.isascii() and given.isdigit() and 0 < len(given) < 19):
            raise UsageError(f"{self.variable} makes no sense", expected="a whole number", received=repr(given[:40]))
        return int(given)

    def check(self, received: int, subject: object) -> None:
        """Raise InputError, which names the variable, when `subject` has more than the limit."""
        if received > self.most:
            raise InputError(
                f"{subject} is too large",
                expected=f"at most {self.most:,} {self.unit}",
                received=f"{received:,}",
                then=f"If it is what it should be, raise {self.variable}.",
            )


LOG_LINES = Limit("DLAFLOW_MAX_LOG_LINES", 500_000, "lines", "lines of a log or of a calibration cache")
LOG_BYTES = Limit("DLAFLOW_MAX_LOG_BYTES", 128 << 20, "bytes", "a log or another text of lines, unzipped")
DOCUMENT_BYTES = Limit("DLAFLOW_MAX_DOCUMENT_BYTES", 64 << 20, "bytes", "a JSON file or a calibration cache")
TOML_BYTES = Limit("DLAFLOW_MAX_TOML_BYTES", 1 << 20, "bytes", "a recipe, a sweep, an inventory, learned parameters")
ARRAY_BYTES = Limit("DLAFLOW_MAX_ARRAY_BYTES", 1 << 30, "bytes", "an array of a .npz, unzipped")
WEIGHT_BYTES = Limit("DLAFLOW_MAX_WEIGHT_BYTES", 1 << 30, "bytes", "a .safetensors file")
PIXELS = Limit("DLAFLOW_MAX_PIXELS", 1 << 26, "pixels", "one image, as it is and resized")
MODEL_BYTES = Limit("DLAFLOW_MAX_MODEL_BYTES", 256 << 20, "bytes", "an ONNX file without its large tensors")
LOADABLE_BYTES = Limit("DLAFLOW_MAX_LOADABLE_BYTES", 1 << 31, "bytes", "a DLA loadable")
ONNX_BYTES = Limit("DLAFLOW_MAX_ONNX_BYTES", 1 << 31, "bytes", "an ONNX file: protobuf cannot hold more")
NODES = Limit("DLAFLOW_MAX_NODES", 200_000, "nodes", "a model with its local functions inlined")
CONNECTIONS = Limit("DLAFLOW_MAX_CONNECTIONS", 4_096, "inputs or outputs", "one node of a model")
SIMPLIFY_SECONDS = Limit("DLAFLOW_MAX_SIMPLIFY_SECONDS", 600, "seconds", "processor time of onnxslim for --simplify")
RUN_BYTES = Limit("DLAFLOW_MAX_RUN_BYTES", 4 << 30, "bytes", "what models hold while onnxruntime runs them")

LIMITS = (
    LOG_BYTES,
    LOG_LINES,
    DOCUMENT_BYTES,
    TOML_BYTES,
    ARRAY_BYTES,
    WEIGHT_BYTES,
    LOADABLE_BYTES,
    PIXELS,
    ONNX_BYTES,
    MODEL_BYTES,
    NODES,
    CONNECTIONS,
    RUN_BYTES,
    SIMPLIFY_SECONDS,
)

_OTHERS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(path: str | os.PathLike[str], then: str = "Check the path.") -> int:
    """The size in bytes of what must be a file on a disk.

    Raises InputError, which ends with `then` where there is none, for a folder, a pipe, a device or a socket too:
    whoever opened those could wait or read for ever.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read {os.fspath(path)}: {reason}", then=then) from None
    kind = next((name for is_kind, name in _OTHERS if is_kind(found.st_mode)), "")
    if kind:
        then = "Name a file inside it." if kind == "a folder" else "Write its contents to a file first."
        raise InputError(f"{os.fspath(path)} is {kind}", expected="a file on a disk", then=then)
    return found.st_size


def open_regular(path: str | os.PathLike[str], limit: Limit | None = None) -> BinaryIO:
    """A file on a disk, opened for reading.

    Raises InputError for what is none and for a file larger than `limit`, OSError where the system refuses.
    """
    size = check_regular(path)
    if limit is not None:
        limit.check(size, os.fspath(path))
    # Should it have become a pipe since, this does not wait for somebody to write into it.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    return os.fdopen(handle, "rb")


def read_bytes(path: str | os.PathLike[str], limit: Limit = DOCUMENT_BYTES, then: str = "Check the path.") -> bytes:
    """The contents of a file that is small by nature.

    Raises InputError for what is no file, is larger than `limit` or cannot be read.
    """
    check_regular(path, then)
    try:
        with open_regular(path, limit) as file:
            return file.read(limit.most + 1)
    except OSError as error:
        raise InputError(f"cannot read {os.fspath(path)}: {error.strerror}", then=then) from None


def read_text(path: str | os.PathLike[str], limit: Limit = DOCUMENT_BYTES) -> str:
    """The contents of a UTF-8 file that is small by nature.

    Raises InputError as `read_bytes` does, UnicodeDecodeError for other bytes.
    """
    return read_bytes(Path(path), limit).decode("utf-8")
