"""Ctrl-C on a terminal: the user is asked once whether the job on the board is to end, on one board or on several."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

import attacks
import pytest

from dlaflow.errors import EXIT_ENVIRONMENT, EXIT_INTERRUPTED
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.records import JobList
from dlaflow.remote.transport import LocalTransport

QUESTION = b"Stop the job on the board too?"


class Terminal:
    """`dlaflow` on a terminal of its own."""

    def __init__(self, *words):
        self.master, slave = pty.openpty()
        command = [sys.executable, "-m", "dlaflow", *words]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, preexec_fn=_own_terminal)
        os.close(slave)
        self.text = b""

    def wait_for(self, wanted, seconds=30.0):
        ended = time.monotonic() + seconds
        while wanted not in self.text:
            assert time.monotonic() < ended, self.text.decode(errors="replace")
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 4096)
                except OSError:
                    break
        assert wanted in self.text, self.text.decode(errors="replace")

    def type(self, keys):
        os.write(self.master, keys)

    def end(self):
        """The exit code; what is written meanwhile must be read, else the program waits for the terminal."""
        ended = time.monotonic() + 40
        while self.process.poll() is None:
            assert time.monotonic() < ended, self.text.decode(errors="replace")
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 4096)
                except OSError:
                    time.sleep(0.05)
        os.close(self.master)
        return self.process.returncode


def _own_terminal():
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def boards(tmp_path, *names):
    one = '[[board]]\nname = "{0}"\nhost = "local"\nroot = "{1}/{0}"\n'
    (tmp_path / "boards.toml").write_text("".join(one.format(name, tmp_path) for name in names))
    return str(tmp_path / "boards.toml")


def wait_until(true, seconds=30.0):
    ended = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ended, "it never came true"
        time.sleep(0.05)


def states(tmp_path, *names):
    found = {}
    for name in names:
        with RemoteBoard(LocalTransport(tmp_path / name)) as board:
            (job,) = board.ask("jobs", JobList).jobs
            found[name] = job.state
    return found


@pytest.mark.parametrize("names", [pytest.param(("one",), marks=pytest.mark.slow), ("one", "two")])
@pytest.mark.parametrize(("answer", "ending"), [(b"y\n", "stopped"), (b"n\n", "done")])
def test_the_user_decides_what_becomes_of_the_job(stand_in, tiny, tmp_path, names, answer, ending):
    stand_in.hold()
    words = ["remote", boards(tmp_path, *names), "build", str(tiny), "--out", str(tmp_path / "m.engine")]
    terminal = Terminal(*words, "--tensorrt", "8.5.2", "--precision", "fp16")
    wait_until(lambda: len(os.listdir(stand_in.folder / "busy")) == len(names))
    terminal.type(b"\x03")
    terminal.wait_for(QUESTION)
    terminal.type(answer)
    returned = terminal.end()
    assert terminal.text.count(QUESTION) == 1, "asked once for all boards"
    alone_left = ending == "done" and len(names) == 1
    assert returned == (EXIT_ENVIRONMENT if alone_left else EXIT_INTERRUPTED)
    if ending == "done":
        assert terminal.text.count(b"goes on on") == len(names)
        assert b"attach" in terminal.text
        stand_in.release()
        wait_until(lambda: set(states(tmp_path, *names).values()) == {"done"})
    assert set(states(tmp_path, *names).values()) == {ending}
    assert not (tmp_path / "m.engine").exists()


def test_ssh_asks_for_a_passphrase_on_the_terminal_and_ctrl_c_there_leaves_nothing(sshd, stand_in, tmp_path):
    key = sshd.folder / "user_key"
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "a secret", "-f", str(key)], check=True)
    place = f"[[board]]\nhost = 'board'\nroot = '{stand_in.root}'\nssh_config = '{sshd.config}'\n"
    (tmp_path / "boards.toml").write_text(place)
    words = ["remote", str(tmp_path / "boards.toml"), "jobs"]
    terminal = Terminal(*words)
    terminal.wait_for(b"Enter passphrase")
    terminal.type(b"a secret\n")
    assert terminal.end() == 0, terminal.text.decode()
    assert b"no jobs" in terminal.text
    interrupted = Terminal(*words)
    interrupted.wait_for(b"Enter passphrase")
    interrupted.type(b"\x03")
    assert interrupted.end() == EXIT_INTERRUPTED
    wait_until(lambda: not attacks.processes_of(str(tmp_path / "boards.toml")))
    assert not attacks.processes_of(str(sshd.config))
