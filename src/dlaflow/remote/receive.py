"""What a job left, received from its board: nothing but the files that were announced, as they were announced.

A board is not trusted. Its names are plain (`records.PlainName`); files are made anew below a folder that is held open,
so that no link is followed, whatever happens in it meanwhile, and take their names when they are whole. Of tar only
plain members are read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from dlaflow.errors import EnvironmentLacksError, InputError, UsageError
from dlaflow.remote.records import OutputMark
from dlaflow.remote.transport import Answer

LIMIT = "DLAFLOW_PULL_GIB"
"""The variable that raises what a job may leave."""
_LIMIT_GIB = 8
_MARGIN = 64 << 20
"""Bytes that stay free on the host."""
_CHUNK = 1 << 18
_BLOCK = tarfile.BLOCKSIZE
_HEADER_BYTES = 8192
"""Boards' own tar puts times into an extended header of a few hundred bytes; more is none of a job's."""
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
_FULL = {errno.ENOSPC, errno.EDQUOT}


class OutputFolder:
    """A folder that files are received into: a context manager that holds it open. Raises InputError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._explained():
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._handle)

    def require_room(self, wanted: Mapping[str, OutputMark], board: str) -> int:
        """The bytes of these files. Raises EnvironmentLacksError for more than the limit or the disk allows."""
        total = sum(mark.bytes for mark in wanted.values())
        most = _limit()
        if total > most:
            raise EnvironmentLacksError(
                f"{board} announces more than a job may leave",
                expected=f"at most {most / 2**30:g} GiB",
                received=f"{total / 2**30:.1f} GiB in {len(wanted)} files",
                then=f"If that is right, raise the limit with {LIMIT}.",
            )
        disk = os.fstatvfs(self._handle)
        free = disk.f_bavail * disk.f_frsize
        if total + _MARGIN > free:
            raise EnvironmentLacksError(
                f"{self._path} has too little room for what {board} sends",
                expected=f"{(total + _MARGIN) / 1e6:.0f} MB free",
                received=f"{free / 1e6:.0f} MB",
                then="Free some space.",
            )
        return total

    def holds(self, name: str, mark: OutputMark) -> bool:
        """Whether the file is here already, whole. A link is no file."""
        try:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._handle)
        except OSError:
            return False
        with open(handle, "rb") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode) or about.st_size != mark.bytes:
                return False
            digest = hashlib.sha256()
            with self._explained(name):
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        return digest.hexdigest() == mark.sha256

    @contextmanager
    def new(self, name: str) -> Iterator[IO[bytes]]:
        """A file that gets its name at the end, and is gone after any error."""
        temporary = f".{name}.{secrets.token_hex(4)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._explained(name):
            handle = os.open(temporary, flags, 0o666, dir_fd=self._handle)
            try:
                with open(handle, "wb") as file:
                    yield file
                    file.flush()
                    os.fsync(handle)
                os.replace(temporary, name, src_dir_fd=self._handle, dst_dir_fd=self._handle)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=self._handle)
                raise

    @contextmanager
    def _explained(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            then = "Free some space." if error.errno in _FULL else "Choose a folder that can be written."
            raise InputError(f"cannot write {self._path / name}: {error.strerror}", then=then) from None


def receive(answer: Answer, wanted: Mapping[str, OutputMark], folder: OutputFolder, board: str) -> Iterator[str]:
    """Take the files out of a tar; gives each name when that file is whole, with the hash that was announced.

    Raises EnvironmentLacksError for anything that was not asked for or is not as announced, EOFError when the answer
    ends before its end, InputError when the folder cannot be written.
    """
    left = dict(wanted)
    # Each file may bring one extended header of its own.
    for _ in range(2 * len(wanted) + 1):
        block = answer.exactly(_BLOCK)
        if not any(block):
            break
        member = _header(block, board)
        if member.type in (tarfile.XHDTYPE, tarfile.XGLTYPE) and 0 <= member.size <= _HEADER_BYTES:
            answer.exactly(_padded(member.size))
            continue
        mark = left.pop(member.name, None) if member.type in _PLAIN else None
        if mark is None:
            raise EnvironmentLacksError(f"{board} sent something else: {member.name[:100]!r}")
        if member.size != mark.bytes:
            raise _other(board, member.name, f"{mark.bytes} bytes", f"{member.size} bytes")
        with folder.new(member.name) as file:
            sha256 = _copy(answer, mark.bytes, file.write)
            answer.exactly(_padded(mark.bytes) - mark.bytes)
            if sha256 != mark.sha256:
                raise _other(board, member.name, f"SHA-256 {mark.sha256[:12]}", sha256[:12])
        yield member.name
    if left:
        raise EnvironmentLacksError(f"{board} did not send {min(left)}")


def _header(block: bytes, board: str) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise EnvironmentLacksError(f"{board} sent no tar: {error}") from None


def _copy(answer: Answer, count: int, write: Callable[[bytes], object]) -> str:
    """Pass on exactly so many bytes; their SHA-256."""
    digest = hashlib.sha256()
    while count:
        chunk = answer.read(min(count, _CHUNK))
        if not chunk:
            raise EOFError
        digest.update(chunk)
        write(chunk)
        count -= len(chunk)
    return digest.hexdigest()


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _other(board: str, name: str, expected: str, received: str) -> EnvironmentLacksError:
    return EnvironmentLacksError(f"{name} from {board} is not what the job left", expected=expected, received=received)


def _limit() -> int:
    text = os.environ.get(LIMIT, str(_LIMIT_GIB))
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise UsageError(f"cannot read {LIMIT}", expected="whole GiB", received=repr(text[:20]))
    return int(text) << 30
