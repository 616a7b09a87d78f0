"""A board without a board: what one answered is recorded in a folder, and answered again in the same order.

A recording holds the agent's answers, byte for byte: `calls.jsonl` names them in order, `N.bin` holds them. A job is
answered only when it is the recorded one; another job would get another job's numbers.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from dlaflow.errors import DlaflowError, InputError
from dlaflow.files import atomic_path
from dlaflow.progress import Task
from dlaflow.remote.records import BoardJob
from dlaflow.remote.transport import Channel, Transport

_CALLS = "calls.jsonl"


class RecordedCall(msgspec.Struct, frozen=True):
    """One call: the agent's command, what identifies its request, the file with the answer."""

    command: str
    request: str
    answer: Annotated[str, msgspec.Meta(pattern=r"\A\d{1,9}\.bin\Z")]


class _StartRequest(msgspec.Struct, frozen=True):
    job: BoardJob


class ReplayTransport(Transport):
    """Answers from a recording. The nth call of a command gets the nth recorded answer, the last one again after it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"replay:{folder}")
        self._folder = folder
        try:
            lines = (folder / _CALLS).read_bytes().splitlines()
            self._calls = [msgspec.json.decode(line, type=RecordedCall) for line in lines]
        except OSError as error:
            raise InputError(f"{folder} is no recording: {error.strerror}", then="Record one with --record.") from None
        except msgspec.DecodeError as error:
            raise InputError(f"{folder} is no recording: {error}", then="Record one with --record.") from None
        self._asked: Counter[str] = Counter()

    def call(self, command: str, request: bytes) -> Channel:
        """Answer from the recording. Raises InputError when it holds no such call."""
        known = [call for call in self._calls if call.command == command]
        mark = _identity(command, request)
        if command == "start":
            known = [call for call in known if call.request == mark]
        if not known:
            raise InputError(
                f"the recording {self._folder} holds another job"
                if command == "start"
                else "the recording is too short",
                expected=f"a recorded answer to {command!r} for the same files and options",
                then="Use the files and options that it was recorded with.",
            )
        place = min(self._asked[command], len(known) - 1)
        self._asked[command] += 1
        try:
            return _ReplayChannel((self._folder / known[place].answer).read_bytes())
        except OSError as error:
            raise InputError(
                f"cannot read {self._folder / known[place].answer}: {error.strerror}", then="Record it anew."
            ) from None

    def install(self) -> None:
        """Nothing to install."""

    def push(self, files: Mapping[str, Path], task: Task, *, rsync: bool) -> None:
        """Nobody takes the files."""
        for path in files.values():
            task.advance(path.stat().st_size)


class RecordingTransport(Transport):
    """Passes everything on to another transport and writes the answers down."""

    def __init__(self, inner: Transport, folder: Path) -> None:
        super().__init__(inner.name)
        self._inner = inner
        self._folder = folder
        self._count = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise InputError(f"{folder} is not empty", then="Name a new folder for the recording.")
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror}", then="Choose another folder.") from None

    def call(self, command: str, request: bytes) -> Channel:
        self._count += 1
        known = RecordedCall(command, _identity(command, request), f"{self._count}.bin")
        return _RecordingChannel(self._inner.call(command, request), self._folder, known)

    def install(self) -> None:
        self._inner.install()

    def push(self, files: Mapping[str, Path], task: Task, *, rsync: bool) -> None:
        self._inner.push(files, task, rsync=rsync)

    def diagnose(self, complaint: str) -> DlaflowError | None:
        return self._inner.diagnose(complaint)

    def close(self) -> None:
        self._inner.close()


def _identity(command: str, request: bytes) -> str:
    """What makes a request the same one: a job without its random id, its host and its title."""
    if command != "start":
        return ""
    job = msgspec.json.decode(request, type=_StartRequest).job
    body = (job.kind, job.files, job.phases, job.power, job.clocks)
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()


class _ReplayChannel(Channel):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def read(self, timeout: float) -> bytes:
        answer, self._answer = self._answer, b""
        return answer


class _RecordingChannel(Channel):
    """Keeps what is read and writes it down at the end; a call without an answer (a cut connection) is forgotten."""

    def __init__(self, inner: Channel, folder: Path, call: RecordedCall) -> None:
        self._inner = inner
        self._folder = folder
        self._call = call
        self._answer = tempfile.TemporaryFile()  # noqa: SIM115

    def write(self, data: bytes) -> None:
        self._inner.write(data)

    def end_input(self) -> None:
        self._inner.end_input()

    def complaint(self) -> str:
        return self._inner.complaint()

    def read(self, timeout: float) -> bytes:
        data = self._inner.read(timeout)
        self._answer.write(data)
        return data

    def close(self) -> int:
        code = self._inner.close()
        with self._answer:
            if self._answer.tell():
                self._keep()
        return code

    def _keep(self) -> None:
        self._answer.seek(0)
        with atomic_path(self._folder / self._call.answer) as path, path.open("wb") as file:
            shutil.copyfileobj(self._answer, file)
        with (self._folder / _CALLS).open("ab") as calls:
            calls.write(msgspec.json.encode(self._call) + b"\n")
