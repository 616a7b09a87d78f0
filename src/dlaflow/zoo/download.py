"""Download one archive: with progress, going on where a broken download stopped, and verified before it counts.

The bytes gather in NAME.part; only when the checksum is right does the file get its name. Python's own urllib does the
work and honours the usual proxy variables.
"""

from __future__ import annotations

import errno
import hashlib
import http
import http.client
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dlaflow.errors import EnvironmentLacksError, InputError
from dlaflow.progress import Progress, Task, silent
from dlaflow.version import __version__

_CHUNK = 1 << 18
_RESUMES = 20


@dataclass(frozen=True, slots=True)
class Archive:
    """A file on a server. `timeout` is in seconds, for connecting and for each read."""

    name: str
    url: str
    md5: str
    timeout: float = 10.0


class _Cut(Exception):
    """The connection ended before the file did; what arrived is kept."""


def download(archive: Archive, folder: Path, progress: Progress = silent) -> Path:
    """Fetch `archive` into `folder` and return its path.

    A connection that breaks is taken up again as long as something arrives; what has arrived survives the program too.
    Raises EnvironmentLacksError when the server cannot be reached, InputError when the folder cannot be written or the
    bytes do not have the archive's checksum.
    """
    part = folder / f"{archive.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.touch()
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}", then="Choose another --data-dir.") from None
    try:
        _fetch_all(archive, part, progress)
    except (_Cut, OSError, http.client.HTTPException) as error:
        if not part.stat().st_size:
            part.unlink()
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise InputError(
                f"cannot write {part}: {error.strerror}", then="Make room: what arrived is kept."
            ) from None
        raise EnvironmentLacksError(
            f"{archive.name} is not in {folder} and cannot be downloaded ({_reason(error)})",
            then=f"Put {archive.url} into that folder by hand (what has arrived is kept), or use --data digits.",
        ) from None
    _verify(archive, part)
    return part.replace(folder / archive.name)


def _fetch_all(archive: Archive, part: Path, progress: Progress) -> None:
    """As many connections as it takes, while each brings something."""
    for remaining in reversed(range(_RESUMES)):
        before = part.stat().st_size
        try:
            return _fetch(archive, part, progress)
        except _Cut:
            if not remaining or part.stat().st_size <= before:
                raise
    return None


def _fetch(archive: Archive, part: Path, progress: Progress) -> None:
    """One connection. Raises _Cut when it ends early, and urllib's errors when it does not come about."""
    have = part.stat().st_size
    request = urllib.request.Request(archive.url, headers={"User-Agent": f"dlaflow/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=archive.timeout)
    except urllib.error.HTTPError as error:
        # 416: nothing is left after byte `have`, so the part is whole; the checksum decides.
        if error.code == 416 and have:
            return
        raise
    with response:
        start = _start(response.status, response.headers.get("Content-Range"), have)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with part.open("r+b") as file, progress(f"Downloading {archive.name}", total, "bytes") as task:
            file.seek(start)
            file.truncate()
            task.advance(start)
            _copy(response, file, task)
            if total is not None and file.tell() < total:
                raise _Cut(f"the connection ended after {file.tell():,} of {total:,} bytes")


def _copy(response: http.client.HTTPResponse, file: BinaryIO, task: Task) -> None:
    while True:
        try:
            chunk = response.read1(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Cut(f"the connection broke: {error}") from None
        if not chunk:
            return
        file.write(chunk)
        task.advance(len(chunk))


def _start(status: int, content_range: str | None, have: int) -> int:
    """The offset of the first byte that the server sends: a server may ignore the range and send everything."""
    if status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    match = re.match(r"bytes (\d+)-", content_range or "")
    start = int(match.group(1)) if match else have
    if start > have:
        raise http.client.HTTPException(f"the server skipped from byte {have} to {start}")
    return start


def _verify(archive: Archive, part: Path) -> None:
    with part.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != archive.md5:
        size = part.stat().st_size
        part.unlink()
        raise InputError(
            f"the download of {archive.name} ({size:,} bytes) is damaged and was removed",
            expected=f"md5 {archive.md5}",
            received=digest.hexdigest(),
            then=f"Try again, or fetch {archive.url} by hand.",
        )


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    inner = getattr(error, "reason", error)
    return str(getattr(inner, "strerror", None) or inner)
