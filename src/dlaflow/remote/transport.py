"""How a board is reached: the interface, and this machine as a board of its own (`local`)."""

from __future__ import annotations

import sys
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

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


class Transport(ABC):
    """A way to one board. `name` is how the user calls it; `sent` counts the bytes that went to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sent = 0

    @abstractmethod
    def call(self, agent: Bundle, command: str, request: bytes) -> Channel:
        """Start the agent with a request (one line of JSON).

        Raises ConnectionLostError or EnvironmentLacksError.
        """

    @abstractmethod
    def install(self, agent: Bundle) -> None:
        """Put the agent on the board."""

    @abstractmethod
    def push(self, agent: Bundle, files: Mapping[str, Path], task: Task, *, rsync: bool) -> None:
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
    def python(self, *words: str) -> ProcessChannel:
        """Start the board's Python with these arguments."""

    def call(self, agent: Bundle, command: str, request: bytes) -> Channel:
        channel = self.python(f"{self.root}/{agent.name}", command)
        channel.write(request + b"\n")
        self.sent += len(request) + 1
        return channel

    def install(self, agent: Bundle) -> None:
        """Feed the installer. Raises ConnectionLostError, or EnvironmentLacksError with the board's message."""
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

    def push(self, agent: Bundle, files: Mapping[str, Path], task: Task, *, rsync: bool) -> None:
        """Send files as one tar on the agent's stdin. Raises ConnectionLostError, or EnvironmentLacksError."""
        channel = self.call(agent, "receive", b"{}")
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

    def python(self, *words: str) -> ProcessChannel:
        return ProcessChannel([sys.executable, *words])


def full_disk(name: str, detail: str = "") -> EnvironmentLacksError:
    """The error for a board without room."""
    return EnvironmentLacksError(
        f"the disk of {name} is full{detail}", then="Free some space there: `dlaflow remote BOARD clean`."
    )


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
