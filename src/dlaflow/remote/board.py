"""One board: the agent put there, files pushed once, calls that survive a broken connection."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar, cast

import msgspec

from dlaflow.errors import DlaflowError, EnvironmentLacksError, InputError, UsageError
from dlaflow.files import sha256_of
from dlaflow.progress import Interruption, Progress, silent
from dlaflow.remote.records import Adopted, AgentRefusal, Event, Facts, Have, Hello, JobState, OutputMark
from dlaflow.remote.transport import (
    Channel,
    ConnectionLostError,
    Transport,
    UnreachableError,
    full_disk,
    last_line,
    lines_of,
)

_MARGIN = 64 << 20
"""Bytes that stay free on the board: for logs, engines and the board itself."""
_PUSH_TRIES = 3
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_SILENCE = 30.0
"""The agent gives a sign of life every 2 seconds while a job is followed."""
_CHUNK = 1 << 18

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """Time-outs in seconds: `answer` for one answer, `reconnect` for a lost board, `busy` for a board in use."""

    answer: float = 120.0
    reconnect: float = 180.0
    busy: float = 0.0


class RemoteBoard:
    """A board behind a transport. A context manager: connections are given back at its end."""

    def __init__(self, transport: Transport, patience: Patience | None = None, progress: Progress = silent) -> None:
        self.transport = transport
        self.patience = patience or Patience()
        self.progress = progress
        self.interruption = Interruption()
        self.title = ""
        self._hello: Hello | None = None

    def __enter__(self) -> RemoteBoard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.transport.close()

    @property
    def name(self) -> str:
        """How the user calls it: its name in an inventory, else its address."""
        return self.title or self.transport.name

    def hello(self) -> Hello:
        """The board's name, folder and room; the agent is installed on the first call. Raises as `ask` does."""
        if self._hello is None:
            try:
                self._hello = self._ask("hello", Hello, {})
            except UnreachableError:
                # A board that was never reached is an error at once.
                raise
            except ConnectionLostError:
                self._hello = self.ask("hello", Hello)
        return self._hello

    def facts(self, paths: tuple[str, ...] = ()) -> Facts:
        """The board's facts for `dlaflow doctor`, and which of `paths` it has. Raises as `ask` does."""
        self.hello()
        return self.ask("facts", Facts, {"paths": list(paths)})

    def ask(self, command: str, kind: type[T], request: Mapping[str, object] | None = None) -> T:
        """One question with one line of answer; asked again after a broken connection, so it must bear repeating.

        Raises EnvironmentLacksError (ConnectionLostError once patience is at its end), UsageError or InputError.
        """
        return self.patiently(lambda: self._ask(command, kind, request or {}))

    def patiently(self, work: Callable[[], T], heard: Callable[[], float] | None = None) -> T:
        """Do `work` again while the connection breaks, until the board was away for `patience.reconnect` seconds.

        `heard` returns when the board last gave a sign of life (monotonic seconds) while `work` went on.
        """
        away: float | None = None
        pause = _SHORTEST_PAUSE
        while True:
            try:
                return work()
            except ConnectionLostError:
                now = time.monotonic()
                if away is None or (heard is not None and heard() > away):
                    away, pause = now, _SHORTEST_PAUSE
                if now + pause > away + self.patience.reconnect:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def events(self, job: str, offset: int) -> Iterator[Event]:
        """The events of a job from an offset, until its end. Raises ConnectionLostError when the connection breaks."""
        with _Call(self, "follow", {"id": job, "offset": offset}) as call:
            for line in lines_of(call.channel, min(_SILENCE, self.patience.answer)):
                yield self._decode(line, Event)
        raise ConnectionLostError(f"the connection to {self.name} broke")

    def push(self, paths: Mapping[str, Path]) -> dict[str, str]:
        """Bring files onto the board, each once; returns name → hash.

        Raises InputError for a file that cannot be read, EnvironmentLacksError when the board has no room for them.
        """
        hashes = {name: sha256_of(path) for name, path in paths.items()}
        files = {hashes[name]: path for name, path in paths.items()}
        hello = self.hello()
        missing = self._missing(files)
        for _ in range(_PUSH_TRIES):
            if missing:
                wrong = self.patiently(partial(self._push, missing, rsync=hello.rsync))
                missing = {sha: missing[sha] for sha in wrong}
        if not missing:
            return hashes
        names = ", ".join(sorted(name for name, sha in hashes.items() if sha in missing))
        raise EnvironmentLacksError(f"{names} did not arrive whole on {self.name}", then="Is its disk in order?")

    def pull(self, state: JobState, names: tuple[str, ...], folder: Path) -> None:
        """Bring a job's files into `folder`, each checked by its hash.

        Raises InputError when the folder cannot be written, EnvironmentLacksError as `ask` does.
        """
        total = sum(state.outputs[name].bytes for name in names)
        with self.progress(f"pull from {self.name}", total, "bytes") as task:

            def rest() -> None:
                if left := _not_whole(state, names, folder):
                    self._pull(state.id, left, folder)
                    if broken := _not_whole(state, left, folder):
                        raise ConnectionLostError(f"{broken[0]} did not arrive whole from {self.name}")

            self.patiently(rest)
            task.advance(total)

    def _missing(self, files: Mapping[str, Path]) -> dict[str, Path]:
        have = self.ask("have", Have, {"files": sorted(files)})
        missing = {sha: files[sha] for sha in have.missing}
        wanted = sum(path.stat().st_size for path in missing.values())
        if missing and have.free < wanted + _MARGIN:
            raise EnvironmentLacksError(
                f"{self.name} has too little room",
                expected=f"{(wanted + _MARGIN) / 1e6:.0f} MB free",
                received=f"{have.free / 1e6:.0f} MB",
                then="Free some space there: `dlaflow remote BOARD clean`.",
            )
        return missing

    def _push(self, missing: Mapping[str, Path], *, rsync: bool) -> tuple[str, ...]:
        """Send the files; returns those that did not arrive whole."""
        total = sum(path.stat().st_size for path in missing.values())
        with self.progress(f"push to {self.name}", total, "bytes") as task:
            self.transport.push(missing, task, rsync=rsync)
        return self._ask("adopt", Adopted, {"files": sorted(missing)}).wrong

    def _ask(self, command: str, kind: type[T], request: Mapping[str, object]) -> T:
        for install in (True, False):
            with _Call(self, command, request) as call:
                call.channel.end_input()
                line = next(lines_of(call.channel, self.patience.answer), None)
            if line is not None:
                return self._decode(line, kind)
            if not install or "agent-" not in call.complaint:
                raise call.lost()
            self.transport.install()
        raise call.lost()

    def _pull(self, job: str, names: tuple[str, ...], folder: Path) -> None:
        with _Call(self, "send", {"id": job, "names": list(names)}) as call:
            call.channel.end_input()
            stream = cast("IO[bytes]", _Stream(call.channel, self.patience.answer))
            try:
                with tarfile.open(fileobj=stream, mode="r|") as tar:
                    for member in tar:
                        source = tar.extractfile(member) if member.isfile() and member.name in names else None
                        if source is None:
                            raise EnvironmentLacksError(f"{self.name} sent something else: {member.name!r}")
                        with (folder / member.name).open("wb") as target:
                            while chunk := source.read(_CHUNK):
                                target.write(chunk)
            except (tarfile.TarError, EOFError):
                raise call.lost() from None
            except OSError as error:
                raise InputError(f"cannot write into {folder}: {error.strerror}", then="Free some space.") from None

    def _decode(self, line: bytes, kind: type[T]) -> T:
        try:
            refusal = msgspec.json.decode(line, type=AgentRefusal)
            if refusal.error:
                raise refused(self.name, refusal)
            return msgspec.json.decode(line, type=kind)
        except msgspec.DecodeError as error:
            text = line[:200].decode(errors="replace")
            raise EnvironmentLacksError(
                f"{self.name} answers something else: {text!r} ({error})",
                then="Does its login shell print something? It must be silent for commands.",
            ) from None


class _Call:
    """A call that is surely closed; afterwards it has the exit code and what stood on stderr."""

    def __init__(self, board: RemoteBoard, command: str, request: Mapping[str, object]) -> None:
        self._board = board
        self.channel = board.transport.call(command, msgspec.json.encode(request))
        self.complaint = ""
        self.code = 0

    def __enter__(self) -> _Call:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.code = self.channel.close()
        self.complaint = self.channel.complaint()

    def lost(self) -> DlaflowError:
        """The error for a call without an answer."""
        known = self._board.transport.diagnose(self.complaint)
        if known is not None:
            return known
        reason = last_line(self.complaint)
        if self.code == 127 or "python3: not found" in reason:
            return EnvironmentLacksError(f"{self._board.name} has no python3", then="Install it on the board.")
        if "SyntaxError" in reason:
            return EnvironmentLacksError(
                f"the Python of {self._board.name} is too old: {reason}", expected="3.8 or later"
            )
        return ConnectionLostError(f"the connection to {self._board.name} broke" + (f": {reason}" if reason else ""))


@dataclass(frozen=True, slots=True)
class _Stream:
    """A channel as tarfile reads a stream: piece by piece, whatever their size."""

    channel: Channel
    timeout: float

    def read(self, size: int, /) -> bytes:
        return self.channel.read(self.timeout)


def refused(name: str, refusal: AgentRefusal) -> DlaflowError:
    """The agent's refusal as an exception."""
    if refusal.error == "disk_full":
        return full_disk(name, f" ({refusal.text})")
    if refusal.error == "unknown_job":
        return UsageError(f"{name}: {refusal.text}", then="`dlaflow remote BOARD jobs` lists them.")
    if refusal.error in {"missing", "clocks", "system"}:
        then = "`dlaflow remote BOARD doctor` tells what is there."
        return EnvironmentLacksError(f"{name}: {refusal.text}", then=then)
    return UsageError(f"the agent on {name} refused: {refusal.text}")


def _not_whole(state: JobState, names: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """The files in `folder` that differ from what the job left, by size or hash."""

    def is_whole(path: Path, mark: OutputMark) -> bool:
        return path.is_file() and path.stat().st_size == mark.bytes and sha256_of(path) == mark.sha256

    return tuple(name for name in names if not is_whole(folder / name, state.outputs[name]))
