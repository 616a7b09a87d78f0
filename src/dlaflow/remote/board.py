"""One board: the agent put there, files pushed once, calls that survive a broken connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec

from dlaflow.errors import DlaflowError, EnvironmentLacksError, UsageError
from dlaflow.files import sha256_of
from dlaflow.progress import Interruption, Progress, silent
from dlaflow.remote.receive import OutputFolder, receive
from dlaflow.remote.records import Adopted, AgentRefusal, Event, Facts, Have, Hello, JobState, OutputMark
from dlaflow.remote.transport import (
    LONGEST_LINE,
    SLOWEST,
    Answer,
    Budget,
    ConnectionLostError,
    Transport,
    UnreachableError,
    full_disk,
    last_line,
)

_MARGIN = 64 << 20
"""Bytes that stay free on the board: for logs, engines and the board itself."""
_PUSH_TRIES = 3
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_SILENCE = 30.0
"""The agent gives a sign of life every 2 seconds while a job is followed."""
_LONG_ANSWERS = {"facts": 4, "clean": 4}
"""Commands that start many programs or delete much, and how many times longer they may take than others."""
_FRAME = 16 << 10
"""Bytes that tar may add: to each file, and at the end."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """Time-outs in seconds: `answer` for one whole answer, `reconnect` for a lost board, `busy` for a board in use.

    `reconnect` is the time without the board in all, since the work last went on: see `RemoteBoard.patiently`.
    """

    answer: float = 30.0
    reconnect: float = 180.0
    busy: float = 0.0


class Life:
    """What is heard of a board while work goes on: signs of life, and whether the work got on."""

    def __init__(self) -> None:
        self.progressed = False
        self._heard: tuple[float, float] | None = None

    def sign(self) -> None:
        """The board was heard now."""
        now = time.monotonic()
        self._heard = (self._heard[0] if self._heard else now, now)

    def progress(self) -> None:
        """The work got on: there is less left than there ever was."""
        self.progressed = True

    def connected(self) -> float:
        """The seconds between the first and the last sign of life since the last call, which is forgotten."""
        first, last = self._heard or (0.0, 0.0)
        self._heard = None
        return last - first


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
            # A board that was never reached is an error at once.
            self._hello = self.patiently(partial(self._ask, "hello", Hello, {}), hopeless=UnreachableError)
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

    def patiently(
        self, work: Callable[[], T], life: Life | None = None, hopeless: type[Exception] | tuple[()] = ()
    ) -> T:
        """Do `work` again while the connection breaks, until the board was away for `patience.reconnect` seconds.

        Time away is the time without a sign of life: pauses, logins, silence before a break. It adds up over all breaks
        until the work gets on (`life.progress`): a board that answers and breaks in turn is given up as well, one whose
        work gets on never, however often it breaks. `hopeless` errors end it at once.
        """
        life = life or Life()
        away, pause = 0.0, _SHORTEST_PAUSE
        while True:
            begun = time.monotonic()
            try:
                return work()
            except hopeless:
                raise
            except ConnectionLostError:
                lasted, connected = time.monotonic() - begun, life.connected()
                if life.progressed:
                    away, pause, life.progressed = 0.0, _SHORTEST_PAUSE, False
                away += lasted - connected + pause
                if away > self.patience.reconnect:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def events(self, job: str, offset: int, budget: Budget) -> Iterator[Event]:
        """The events of a job from an offset, until its end. Raises ConnectionLostError when the connection breaks."""
        with _Call(self, "follow", {"id": job, "offset": offset}) as call:
            for line in call.answer(budget, min(_SILENCE, self.patience.answer)).lines():
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

        Raises InputError when the folder cannot be written, EnvironmentLacksError as `ask` does, for more than the host
        has room for, and for files that are not as the job's state announces them.
        """
        wanted = {name: state.outputs[name] for name in names}
        with OutputFolder(folder) as target:
            total = target.require_room(wanted, self.name)
            with self.progress(f"pull from {self.name}", total, "bytes") as task:
                left = {name: mark for name, mark in wanted.items() if not target.holds(name, mark)}
                life = Life()

                def rest() -> None:
                    for name in self._pull(state.id, left, target, life):
                        task.advance(left.pop(name).bytes)
                        life.progress()

                if left:
                    self.patiently(rest, life)

    def _missing(self, files: Mapping[str, Path]) -> dict[str, Path]:
        have = self.ask("have", Have, {"files": sorted(files)})
        missing = {sha: files[sha] for sha in self._known(have.missing, files)}
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
        return self._known(self._ask("adopt", Adopted, {"files": sorted(missing)}, total).wrong, missing)

    def _known(self, hashes: tuple[str, ...], files: Mapping[str, Path]) -> tuple[str, ...]:
        """Hashes that the board speaks of, when they are ones of the files that it was asked about."""
        stranger = next((sha for sha in hashes if sha not in files), None)
        if stranger:
            raise EnvironmentLacksError(f"{self.name} asks for a file that nobody offered: {stranger[:12]}")
        return hashes

    def _ask(self, command: str, kind: type[T], request: Mapping[str, object], handled: int = 0) -> T:
        """One try. `handled` bytes are read by the board for this answer, which takes it longer."""
        seconds = self.patience.answer * _LONG_ANSWERS.get(command, 1) + handled / SLOWEST
        for install in (True, False):
            with _Call(self, command, request) as call:
                call.channel.end_input()
                line = next(call.answer(Budget(seconds, LONGEST_LINE), seconds).lines(), None)
            if line is not None:
                return self._decode(line, kind)
            if not install or "agent-" not in call.complaint:
                raise call.lost()
            self.transport.install()
        raise call.lost()

    def _pull(self, job: str, left: Mapping[str, OutputMark], folder: OutputFolder, life: Life) -> Iterator[str]:
        total, files = sum(mark.bytes for mark in left.values()), dict(left)
        budget = Budget(self.patience.answer + total / SLOWEST, total + _FRAME * (len(files) + 1))
        with _Call(self, "send", {"id": job, "names": list(files)}) as call:
            call.channel.end_input()
            try:
                yield from receive(call.answer(budget, self.patience.answer, life.sign), files, folder, self.name)
                return
            except EOFError:
                pass
        raise call.lost()

    def _decode(self, line: bytes, kind: type[T]) -> T:
        try:
            refusal = msgspec.json.decode(line, type=AgentRefusal)
            if refusal.error:
                raise refused(self.name, refusal)
            return msgspec.json.decode(line, type=kind)
        except msgspec.ValidationError as error:
            raise EnvironmentLacksError(
                f"{self.name} answers what no agent of dlaflow does: {error}", then="Nothing was taken from it."
            ) from None
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
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

    def answer(self, budget: Budget, silence: float, heard: Callable[[], None] = lambda: None) -> Answer:
        """What the board says to it."""
        return Answer(self.channel, budget, silence, heard)

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


def refused(name: str, refusal: AgentRefusal) -> DlaflowError:
    """The agent's refusal as an exception."""
    text = last_line(refusal.text)
    if refusal.error == "disk_full":
        return full_disk(name, f" ({text})")
    if refusal.error == "unknown_job":
        return UsageError(f"{name}: {text}", then="`dlaflow remote BOARD jobs` lists them.")
    if refusal.error in {"missing", "clocks", "system"}:
        then = "`dlaflow remote BOARD doctor` tells what is there."
        return EnvironmentLacksError(f"{name}: {text}", then=then)
    return UsageError(f"the agent on {name} refused: {text}")
