"""Files that are either whole or absent: write to a temporary name, fsync, rename. Also the head of each JSON file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlaflow.errors import InputError
from dlaflow.version import __version__

_CHUNK = 1 << 20


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed, on any error it is removed.

    Raises InputError when the folder cannot be written.
    """
    import tempfile  # here and below: a command that writes nothing starts without them

    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror}", then="Choose a folder that can be written."
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
        _sync_folder(target.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write `data` (text as UTF-8) to `path` so that nobody ever sees half of it."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def record_json(schema: str, body: object) -> bytes:
    """A JSON file: its schema, the version of dlaflow that wrote it, and the fields of `body`, a record or a dict."""
    import msgspec

    record = {"schema": schema, "dlaflow": __version__, **msgspec.to_builtins(body, enc_hook=os.fspath)}
    try:
        encoded = msgspec.json.encode(record)
    except UnicodeEncodeError:  # names of files and tensors may hold bytes that are no UTF-8
        import json

        encoded = json.dumps(record).encode().replace(b"\\ud", b"\\\\ud")
    return msgspec.json.format(encoded, indent=1) + b"\n"


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The hex digest of a file, read in chunks.

    Raises InputError when it cannot be read.
    """
    import hashlib

    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", then="Check the path.") from None
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; not every file system can, which is no reason to fail."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
