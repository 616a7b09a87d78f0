"""A board over the system's OpenSSH: the user's own configuration, agent and jump hosts; host keys always checked.

One connection is opened and shared (a control socket in a private folder); when it breaks, the next call opens another.
Names of the user's files never reach a shell: files travel under their hash, and what is left is quoted.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dlaflow.errors import DlaflowError, EnvironmentLacksError, UsageError
from dlaflow.progress import Task
from dlaflow.remote.bundle import Bundle
from dlaflow.remote.channel import ConnectionLostError, ProcessChannel, UnreachableError
from dlaflow.remote.transport import DEFAULT_ROOT, ProcessTransport, full_disk, last_line

_HOST = re.compile(r"(?:ssh://)?(?P<where>(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9_.][A-Za-z0-9._-]*)(?::(?P<port>\d{1,5}))?")
_ROOT = re.compile(r"[A-Za-z0-9._/-]+")
_CONNECT_SECONDS = 20
_ALIVE_SECONDS = 5
_ALIVE_COUNT = 4
_RSYNC_SECONDS = 60
_RSYNC_CUT = {10, 12, 20, 30, 35, 255}
_RSYNC_DISK = 11
_ASKING = threading.Lock()
"""Several boards at once must not ask the user at once."""
_CUT = re.compile(r"onnection (closed|reset)|Broken pipe")
_PERCENT = re.compile(rb"([\d,]+)\s+\d+%")


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

        Raises UsageError for what is no such name: anything that ssh could take for an option, or a shell for words.
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
        self._connected = False
        if shutil.which("ssh") is None:
            raise EnvironmentLacksError("ssh is not on this computer", then="Install OpenSSH's client.")

    def python(self, *words: str) -> ProcessChannel:
        self._connect()
        command = ["ssh", *self._options(), "-T", "--", self._target.where, shlex.join(["python3", *words])]
        return ProcessChannel(command)

    def push(self, agent: Bundle, files: Mapping[str, Path], task: Task, *, rsync: bool) -> None:
        self._connect()
        if rsync and shutil.which("rsync"):
            self._rsync(files, task)
        else:
            super().push(agent, files, task, rsync=rsync)

    def diagnose(self, complaint: str) -> DlaflowError | None:
        return _refusal(self.name, complaint)

    def close(self) -> None:
        if self._connected:
            with suppress(OSError, subprocess.SubprocessError):
                command = ["ssh", *self._options(), "-O", "exit", "--", self._target.where]
                subprocess.run(command, capture_output=True, timeout=_ALIVE_SECONDS, check=False)
        self._sockets.cleanup()

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
            "ControlMaster": "auto",
            "ControlPersist": "60",
            "ControlPath": f"{self._sockets.name}/%C",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        if self._target.config is not None:
            options = ["-F", str(self._target.config), *options]
        return options if self._target.port is None else [*options, "-p", str(self._target.port)]

    def _connect(self) -> None:
        """Open the shared connection once, where ssh may ask the user for a passphrase or a password itself."""
        if self._connected:
            return
        asks = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
        with _ASKING if asks else nullcontext():
            self._log_in(asks=asks)
        self._connected = True

    def _log_in(self, *, asks: bool) -> None:
        options = self._options()
        if asks:
            options[options.index("BatchMode=yes")] = "BatchMode=no"
            options[options.index("StrictHostKeyChecking=yes")] = "StrictHostKeyChecking=ask"
        # A file, not a pipe: the shared connection stays in the background and would keep a pipe open.
        with tempfile.TemporaryFile() as stderr:
            command = ["ssh", *options, "-T", "--", self._target.where, "exit 0"]
            try:
                code = subprocess.run(
                    command,
                    stdin=None if asks else subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=None if asks else stderr,
                    timeout=None if asks else _CONNECT_SECONDS + 10,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                raise UnreachableError(
                    f"{self.name} does not answer", expected=f"a login within {_CONNECT_SECONDS} s"
                ) from None
            complaint = _text(stderr)
        if code != 0:
            # Without a reason, or with these words, the login was under way when the connection broke.
            reason = last_line(complaint)
            cut = not asks and (not reason or _CUT.search(reason))
            kind = ConnectionLostError if cut else UnreachableError
            raise _refusal(self.name, complaint) or kind(
                f"cannot reach {self.name}: {reason or 'the connection broke'}", then="Does `ssh` reach it?"
            )

    def _rsync(self, files: Mapping[str, Path], task: Task) -> None:
        """A folder of links named by hash is what rsync sees: names of the user's files cannot mislead it."""
        with tempfile.TemporaryDirectory(prefix="dlaflow-push-") as staging, tempfile.TemporaryFile() as stderr:
            for sha, path in files.items():
                (Path(staging) / sha).symlink_to(path.resolve())
            command = [
                "rsync", "--copy-links", "--recursive", "--times", "--partial", "--inplace", "--info=progress2",
                f"--timeout={_RSYNC_SECONDS}", "-e", shlex.join(["ssh", *self._options()]), "--",
                f"{staging}/", f"{self._target.where}:{self._target.root}/incoming/",
            ]  # fmt: skip
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
            )
            try:
                self._watch(child, task)
                code = child.wait()
            finally:
                if child.poll() is None:
                    child.kill()
                    child.wait()
            complaint = _text(stderr)
        if code == 0:
            return
        if code == _RSYNC_DISK or "No space left" in complaint:
            raise full_disk(self.name)
        kind: type[DlaflowError] = ConnectionLostError if code in _RSYNC_CUT else EnvironmentLacksError
        raise kind(f"rsync to {self.name} ended with {code}: {last_line(complaint)}")

    def _watch(self, child: subprocess.Popen[bytes], task: Task) -> None:
        """rsync repeats one line with the bytes so far, each ended by a carriage return."""
        assert child.stdout is not None
        counted, rest = 0, b""
        with child.stdout:
            while chunk := os.read(child.stdout.fileno(), 1 << 12):
                *whole, rest = (rest + chunk).split(b"\r")
                for line in whole:
                    if match := _PERCENT.search(line):
                        now = int(match.group(1).replace(b",", b""))
                        task.advance(now - counted)
                        self.sent += now - counted
                        counted = now
            if match := _PERCENT.search(rest):
                self.sent += int(match.group(1).replace(b",", b"")) - counted


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", errors="replace")


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
