"""Programs die with dlaflow, end as they end, and say no more than is kept of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from dlaflow.errors import EnvironmentLacksError
from dlaflow.process import Tail, captured, end, start

STUBBORN = "trap '' TERM INT HUP; sleep 1000 & echo $! $$; wait; sleep 1000"
PARENT = """
import sys, threading, time
from dlaflow.process import start
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
child = start(["sh", "-c", {script!r}], own_group={own_group})
sys.stdout.write(f"{{child.pid}} {{child.stdout.readline().decode()}}")
sys.stdout.flush()
time.sleep(1000)
"""


def is_there(pid):
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(true, seconds=20.0):
    ended = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ended, "it never came true"
        time.sleep(0.02)


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at a parent's death is Linux's")


@needs_linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_no_child_outlives_a_killed_dlaflow(number):
    script = PARENT.format(script=STUBBORN, own_group=True)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        guard, grandchild, child = map(int, parent.stdout.readline().split())
        assert all(map(is_there, (guard, grandchild, child)))
        parent.send_signal(number)
        parent.wait()
        wait_until(lambda: not any(map(is_there, (guard, grandchild, child))))


@needs_linux
def test_nor_does_one_that_shares_the_terminals_group():
    script = PARENT.format(script="trap '' TERM; echo $$; exec sleep 1000", own_group=False)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True) as parent:
        guard, child = map(int, parent.stdout.readline().split())
        parent.kill()
        parent.wait()
        wait_until(lambda: not is_there(guard) and not is_there(child))


def test_the_end_reaches_the_whole_group_and_what_its_leader_left():
    child = start(["sh", "-c", STUBBORN])
    grandchild, program = map(int, child.stdout.readline().split())
    end(child, grace=0.1)
    wait_until(lambda: not is_there(grandchild) and not is_there(program))
    left = start(["sh", "-c", "trap '' TERM; sleep 1000 >/dev/null 2>&1 & echo $!"])
    orphan = int(left.stdout.readline())
    left.wait()
    end(left)
    wait_until(lambda: not is_there(orphan))


def test_ctrl_c_of_the_terminal_is_not_heard_by_what_shares_its_group():
    child = start(["sh", "-c", "echo here; exec sleep 1000"], own_group=False)
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.2)
    end(child)
    assert child.returncode == -signal.SIGTERM


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -SEGV $$", -11), ("kill -KILL $$", -9)])
def test_a_guard_ends_as_its_program_ends(script, code):
    assert captured(["sh", "-c", script], 20) == (code, "")


def test_a_program_has_the_signals_that_it_would_have_without_a_guard():
    # Python ignores SIGPIPE; a program that writes into a closed pipe must end.
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    _, text = captured(["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"], 20)
    found = dict(line.split(":") for line in text.splitlines())
    assert int(found["SigBlk"], 16) == int(fields["SigBlk"], 16)
    assert int(found["SigIgn"], 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGINT - 1) == 0


@pytest.mark.parametrize("command", ["/nowhere/trtexec", "/etc/passwd", "no-such-program"])
def test_what_cannot_be_started_is_one_line(command):
    with pytest.raises(EnvironmentLacksError, match=rf"cannot start {command}: \w+"):
        start([command])
    assert captured([command], 5) is None


def test_what_is_captured_is_bounded_in_time_and_length():
    assert captured(["sh", "-c", "echo out; echo err >&2"], 20) == (0, "out\nerr\n")
    assert captured(["sleep", "1000"], 0.2) is None
    assert captured(["yes"], 20) is None
    assert captured(["sh", "-c", "exec >&- 2>&-; sleep 1000"], 0.5) is None


def test_of_a_long_complaint_the_end_is_kept():
    read, write = os.pipe()
    with open(read, "rb") as pipe:
        tail = Tail(pipe)
        assert tail.drain(), "an empty pipe is not at its end"
        for number in range(100):
            os.write(write, b"%06d " % number * 4000)
            assert tail.drain()
        os.write(write, b"the reason\n")
        assert tail.drain()
        os.close(write)
        assert not tail.drain()
    assert tail.count == 100 * 28000 + 11
    assert tail.text().endswith("000099 the reason")
    assert len(tail.text()) <= 1 << 16
