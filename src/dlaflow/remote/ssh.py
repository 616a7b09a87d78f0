"""A board over the system's OpenSSH: the user's own configuration, agent and jump hosts; host keys always checked.

One connection is opened and shared (a control socket in a private folder); it stays in the foreground of a process that
dies with dlaflow. When it breaks, the next call opens another.
Names of the user's files never reach a shell: files travel under their hash, and what is left is quoted.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from dlaflow.errors import DlaflowError, EnvironmentLacksError, UsageError
from dlaflow.process import Tail, end, start
from dlaflow.progress import Task
from dlaflow.remote.transport import (
    DEFAULT_ROOT,
    LONGEST_LINE,
    SLOWEST,
    Answer,
    Budget,
    ConnectionLostError,
    ProcessChannel,
    ProcessTransport,
    UnreachableError,
    full_disk,
    last_line,
)

_HOST = re.compile(r"(?:ssh://)?(?P<where>(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9_.][A-Za-z0-9._-]*)(?::(?P<port>\d{1,5}))?")
_ROOT = re.compile(r"[A-Za-z0-9._/-]+")
_CONNECT_SECONDS = 20
_ALIVE_SECONDS = 5
_ALIVE_COUNT = 4
_POLL_SECONDS = 0.02
_RSYNC_SECONDS = 60
_RSYNC_WORDS = 8 * LONGEST_LINE
"""Bytes that rsync may say of its progress: a line of 80 a second."""
_RSYNC_CUT = {10, 12, 20, 30, 35, 255}
_RSYNC_DISK = 11
_ASKING = threading.Lock()
"""Several boards at once must not ask the user at once."""
_CUT = re.compile(r"onnection (closed|reset)|Broken pipe")
_PERCENT = re.compile(rb"([\d,]{1,24})\s{1,9}\d{1,3}%")
_RSYNC_LINE = 256


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where to go: `user@host` or a name of the user's ssh configuration; `config` in place of ~/.ssh/config."""

    where: str
    port: int | None = None
    config: Path | None = None
    root: str = DEFAULT_ROOT

    @classmethod
    def parse(cls, text: str, *, config: Path | None = None, root: str = DEFAULT_ROOT) -> SshTarget:
        """Read `[user@]host[:port]`.

        Raises UsageError for anything that ssh could take for an option, or a shell for more than one argument.
        """
        match = _HOST.fullmatch(text)
        if match is None:
            raise UsageError("cannot read the board's address", expected="[USER@]HOST[:PORT]", received=repr(text))
        if not _ROOT.fullmatch(root) or root.startswith("-") or ".." in root.split("/"):
            raise UsageError("cannot use that folder on the board", expected="a plain path", received=repr(root))
        port = match.group("port")
        return cls(match.group("where"), int(port) if port else None, config, root)


class SshTransport(ProcessTransport):
    """A board behind the system's ssh. Files go by rsync where both sides have it: it goes on after a cut; else tar."""

    def __init__(self, target: SshTarget) -> None:
        super().__init__(target.where if target.port is None else f"{target.where}:{target.port}", target.root)
        self._target = target
        self._sockets = tempfile.TemporaryDirectory(prefix="dlaflow-", ignore_cleanup_errors=True)
        self._master: subprocess.Popen[bytes] | None = None
        if shutil.which("ssh") is None:
            raise EnvironmentLacksError("ssh is not on this computer", then="Install OpenSSH's client.")

    def python(self, *arguments: str) -> ProcessChannel:
        self._connect()
        command = ["ssh", *self._options(), "-T", "--", self._target.where, shlex.join(["python3", *arguments])]
        return ProcessChannel(command)

    def push(self, files: Mapping[str, Path], task: Task, *, rsync: bool) -> None:
        self._connect()
        if rsync and shutil.which("rsync"):
            self._rsync(files, task)
        else:
            super().push(files, task, rsync=rsync)

    def diagnose(self, complaint: str) -> DlaflowError | None:
        return _refusal(self.name, complaint)

    def close(self) -> None:
        if self._master is not None:
            end(self._master)
        self._sockets.cleanup()

    @property
    def _socket(self) -> Path:
        return Path(self._sockets.name) / "shared"

    def _options(self) -> list[str]:
        """Host keys are never waved through, whatever the user's configuration says; the agent is not forwarded."""
        settings = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "ClearAllForwardings": "yes",
            "PermitLocalCommand": "no",
            "ConnectTimeout": str(_CONNECT_SECONDS),
            "ServerAliveInterval": str(_ALIVE_SECONDS),
            "ServerAliveCountMax": str(_ALIVE_COUNT),
            "ControlMaster": "no",
            "ControlPersist": "no",
            "ControlPath": str(self._socket),
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        if self._target.config is not None:
            options = ["-F", str(self._target.config), *options]
        return options if self._target.port is None else [*options, "-p", str(self._target.port)]

    def _connect(self) -> None:
        """Open the shared connection, the first time where ssh may ask the user for a passphrase or password itself."""
        if self._master is not None and self._master.poll() is None:
            return
        first = self._master is None
        asks = first and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
        with _ASKING if asks else nullcontext():
            self._master = self._log_in(asks=asks)

    def _log_in(self, *, asks: bool) -> subprocess.Popen[bytes]:
        """The process that holds the connection, once others can share it."""
        options = self._options()
        options[options.index("ControlMaster=no")] = "ControlMaster=yes"
        if asks:
            options[options.index("BatchMode=yes")] = "BatchMode=no"
            options[options.index("StrictHostKeyChecking=yes")] = "StrictHostKeyChecking=ask"
        with suppress(FileNotFoundError):
            self._socket.unlink()
        command = ["ssh", *options, "-N", "-T", "--", self._target.where]
        master = start(command, stdout=subprocess.DEVNULL, stderr=None if asks else subprocess.PIPE, own_group=not asks)
        said = Tail(master.stderr) if master.stderr else None
        ends = time.monotonic() + _CONNECT_SECONDS + 10
        try:
            while not self._socket.exists() and master.poll() is None:
                if said:
                    said.drain()
                    if time.monotonic() > ends:
                        raise UnreachableError(
                            f"{self.name} does not answer", expected=f"a login within {_CONNECT_SECONDS} s"
                        )
                time.sleep(_POLL_SECONDS)
            if said:
                said.drain()
            if master.poll() is not None:
                raise self._not_reached(said.text() if said else "", asks=asks)
        except BaseException:
            end(master)
            raise
        return master

    def _not_reached(self, complaint: str, *, asks: bool) -> DlaflowError:
        # Without a reason, or with this one, the login was under way when the connection broke.
        reason = last_line(complaint)
        cut = not asks and (not reason or _CUT.search(reason))
        kind = ConnectionLostError if cut else UnreachableError
        return _refusal(self.name, complaint) or kind(
            f"cannot reach {self.name}: {reason or 'the connection broke'}", then="Does `ssh` reach it?"
        )

    def _rsync(self, files: Mapping[str, Path], task: Task) -> None:
        """A folder of links named by hash is what rsync sees: names of the user's files cannot mislead it."""
        total = sum(path.stat().st_size for path in files.values())
        with tempfile.TemporaryDirectory(prefix="dlaflow-push-") as staging:
            for sha, path in files.items():
                (Path(staging) / sha).symlink_to(path.resolve())
            command = [
                "rsync", "--copy-links", "--recursive", "--times", "--partial", "--inplace", "--info=progress2",
                f"--timeout={_RSYNC_SECONDS}", "-e", shlex.join(["ssh", *self._options()]), "--",
                f"{staging}/", f"{self._target.where}:{self._target.root}/incoming/",
            ]  # fmt: skip
            channel = ProcessChannel(command)
            try:
                channel.end_input()
                budget = Budget(_RSYNC_SECONDS + total / SLOWEST, _RSYNC_WORDS)
                self._watch(Answer(channel, budget, 2 * _RSYNC_SECONDS), task)
            finally:
                code = channel.close()
            complaint = channel.complaint()
        if code == 0:
            return
        if code == _RSYNC_DISK or "No space left" in complaint:
            raise full_disk(self.name)
        kind: type[DlaflowError] = ConnectionLostError if code in _RSYNC_CUT else EnvironmentLacksError
        raise kind(f"rsync to {self.name} ended with {code}: {last_line(complaint)}")

    def _watch(self, answer: Answer, task: Task) -> None:
        """rsync repeats one line with the bytes so far, each begun by a carriage return."""
        counted, rest = 0, b""
        while chunk := answer.read():
            rest = (rest + chunk)[-_RSYNC_LINE:]
            if found := _PERCENT.findall(rest):
                now = int(found[-1].replace(b",", b""))
                task.advance(now - counted)
                self.sent += now - counted
                counted = now


def _refusal(name: str, complaint: str) -> DlaflowError | None:
    """What ssh refuses, with what to do; None where it is only the connection, so that another try may help."""
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in complaint:
        return EnvironmentLacksError(
            f"the host key of {name} has changed, so dlaflow does not connect",
            then="If the board was flashed anew, check its key and remove the old one with `ssh-keygen -R HOST`.",
        )
    if "Host key verification failed" in complaint or "host key is known" in complaint:
        return EnvironmentLacksError(
            f"the host key of {name} is not known here", then=f"Connect once by hand and check it: ssh {name}"
        )
    if "Permission denied" in complaint:
        return EnvironmentLacksError(
            f"{name} refused the login: {last_line(complaint)}",
            then="Give it your key (`ssh-copy-id`), or start ssh-agent. dlaflow takes no passwords.",
        )
    return None
