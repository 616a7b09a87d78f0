"""How a board is reached: calls of the agent, and the ways to make them; `local` is this machine as a board."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tarfile
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dlaflow.errors import DlaflowError, EnvironmentLacksError
from dlaflow.progress import Task
from dlaflow.remote.bundle import agent_bundle

DEFAULT_ROOT = ".dlaflow"
_INSTALL_SECONDS = 60.0
_END_SECONDS = 5.0
_CHUNK = 1 << 18

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


class Channel:
    """A call that is under way; this one is connected to nothing."""

    def write(self, data: bytes) -> None:
        """Send to the agent's stdin. Raises ConnectionLostError."""

    def end_input(self) -> None:
        """Close the agent's stdin."""

    def read(self, timeout: float) -> bytes:
        """What comes next, empty at the end. Raises ConnectionLostError after `timeout` seconds of silence."""
        return b""

    def close(self) -> int:
        """End the call and return its exit code."""
        return 0

    def complaint(self) -> str:
        """What the transport wrote to stderr so far."""
        return ""


class ProcessChannel(Channel):
    """A call through a process (ssh, or Python itself), in a session of its own: Ctrl-C reaches the host alone."""

    def __init__(self, command: Sequence[str]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._complaint = ""
        try:
            self._child = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise EnvironmentLacksError(f"cannot start {command[0]}: {error.strerror}") from None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._stdin, self._stdout = self._child.stdin, self._child.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)

    def write(self, data: bytes) -> None:
        try:
            self._stdin.write(data)
            self._stdin.flush()
        except (BrokenPipeError, ValueError):
            raise ConnectionLostError("the connection to the board broke while sending") from None

    def end_input(self) -> None:
        with suppress(BrokenPipeError):
            self._stdin.close()

    def read(self, timeout: float) -> bytes:
        if not self._selector.select(timeout):
            raise ConnectionLostError("the board is silent", expected=f"an answer within {timeout:g} s")
        return os.read(self._stdout.fileno(), _CHUNK)

    def close(self) -> int:
        self.end_input()
        if self._child.poll() is None:
            try:
                self._child.wait(_END_SECONDS if self._at_end() else 0.05)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._selector.close()
        self._stdout.close()
        self._complaint = self.complaint()
        self._stderr.close()
        return self._child.returncode

    def complaint(self) -> str:
        if self._stderr.closed:
            return self._complaint
        self._stderr.seek(0)
        return self._stderr.read().decode("utf-8", errors="replace").strip()

    def _at_end(self) -> bool:
        return bool(self._selector.select(0)) and not os.read(self._stdout.fileno(), 1)


def lines_of(channel: Channel, timeout: float) -> Iterator[bytes]:
    """Whole lines until the end; a half line at the end is dropped: the connection was cut in it.

    Raises ConnectionLostError after `timeout` seconds of silence.
    """
    kept = b""
    while chunk := channel.read(timeout):
        *whole, kept = (kept + chunk).split(b"\n")
        yield from whole


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
            while channel.read(_INSTALL_SECONDS):
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
            answer = b"".join(lines_of(channel, _INSTALL_SECONDS))
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
    """The last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
