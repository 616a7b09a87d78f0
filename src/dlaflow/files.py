"""How anything is written: whole or not at all, several files together or none. Also the head of each JSON file.

A file is written beside its place, synced and renamed, so nobody ever sees half of it. Where the system can (Linux with
ext4, xfs, btrfs, tmpfs, overlay) it has no name until then, and not even a kill leaves it behind; elsewhere it is
hidden. Links are followed: the link stays and its target is replaced. What is no regular file (a character device, a
FIFO, `-` and /dev/stdout) is written straight into, after everything else is in place.
"""

from __future__ import annotations

import atexit
import errno
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

from dlaflow.errors import InputError
from dlaflow.version import __version__

_CHUNK = 1 << 20
_LINKS = 40
"""Links in a row before it is called a loop, as Linux has it."""
_LONGEST_STEM = 100
"""Of the name in a hidden one: what is added must not make it too long for the file system."""
_ABANDONED_S = 2.0
"""Seconds: longer than from making a file to locking it."""
_STDOUT = 1
_DESCRIPTOR = re.compile(r"[0-9]{1,9}")
_NEW_FILE = os.O_RDWR | getattr(os, "O_BINARY", 0)
_NO_NAME = getattr(os, "O_TMPFILE", 0) if os.path.isdir("/proc/self/fd") else 0
_CANNOT_BE_NAMELESS = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}
_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_KINDS = {stat.S_IFDIR: "it is a folder", stat.S_IFSOCK: "it is a socket", stat.S_IFBLK: "it is a whole disk"}

_HIDDEN: set[str] = set()
"""Files with a hidden name. It is noted before the file exists, so that no signal falls in between."""
_PLACED: set[str] = set()
"""Where files were put by this process."""
_GROUP: ContextVar[_Group | None] = ContextVar("group", default=None)
_PROTECTED: ContextVar[frozenset[tuple[int, int]]] = ContextVar("protected", default=frozenset())
_REAL_STDOUT: ContextVar[TextIO | None] = ContextVar("stdout", default=None)


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write `data` (text as UTF-8) to `path` so that nobody ever sees half of it.

    Raises InputError, with the file's name, when that is not possible.
    """
    with together(), _draft(path) as draft, _naming(path):
        draft.fill(data.encode(errors="backslashreplace") if isinstance(data, str) else data)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` for another program to write; then it is synced and renamed.

    On any error it is removed. Raises InputError, with the file's name, when `path` cannot be written.
    """
    with together(), _draft(path) as draft:
        with _naming(path):
            temporary = draft.hide()
        try:
            yield temporary
        except OSError as error:
            if error.errno in _ROOM:
                raise _refused(path, error) from None
            raise
        with _naming(path):
            draft.adopt()


@contextmanager
def together() -> Iterator[None]:
    """Files that are written while this is open appear at its end, all of them, or none when anything is raised.

    Within another one they wait for that one's end. What cannot be taken back, a stream, is written last.
    """
    if _GROUP.get() is not None:
        yield
        return
    group = _Group()
    token = _GROUP.set(group)
    try:
        yield
        group.put_in_place()
    finally:
        for draft in group.drafts:
            draft.discard()
        _GROUP.reset(token)
    for action in group.actions:
        action()


@contextmanager
def at_once() -> Iterator[None]:
    """Files that are written while this is open do not wait: a state to go on from after a kill."""
    token = _GROUP.set(None)
    try:
        yield
    finally:
        _GROUP.reset(token)


def once_written(action: Callable[[], object]) -> None:
    """Do `action` when all files of the group are in their places; now, where none is open."""
    group = _GROUP.get()
    if group is None:
        action()
    else:
        group.actions.append(action)


def waiting(path: Path) -> Path:
    """Where to read a file that was written within `together` and has no name yet; else `path` itself."""
    place = _place(path)
    group = _GROUP.get()
    found = next((draft for draft in group.drafts if draft.place == place), None) if group else None
    return found.readable() if found else path


@contextmanager
def report_on_stderr() -> Iterator[None]:
    """Leave stdout to an output: what is printed meanwhile goes to stderr."""
    token = _REAL_STDOUT.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _REAL_STDOUT.reset(token)


@contextmanager
def protected(inputs: Iterable[Path]) -> Iterator[None]:
    """While this is open, these files are not written over, by whatever name: the last guard, where it is too late to
    tell before the work."""
    kept = {(found.st_dev, found.st_ino) for path in inputs if path.is_file() for found in [path.stat()]}
    token = _PROTECTED.set(_PROTECTED.get() | kept)
    try:
        yield
    finally:
        _PROTECTED.reset(token)


def is_stdout(path: str | os.PathLike[str]) -> bool:
    """Whether a path names this process's stdout: `-`, /dev/stdout, /proc/self/fd/1, or a link to them."""
    with suppress(OSError):
        return _place(path) == _STDOUT
    return False


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether a path is no regular file and will not become one, so that nothing can stand beside it or be read back.

    Raises InputError for what can never be written.
    """
    with _naming(path):
        return not isinstance(place := _place(path), str) or _is_device(place)


def same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths name one file or stream, by whatever links, hard ones too."""
    with suppress(OSError):
        if _place(one) == _place(other):
            return True
        return os.path.samefile(one, other)
    return False


def check_output(path: str | os.PathLike[str]) -> None:
    """Raises InputError where it is plain before any work that the file `path` cannot be written."""
    with _naming(path):
        place = _place(path)
        if not isinstance(place, str) or _is_device(place):
            return
        folder = os.path.dirname(place)
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        if not os.path.isdir(folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(folder, os.W_OK | os.X_OK):
            read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
            reason = errno.EROFS if read_only else errno.EACCES
            raise OSError(reason, os.strerror(reason))


def anything_kept() -> bool:
    """Whether a file that this process wrote stands in its place."""
    return any(map(os.path.lexists, _PLACED))


def record_json(schema: str, body: object) -> bytes:
    """A JSON file: its schema, the version of dlaflow that wrote it, and the fields of `body`, a record or a dict."""
    import msgspec

    return json_bytes({"schema": schema, "dlaflow": __version__, **msgspec.to_builtins(body, enc_hook=os.fspath)})


def json_bytes(record: object, *, indent: int = 1) -> bytes:
    """A JSON file for people and programs. Bytes of a file's or tensor's name that are no UTF-8 become `\\udcff`."""
    import msgspec

    try:
        encoded = msgspec.json.encode(record)
    except UnicodeEncodeError:
        import json

        encoded = json.dumps(msgspec.to_builtins(record)).encode().replace(b"\\ud", b"\\\\ud")
    return msgspec.json.format(encoded, indent=indent) + b"\n"


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


class _Draft:
    """One file on its way: `path` as it was asked for, and `place`, where it goes: a path or one of our descriptors."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.place = _place(path)
        self.stream = not isinstance(self.place, str) or _is_device(self.place)
        with suppress(FileNotFoundError, NotADirectoryError):
            found = os.stat(self.place)
            if (found.st_dev, found.st_ino) in _PROTECTED.get():
                raise OSError(errno.EEXIST, "the command reads it")
        self._content = b""
        self._handle = -1
        self._hidden = self._old = ""
        self._existed = False

    def fill(self, content: bytes) -> None:
        """Write the content, synced, where nobody sees it."""
        if self.stream:
            self._content = content
            return
        self._open(nameless=True)
        with os.fdopen(self._handle, "wb", closefd=False) as file:
            file.write(content)
        os.fsync(self._handle)

    def hide(self) -> Path:
        """A hidden file for somebody else to write into; for a stream it lies where temporary files do."""
        self._open(nameless=False)
        return Path(self._hidden)

    def adopt(self) -> None:
        """Take what was written into the hidden file."""
        self._close()
        self._handle = os.open(self._hidden, _NEW_FILE)  # whoever wrote it may have replaced it
        if self.stream:
            self._content = Path(self._hidden).read_bytes()
        else:
            os.fsync(self._handle)

    def readable(self) -> Path:
        """Where the content can be read now."""
        return Path(self._hidden or f"/proc/self/fd/{self._handle}")

    def put(self, *, undoable: bool) -> None:
        """Give the file its name. `undoable` keeps what was there until `discard`."""
        assert isinstance(self.place, str)
        if not self._hidden:
            hidden = self._new_name()
            # With a folder's descriptor Python calls linkat, which alone follows the link in /proc to the file.
            os.link(f"/proc/self/fd/{self._handle}", hidden, src_dir_fd=self._handle, follow_symlinks=True)
            self._hidden = hidden
        self._close()
        self._existed = os.path.lexists(self.place)
        if self._existed:
            self._take_over(os.stat(self.place))
        if undoable and self._existed:
            self._old = self._new_name()
            with suppress(OSError):  # not every file system has links
                os.link(self.place, self._old)
        os.replace(self._hidden, self.place)
        _PLACED.add(self.place)
        _sync_folder(os.path.dirname(self.place))

    def _take_over(self, old: os.stat_result) -> None:
        """Belong to whom the replaced file belonged, with its permissions: nobody else reads a private file now."""
        with suppress(OSError, AttributeError):  # AttributeError: not every system has owners
            os.chown(self._hidden, old.st_uid, old.st_gid)
        with suppress(OSError):
            os.chmod(self._hidden, stat.S_IMODE(old.st_mode))

    def take_back(self) -> None:
        """Undo `put`: what was there before stands there again."""
        assert isinstance(self.place, str)
        with suppress(OSError):
            _PLACED.discard(self.place)
            if self._old:
                os.replace(self._old, self.place)
            elif self._hidden and not self._existed and not os.path.lexists(self._hidden):
                os.unlink(self.place)

    def pour(self) -> None:
        """Write the content straight into the stream."""
        if self.place == _STDOUT:
            stream = _REAL_STDOUT.get() or sys.stdout
            stream.flush()
            if hasattr(stream, "buffer") and not stream.isatty():
                stream.buffer.write(self._content)
            else:  # as a terminal shows it: `dlaflow.visible` keeps JSON what it is
                stream.write(self._content.decode("utf-8", errors="replace"))
            stream.flush()
            return
        flags = os.O_WRONLY | getattr(os, "O_NOCTTY", 0)
        handle = os.open(self.place, flags) if isinstance(self.place, str) else os.dup(self.place)
        with os.fdopen(handle, "wb", buffering=0) as file:
            left = memoryview(self._content)
            while left:
                left = left[file.write(left) :]

    def discard(self) -> None:
        """Leave nothing of the draft behind; a file that was put in its place stays."""
        self._close()
        for name in filter(None, (self._hidden, self._old)):
            _remove(name)

    def _open(self, *, nameless: bool) -> None:
        folder = os.path.dirname(self.place) if isinstance(self.place, str) and not self.stream else _scratch()
        os.makedirs(folder, exist_ok=True)
        if nameless and _NO_NAME:
            try:
                self._handle = os.open(folder, _NEW_FILE | _NO_NAME, 0o666)
                return
            except OSError as error:
                if error.errno not in _CANNOT_BE_NAMELESS:
                    raise
        self._remove_abandoned(folder)
        self._hidden = self._new_name(folder)
        self._handle = os.open(self._hidden, _NEW_FILE | os.O_CREAT | os.O_EXCL, 0o666)
        _lock(self._handle)

    def _stem(self) -> str:
        return "." + os.fsdecode(os.fsencode(os.path.basename(str(self.place)))[:_LONGEST_STEM])

    def _new_name(self, folder: str = "") -> str:
        name = os.path.join(folder or os.path.dirname(str(self.place)), f"{self._stem()}.{os.urandom(4).hex()}.tmp")
        _HIDDEN.add(name)
        return name

    def _remove_abandoned(self, folder: str) -> None:
        """Remove what a killed process left of the same output: nobody holds its lock, and it is not of this moment."""
        ours = re.compile(re.escape(self._stem()) + r"\.[0-9a-f]{8}\.tmp")
        for name in filter(ours.fullmatch, os.listdir(folder)):
            with suppress(OSError):
                handle = os.open(os.path.join(folder, name), _NEW_FILE | getattr(os, "O_NOFOLLOW", 0))
                try:
                    if time.time() - os.fstat(handle).st_mtime > _ABANDONED_S and _lock(handle):
                        os.unlink(os.path.join(folder, name))
                finally:
                    os.close(handle)

    def _close(self) -> None:
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)


@contextmanager
def _draft(path: str | os.PathLike[str]) -> Iterator[_Draft]:
    """A draft in the group that is open. Raises InputError for a place that another one of it goes to."""
    group = _GROUP.get()
    assert group is not None
    with _naming(path):
        draft = _Draft(path)
    if any(each.place == draft.place for each in group.drafts):
        raise InputError(f"two outputs would go to {_shown(path)}", then="Name another file for one of them.")
    group.drafts.append(draft)
    try:
        yield draft
    except BaseException:
        group.drafts.remove(draft)
        draft.discard()
        raise


class _Group:
    """Files that appear together, and what is to be done then."""

    def __init__(self) -> None:
        self.drafts: list[_Draft] = []
        self.actions: list[Callable[[], object]] = []

    def put_in_place(self) -> None:
        """Put every draft in its place; on any error those before it are taken back."""
        begun = []
        try:
            for draft in sorted(self.drafts, key=lambda each: each.stream):
                with _naming(draft.path):
                    if draft.stream:
                        draft.pour()
                    else:
                        begun.append(draft)
                        draft.put(undoable=len(self.drafts) > 1)
        except BaseException:
            for draft in reversed(begun):
                draft.take_back()
            raise


def _place(path: str | os.PathLike[str]) -> str | int:
    """Where links lead: an absolute path, or the number of one of this process's descriptors. Raises OSError."""
    text = os.fspath(path)
    if text == "-":
        return _STDOUT
    if "\0" in text:
        raise OSError(errno.EINVAL, "a name cannot hold a NUL character")
    for _ in range(_LINKS):
        folder, name = os.path.split(os.path.abspath(text) if os.path.basename(text) in {"", ".", ".."} else text)
        folder = os.path.realpath(folder)
        if folder in {f"/proc/{os.getpid()}/fd", "/dev/fd"} and _DESCRIPTOR.fullmatch(name):
            return int(name)
        text = os.path.join(folder, name)
        # What /proc says of another process's pipe is no name of a file: only the link itself leads there.
        if not os.path.islink(text) or folder.startswith("/proc/"):
            return text
        text = os.path.join(folder, os.readlink(text))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _is_device(place: str) -> bool:
    """Whether a place takes bytes but is no file. Raises OSError for what must not be written at all."""
    try:
        mode = os.stat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if problem := _KINDS.get(stat.S_IFMT(mode)):
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, problem)
    return not stat.S_ISREG(mode)


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the system's refusals into an InputError that names the file; a reader of stdout who left is none."""
    try:
        yield
    except BrokenPipeError as error:
        if is_stdout(path):
            raise
        raise _refused(path, error) from None
    except OSError as error:
        raise _refused(path, error) from None


def _refused(path: str | os.PathLike[str], error: OSError) -> InputError:
    advice = "Choose a file in a folder that can be written."
    if error.errno in _ROOM:
        advice = "Make room, or choose another place."
    return InputError(f"cannot write {_shown(path)}: {error.strerror or error}", then=advice)


def _shown(path: str | os.PathLike[str]) -> str:
    return "stdout" if os.fspath(path) == "-" else os.fspath(path)


def _lock(handle: int) -> bool:
    """Hold a file until its handle is closed; the system does that for a process that is killed."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _scratch() -> str:
    import tempfile  # a command that writes no stream starts without it

    return tempfile.gettempdir()


def _remove(name: str) -> None:
    with suppress(OSError):
        os.unlink(name)
    _HIDDEN.discard(name)


def _sync_folder(folder: str) -> None:
    """Make the rename itself durable; not every file system can, which is no reason to fail."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@atexit.register
def _remove_hidden() -> None:
    """What a second signal, or a thread that the process did not wait for, left behind."""
    for name in tuple(_HIDDEN):
        _remove(name)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_HIDDEN.clear)  # they are the parent's
