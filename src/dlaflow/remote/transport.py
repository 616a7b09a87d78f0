"""How a board is reached: the interface, and this machine as a board of its own (`local`)."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from dlaflow.errors import DlaflowError, EnvironmentLacksError
from dlaflow.progress import Task
from dlaflow.remote.bundle import Bundle
from dlaflow.remote.channel import Channel, ConnectionLostError, ProcessChannel, lines_of

DEFAULT_ROOT = ".dlaflow"
_INSTALL_SECONDS = 60.0
_CHUNK = 1 << 18

# Written for Python 3.5 and for any login shell: no quotes, dollars or exclamation marks outside of the quoting.
INSTALLER = (
    "import hashlib,os,sys;r,n,s=sys.argv[1:4];d=sys.stdin.buffer.read();"
    "hashlib.sha256(d).hexdigest()==s or sys.exit(9);os.umask(63);os.makedirs(r,exist_ok=True);os.chmod(r,448);"
    "t=os.path.join(r,n+str(os.getpid()));f=open(t,chr(119)+chr(98));f.write(d);f.close();os.replace(t,os.path.join(r,n))"
)


class Transport(Protocol):
    """A way to one board. `name` is how the user calls it; `sent` counts the bytes that went to it."""

    name: str
    sent: int

    def call(self, agent: Bundle, command: str, request: bytes) -> Channel:
        """Start the agent with a request (one line of JSON).

        Raises ConnectionLostError or EnvironmentLacksError.
        """

    def install(self, agent: Bundle) -> None:
        """Put the agent on the board."""

    def push(self, agent: Bundle, files: Mapping[str, Path], task: Task, *, rsync: bool) -> None:
        """Send files into `incoming`, each under its hash; `rsync` tells whether the board has it."""

    def diagnose(self, complaint: str) -> DlaflowError | None:
        """The error that no second try can mend (a changed host key, a refused login); None for any other."""

    def close(self) -> None:
        """Give connections back."""


class LocalTransport:
    """This machine as the board: the same agent, started as a process. `root` is the agent's folder."""

    def __init__(self, root: Path) -> None:
        self.name = "local"
        self.sent = 0
        self._root = root

    def call(self, agent: Bundle, command: str, request: bytes) -> Channel:
        """See Transport."""
        channel = ProcessChannel([sys.executable, str(self._root / agent.name), command])
        return begin(channel, request, self)

    def install(self, agent: Bundle) -> None:
        """See Transport."""
        command = [sys.executable, "-c", INSTALLER, str(self._root), agent.name, agent.sha256]
        install_through(ProcessChannel(command), agent, self)

    def push(self, agent: Bundle, files: Mapping[str, Path], task: Task, *, rsync: bool) -> None:
        """See Transport."""
        push_as_tar(self, agent, files, task)

    def diagnose(self, complaint: str) -> DlaflowError | None:
        """See Transport."""
        return None

    def close(self) -> None:
        """See Transport."""


def begin(channel: Channel, request: bytes, transport: Transport) -> Channel:
    """Send the request line."""
    channel.write(request + b"\n")
    transport.sent += len(request) + 1
    return channel


def install_through(channel: Channel, agent: Bundle, transport: Transport) -> None:
    """Feed the installer. Raises ConnectionLostError, or EnvironmentLacksError with what the board says."""
    try:
        channel.write(agent.content)
        channel.end_input()
        transport.sent += len(agent.content)
        while channel.read(_INSTALL_SECONDS):
            pass
    finally:
        code = channel.close()
    if code == 255:
        raise ConnectionLostError(f"cannot reach {transport.name}: {last_line(channel.complaint())}")
    if code != 0:
        raise EnvironmentLacksError(
            f"cannot put dlaflow's agent on {transport.name}: {last_line(channel.complaint()) or f'code {code}'}",
            then="The board needs python3 and a home folder that can be written.",
        )


def push_as_tar(transport: Transport, agent: Bundle, files: Mapping[str, Path], task: Task) -> None:
    """Send files as one tar on the agent's stdin. Raises ConnectionLostError; a refusal is the caller's to read."""
    channel = transport.call(agent, "receive", b"{}")
    try:
        for sha, path in files.items():
            _send_member(channel, sha, path, transport, task)
        channel.write(b"\0" * tarfile.BLOCKSIZE * 2)
        channel.end_input()
        answer = b"".join(lines_of(channel, _INSTALL_SECONDS))
    except ConnectionLostError:
        # A full disk ends the agent before it has read everything; what it said is the better reason.
        answer = _last_words(channel)
        if b'"error"' not in answer:
            raise
    finally:
        channel.close()
    if b'"disk_full"' in answer:
        raise EnvironmentLacksError(
            f"the disk of {transport.name} is full", then="Free some space there: `dlaflow remote BOARD clean`."
        )
    if b'"received"' not in answer:
        raise ConnectionLostError(f"the push to {transport.name} did not end: {answer.decode(errors='replace')[:300]}")


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _send_member(channel: Channel, sha: str, path: Path, transport: Transport, task: Task) -> None:
    size = path.stat().st_size
    member = tarfile.TarInfo(sha)
    member.size, member.mode = size, 0o600
    channel.write(member.tobuf())
    left = size
    with path.open("rb") as file:
        while left and (chunk := file.read(min(_CHUNK, left))):
            channel.write(chunk)
            left -= len(chunk)
            transport.sent += len(chunk)
            task.advance(len(chunk))
    # A file that shrank meanwhile still fills its place; its hash will be wrong and it is sent again.
    padding = left + (-size % tarfile.BLOCKSIZE)
    channel.write(io.BytesIO(b"\0" * padding).getvalue())


def _last_words(channel: Channel) -> bytes:
    try:
        return channel.read(5.0)
    except ConnectionLostError:
        return b""
