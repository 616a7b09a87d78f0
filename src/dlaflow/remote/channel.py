"""One call of the agent: bytes to it, lines or bytes from it, with a time-out at every wait."""

from __future__ import annotations

import os
import selectors
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress

from dlaflow.errors import EnvironmentLacksError

_CHUNK = 1 << 16
_END_SECONDS = 5.0


class ConnectionLostError(EnvironmentLacksError):
    """The connection broke, or the other side is silent. What runs on the board goes on there."""


class UnreachableError(ConnectionLostError):
    """The board was never there, and ssh says why: no reason to wait for it."""


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
        assert self._child.stdout is not None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._child.stdout, selectors.EVENT_READ)

    def write(self, data: bytes) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(data)
            self._child.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise ConnectionLostError("the connection to the board broke while sending") from None

    def end_input(self) -> None:
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):
            self._child.stdin.close()

    def read(self, timeout: float) -> bytes:
        assert self._child.stdout is not None
        if not self._selector.select(timeout):
            raise ConnectionLostError("the board is silent", expected=f"an answer within {timeout:g} s")
        return os.read(self._child.stdout.fileno(), _CHUNK)

    def close(self) -> int:
        self.end_input()
        if self._child.poll() is None:
            try:
                self._child.wait(_END_SECONDS if self._at_end() else 0.05)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        assert self._child.stdout is not None
        self._selector.close()
        self._child.stdout.close()
        self._complaint = self.complaint()
        self._stderr.close()
        return self._child.returncode

    def complaint(self) -> str:
        if self._stderr.closed:
            return self._complaint
        self._stderr.seek(0)
        return self._stderr.read().decode("utf-8", errors="replace").strip()

    def _at_end(self) -> bool:
        assert self._child.stdout is not None
        return bool(self._selector.select(0)) and not os.read(self._child.stdout.fileno(), 1)


def lines_of(channel: Channel, timeout: float) -> Iterator[bytes]:
    """Whole lines until the end; a half line at the end is dropped: the connection was cut in it.

    Raises ConnectionLostError after `timeout` seconds of silence.
    """
    kept = b""
    while chunk := channel.read(timeout):
        *whole, kept = (kept + chunk).split(b"\n")
        yield from whole
