"""How a board is reached: calls of the agent, and the ways to make them; `local` is this machine as a board."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tarfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from dlaflow.errors import DlaflowError, EnvironmentLacksError
from dlaflow.process import Tail, end, start
from dlaflow.progress import Task
from dlaflow.remote.bundle import agent_bundle

DEFAULT_ROOT = ".dlaflow"
_INSTALL_SECONDS = 60.0
_END_SECONDS = 5.0
_TAKE_SECONDS = 60.0
"""The board must take each piece of what it is sent in this time."""
_CHUNK = 1 << 18
LONGEST_LINE = 8 << 20
"""The list of 3,000 jobs takes one MiB."""
SLOWEST = 64 << 10
"""Bytes a second that files must travel at least."""
_MOST_COMPLAINTS = 16 << 20
_LONGEST_REASON = 300

# Written for Python 3.5 and for any login shell: no quotes, dollars or exclamation marks outside of the quoting.
INSTALLER = (
    "import hashlib,os,sys;r,n,s=sys.argv[1:4];d=sys.stdin.buffer.read();"
    "hashlib.sha256(d).hexdigest()==s or sys.exit(9);os.umask(63);os.makedirs(r,exist_ok=True);os.chmod(r,448);"
    "t=os.path.join(r,n+str(os.getpid()));f=open(t,chr(119)+chr(98));f.write(d);f.close();os.replace(t,os.path.join(r,n))"
)


class ConnectionLostError(EnvironmentLacksError):
    """The connection broke, or the other side is silent. What runs on the board goes on there."""


class UnreachableError(ConnectionLostError):
    """The board was never reached, and ssh gives the reason: no use in waiting for it."""


class OverlongError(EnvironmentLacksError):
    """An answer without end: it passed its limit of time or bytes. No use in asking again."""


class Channel:
    """A call that is under way; this one is connected to nothing."""

    def write(self, data: bytes) -> None:
        """Send to the agent's stdin. Raises ConnectionLostError, also when the board takes nothing for a minute."""

    def end_input(self) -> None:
        """Close the agent's stdin."""

    def read(self, timeout: float) -> bytes:
        """What comes next, empty at the end. Raises ConnectionLostError after `timeout` seconds of silence."""
        return b""

    def close(self) -> int:
        """End the call and return its exit code."""
        return 0

    def complaint(self) -> str:
        """The last 64 KiB that the transport wrote to stderr so far."""
        return ""


class ProcessChannel(Channel):
    """A call through a process (ssh, or Python itself), in a session of its own: Ctrl-C reaches the host alone."""

    def __init__(self, command: Sequence[str]) -> None:
        self._child = start(command, stdin=subprocess.PIPE)
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._stdin, self._stdout, self._stderr = self._child.stdin, self._child.stdout, self._child.stderr
        self._complaint = Tail(self._stderr)
        os.set_blocking(self._stdin.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stderr, selectors.EVENT_READ)

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                self._await(self._stdin, selectors.EVENT_WRITE, _TAKE_SECONDS)
                with suppress(BlockingIOError):
                    left = left[os.write(self._stdin.fileno(), left) :]
        except (BrokenPipeError, ValueError):
            raise ConnectionLostError("the connection to the board broke while sending") from None

    def end_input(self) -> None:
        with suppress(BrokenPipeError):
            self._stdin.close()

    def read(self, timeout: float) -> bytes:
        self._await(self._stdout, selectors.EVENT_READ, timeout)
        return os.read(self._stdout.fileno(), _CHUNK)

    def close(self) -> int:
        self.end_input()
        if self._child.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(_END_SECONDS if self._at_end() else 0.05)
        if self._stderr.fileno() in self._selector.get_map():
            self._complaint.drain()
        self._selector.close()
        end(self._child, grace=0)
        return self._child.returncode

    def complaint(self) -> str:
        return self._complaint.text()

    def _await(self, stream: IO[bytes], event: int, seconds: float) -> None:
        """Until `stream` is ready. Meanwhile stderr is emptied, else a board that complains much could not go on."""
        ends = time.monotonic() + seconds
        self._selector.register(stream, event)
        try:
            while True:
                ready = [key.fileobj for key, _ in self._selector.select(max(0.0, ends - time.monotonic()))]
                if self._stderr in ready and not self._complaint.drain():
                    self._selector.unregister(self._stderr)
                if self._complaint.count > _MOST_COMPLAINTS:
                    raise OverlongError("the board complains without end", expected=_at_most(_MOST_COMPLAINTS))
                if stream in ready:
                    return
                if time.monotonic() >= ends:
                    raise ConnectionLostError("the board is silent", expected=f"an answer within {seconds:.0f} s")
        finally:
            self._selector.unregister(stream)

    def _at_end(self) -> bool:
        with suppress(EnvironmentLacksError):
            return not self.read(0)
        return False


class Budget:
    """What an answer may take in all, over several connections too: seconds from now on, and bytes."""

    def __init__(self, seconds: float, size: int) -> None:
        self.seconds, self.size = seconds, size
        self._ends, self._left = time.monotonic() + seconds, size

    def left(self) -> float:
        """The seconds that are left. Raises OverlongError."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise OverlongError("the board's answer does not end", expected=f"its end within {self.seconds:.0f} s")
        return left

    def take(self, count: int) -> None:
        """Count bytes. Raises OverlongError."""
        self._left -= count
        if self._left < 0:
            raise OverlongError("the board's answer does not end", expected=_at_most(self.size))


class Answer:
    """What comes out of a channel, within a budget; `silence` is the longest pause in it, in seconds.

    `heard` is called with each piece.
    """

    def __init__(
        self, channel: Channel, budget: Budget, silence: float, heard: Callable[[], None] = lambda: None
    ) -> None:
        self._channel = channel
        self._budget = budget
        self._silence = silence
        self._note = heard
        self._rest = b""
        self._heard = False

    def read(self, most: int = _CHUNK) -> bytes:
        """What comes next, at most so many bytes; empty at the end. Raises ConnectionLostError or OverlongError."""
        chunk = self._rest
        if not chunk:
            left = self._budget.left()
            try:
                chunk = self._channel.read(min(left, self._silence))
            except ConnectionLostError:
                # A board that says nothing at all may be asked again; one that drips may not.
                if self._heard:
                    self._budget.left()
                raise
            self._heard = True
            self._note()
        self._budget.take(min(len(chunk), most))
        self._rest = chunk[most:]
        return chunk[:most]

    def exactly(self, count: int) -> bytes:
        """So many bytes. Raises EOFError when the answer ends before."""
        kept = bytearray()
        while len(kept) < count:
            chunk = self.read(count - len(kept))
            if not chunk:
                raise EOFError
            kept += chunk
        return bytes(kept)

    def lines(self) -> Iterator[bytes]:
        """Whole lines until the end; a half line at the end is dropped: the connection was cut in it.

        Raises as `read` does, and OverlongError for a line of more than 8 MiB.
        """
        kept = bytearray()
        while chunk := self.read():
            *whole, rest = chunk.split(b"\n")
            for line in whole:
                yield bytes(kept) + line
                kept.clear()
            kept += rest
            if len(kept) > LONGEST_LINE:
                raise OverlongError("the board sends a line without end", expected=_at_most(LONGEST_LINE))


def _at_most(size: int) -> str:
    return f"at most {size >> 20} MiB" if size >= 1 << 20 else f"at most {size} bytes"


class Transport(ABC):
    """A way to one board. `name` is how the user calls it; `sent` counts the bytes that went to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent = 0

    @abstractmethod
    def call(self, command: str, request: bytes) -> Channel:
        """Start the agent with a request (one line of JSON).

        Raises ConnectionLostError or EnvironmentLacksError.
        """

    @abstractmethod
    def install(self) -> None:
        """Put the agent on the board."""

    @abstractmethod
    def push(self, files: Mapping[str, Path], task: Task, *, rsync: bool) -> None:
        """Send files into `incoming`, each under its hash; `rsync`: the board has it."""

    def diagnose(self, complaint: str) -> DlaflowError | None:
        """The error that no second try can mend (a changed host key, a refused login); None for any other."""
        return None

    def close(self) -> None:
        """Give connections back."""
        return


class ProcessTransport(Transport):
    """Every call is a process on this computer. `root` is the agent's folder on the board."""

    def __init__(self, name: str, root: str) -> None:
        super().__init__(name)
        self.root = root

    @abstractmethod
    def python(self, *arguments: str) -> ProcessChannel:
        """Start the board's Python with these arguments."""

    def call(self, command: str, request: bytes) -> Channel:
        channel = self.python(f"{self.root}/{agent_bundle().name}", command)
        channel.write(request + b"\n")
        self.sent += len(request) + 1
        return channel

    def install(self) -> None:
        """Feed the installer. Raises ConnectionLostError, or EnvironmentLacksError with the board's message."""
        agent = agent_bundle()
        channel = self.python("-c", INSTALLER, self.root, agent.name, agent.sha256)
        try:
            channel.write(agent.content)
            channel.end_input()
            self.sent += len(agent.content)
            answer = Answer(channel, Budget(_INSTALL_SECONDS, LONGEST_LINE), _INSTALL_SECONDS)
            while answer.read():
                pass
        finally:
            code = channel.close()
        reason = last_line(channel.complaint())
        if code == 255:
            raise ConnectionLostError(f"cannot reach {self.name}: {reason}")
        if code != 0:
            raise EnvironmentLacksError(
                f"cannot put dlaflow's agent on {self.name}: {reason or f'code {code}'}",
                then="The board needs python3 and a home folder that can be written.",
            )

    def push(self, files: Mapping[str, Path], task: Task, *, rsync: bool) -> None:
        """Send files as one tar on the agent's stdin. Raises ConnectionLostError, or EnvironmentLacksError."""
        channel = self.call("receive", b"{}")
        try:
            for sha, path in files.items():
                self._send_member(channel, sha, path, task)
            channel.write(b"\0" * tarfile.BLOCKSIZE * 2)
            channel.end_input()
            budget = Budget(_INSTALL_SECONDS, LONGEST_LINE)
            answer = next(Answer(channel, budget, _INSTALL_SECONDS).lines(), b"")
        except ConnectionLostError:
            # A full disk ends the agent before it has read everything; its answer is the better reason.
            answer = b""
            with suppress(ConnectionLostError):
                answer = channel.read(5.0)
            if b'"error"' not in answer:
                raise
        finally:
            channel.close()
        if b'"disk_full"' in answer:
            raise full_disk(self.name)
        if b'"received"' not in answer:
            text = answer.decode(errors="replace")[:300]
            raise ConnectionLostError(f"the push to {self.name} did not end: {text}")

    def _send_member(self, channel: Channel, sha: str, path: Path, task: Task) -> None:
        size = path.stat().st_size
        member = tarfile.TarInfo(sha)
        member.size, member.mode = size, 0o600
        channel.write(member.tobuf())
        left = size
        with path.open("rb") as file:
            while left and (chunk := file.read(min(_CHUNK, left))):
                channel.write(chunk)
                left -= len(chunk)
                self.sent += len(chunk)
                task.advance(len(chunk))
        # A file that shrank meanwhile still fills its place; its hash will be wrong and it is sent again.
        channel.write(b"\0" * (left + (-size % tarfile.BLOCKSIZE)))


class LocalTransport(ProcessTransport):
    """This machine as the board: the same agent, started as a process."""

    def __init__(self, root: Path) -> None:
        super().__init__("local", str(root))

    def python(self, *arguments: str) -> ProcessChannel:
        return ProcessChannel([sys.executable, *arguments])


def full_disk(name: str, detail: str = "") -> EnvironmentLacksError:
    """The error for a board without room."""
    return EnvironmentLacksError(
        f"the disk of {name} is full{detail}", then="Free some space there: `dlaflow remote BOARD clean`."
    )


def last_line(text: str) -> str:
    """The last line that is not empty, as long as a reason may be."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")[:_LONGEST_REASON]
