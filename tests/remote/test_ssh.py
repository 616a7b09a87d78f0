"""Boards behind a real sshd: broken connections, a killed agent, two hosts, host keys, hostile names, a full disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import attacks
import onnx
import pytest

from dlaflow.errors import DlaflowError, EnvironmentLacksError, UsageError
from dlaflow.remote.board import Patience, RemoteBoard
from dlaflow.remote.jobs import JobControl, JobOptions, LeftRunningError, find_exactly, perform
from dlaflow.remote.records import JobList, Phase, ProgramRun
from dlaflow.remote.ssh import SshTarget, SshTransport


def building(model, name="build", clocks=False, seconds=60.0):
    run = ProgramRun(name=name, arguments=("--onnx=model.onnx", "--saveEngine=model.engine"), seconds=seconds)
    return JobOptions("build", "a test", {"model.onnx": model}, (Phase(name=name, runs=(run,)),), clocks=clocks)


def wait_until(true, seconds=20.0):
    ended = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ended, "it never came true"
        time.sleep(0.02)


def wait_for_more(heard):
    """Until the host has heard more of the job: it is connected."""
    known = len(heard)
    wait_until(lambda: len(heard) > known + 2)


def folder(tmp_path, name="out"):
    (tmp_path / name).mkdir()
    return tmp_path / name


def no_leftovers(stand_in):
    """No lock is held, no program runs, nothing is half-written in the store."""
    wait_until(lambda: not any((stand_in.folder / "busy").iterdir()) or not running(stand_in))
    assert not running(stand_in)
    store = stand_in.root / "store"
    for path in store.iterdir():
        done = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
        assert done.stdout.split()[0] == path.name


def running(stand_in):
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read()
            except OSError:
                continue
            if str(stand_in.programs / "trtexec").encode() in words:
                found.append(int(pid))
    return found


def pid_of_worker(stand_in):
    """The parent of the running trtexec."""
    wait_until(lambda: running(stand_in))
    with open(f"/proc/{running(stand_in)[0]}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def test_a_build_outlives_cut_connections(connect, sshd, stand_in, tiny, tmp_path):
    stand_in.hold()
    out, heard = folder(tmp_path), []

    def cut_twice():
        for _ in range(2):
            wait_for_more(heard)
            sshd.cut()
        wait_for_more(heard)
        stand_in.release()

    cutter = threading.Thread(target=cut_twice)
    cutter.start()
    state = perform(connect(), building(tiny), out, JobControl(on_line=lambda run, text: heard.append(text)))
    cutter.join()
    assert state.state == "done", state
    assert (out / "build.log").read_text().splitlines() == heard, "every line is heard once, over all connections"
    no_leftovers(stand_in)


@pytest.mark.slow
def test_the_whole_sshd_goes_away_and_comes_back(connect, sshd, stand_in, tiny, tmp_path):
    stand_in.hold()
    heard = []

    def restart():
        wait_until(lambda: heard)
        sshd.stop()
        time.sleep(0.5)  # the host meets a closed door meanwhile
        sshd.start()
        wait_for_more(heard)
        stand_in.release()

    thread = threading.Thread(target=restart)
    thread.start()
    control = JobControl(on_line=lambda run, text: heard.append(text))
    state = perform(connect(), building(tiny), folder(tmp_path), control)
    thread.join()
    assert state.state == "done", state


@pytest.mark.slow
def test_a_host_that_gives_up_finds_its_job_again(connect, sshd, stand_in, tiny, tmp_path):
    stand_in.hold()
    thread = threading.Thread(target=lambda: (wait_until(lambda: running(stand_in)), sshd.stop()))
    thread.start()
    with pytest.raises(LeftRunningError, match="--attach"):
        perform(connect(Patience(answer=10, reconnect=0.5)), building(tiny), folder(tmp_path, "first"))
    thread.join()
    sshd.start()
    stand_in.release()
    again = connect()
    state = perform(again, building(tiny), folder(tmp_path, "second"), JobControl(attach=True))
    assert state.state == "done"
    assert len(again.ask("jobs", JobList).jobs) == 1, "it was found, not started again"


def test_a_killed_host_leaves_no_ssh_and_takes_its_job_up_again(sshd, stand_in, tiny, tmp_path, tmp_path_factory):
    stand_in.hold()
    place = f"[[board]]\nhost = 'board'\nroot = '{stand_in.root}'\nssh_config = '{sshd.config}'\n"
    (tmp_path / "boards.toml").write_text(place)
    out = tmp_path / "m.engine"
    words = ["remote", str(tmp_path / "boards.toml"), "build", str(tiny), "--out", str(out), "--tensorrt", "8.5.2"]
    command = [sys.executable, "-m", "dlaflow", *words, "--precision", "fp16"]
    marker = f"killed in {tmp_path}"
    # What a killed process cannot remove; under a short name, as sockets lie in it.
    temporary = str(tmp_path_factory.mktemp("k"))
    environment = {**os.environ, "DLAFLOW_KILLED": marker, "TMPDIR": temporary}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as host:
        try:
            wait_until(lambda: running(stand_in), 60)
            wait_until(lambda: len(attacks.processes_of(marker)) > 3, 60)  # dlaflow, and each ssh with its guard
        finally:
            host.kill()  # leaving the block waits for it
        host.wait()
        wait_until(lambda: not attacks.processes_of(marker))
    assert running(stand_in), "the job goes on"
    assert not out.exists()
    stand_in.release()
    done = subprocess.run([*command, "--attach"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size == 64 * 200


@pytest.mark.slow
def test_a_push_that_was_cut_goes_on(connect, sshd, stand_in, tmp_path):
    large = tmp_path / "large.onnx"
    large.write_bytes(os.urandom(1 << 20) * 48)
    board = connect()
    board.hello()
    arriving = stand_in.root / "incoming"
    thread = threading.Thread(target=lambda: (wait_until(lambda: any(arriving.iterdir())), sshd.cut()))
    thread.start()
    hashes = board.push({"model.onnx": large})
    thread.join()
    assert (stand_in.root / "store" / hashes["model.onnx"]).stat().st_size == 48 << 20
    no_leftovers(stand_in)


def test_a_killed_worker_leaves_no_lock_and_the_clocks_are_put_back(connect, stand_in, tiny, tmp_path):
    stand_in.setting("seconds", 30)
    thread = threading.Thread(target=lambda: os.kill(pid_of_worker(stand_in), signal.SIGKILL))
    thread.start()
    board = connect()
    state = perform(board, building(tiny, clocks=True), folder(tmp_path))
    thread.join()
    assert state.state == "died"
    assert stand_in.clocks == "own"
    assert not running(stand_in)
    stand_in.setting("seconds", 0.1)
    assert perform(board, building(tiny), folder(tmp_path, "next")).state == "done", "the board is free again"


@pytest.mark.slow
def test_worker_and_guardian_killed_at_once_are_cleared_up_by_the_next_call(connect, stand_in, tiny, tmp_path):
    stand_in.setting("seconds", 30)

    def kill_both():
        worker = pid_of_worker(stand_in)
        with open(f"/proc/{worker}/stat") as file:
            guardian = int(file.read().rpartition(")")[2].split()[1])
        os.kill(guardian, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)

    thread = threading.Thread(target=kill_both)
    thread.start()
    state = perform(connect(), building(tiny, clocks=True), folder(tmp_path))
    thread.join()
    assert state.state == "died"
    assert stand_in.clocks == "own"
    wait_until(lambda: not running(stand_in))


@pytest.mark.slow
def test_two_hosts_on_one_board(connect, stand_in, tiny, tmp_path):
    stand_in.setting("seconds", 1.5)
    other = tmp_path / "other.onnx"
    other.write_bytes(tiny.read_bytes())
    onnx.load(other)
    states = {}

    def host(name):
        states[name] = perform(connect(), building(tiny, name=name), folder(tmp_path, name))

    threads = [threading.Thread(target=host, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = sorted((state.runs[0].started, state.runs[0].started + state.runs[0].seconds) for state in states.values())
    assert spans[0][1] <= spans[1][0], "one after the other"


@pytest.mark.slow
def test_a_busy_board_says_whose_it_is(connect, stand_in, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("dlaflow.remote.jobs._SETTLING_SECONDS", 0.5)
    stand_in.setting("seconds", 120)
    thread = threading.Thread(target=lambda: perform(connect(), building(tiny), folder(tmp_path, "one")))
    thread.start()
    wait_until(lambda: running(stand_in))
    with pytest.raises(EnvironmentLacksError, match="busy with build"):
        perform(connect(Patience(busy=0)), building(tiny, name="other"), folder(tmp_path, "two"))
    stand_in.setting("seconds", 0)
    board = connect()
    (job,) = board.ask("jobs", JobList).jobs
    board.ask("stop", dict, {"id": job.id})
    thread.join()
    assert find_exactly(board, job.id).state == "stopped"


def test_a_time_limit_ends_the_program(here, stand_in, tiny, tmp_path):
    stand_in.setting("seconds", 60)
    state = perform(here, building(tiny, seconds=0.5), folder(tmp_path))
    assert state.state == "failed"
    assert state.runs[0].timed_out
    assert not running(stand_in)


def test_a_changed_host_key_is_refused(connect, sshd, stand_in):
    other = sshd.folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    kind, key = other.with_suffix(".pub").read_text().split()[:2]
    (sshd.folder / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {kind} {key}\n")
    with pytest.raises(EnvironmentLacksError, match="host key of board has changed"):
        connect().hello()
    assert not stand_in.root.exists(), "nothing was sent"


def test_an_unknown_host_key_is_refused_even_when_the_user_waves_all_through(connect, sshd):
    (sshd.folder / "known_hosts").write_text("")
    sshd.config.write_text(sshd.config.read_text() + "    StrictHostKeyChecking no\n")
    with pytest.raises(EnvironmentLacksError, match="not known here"):
        connect().hello()


def test_a_refused_login_is_no_reason_to_try_again(connect, sshd):
    (sshd.folder / "authorized_keys").write_text("")
    with pytest.raises(EnvironmentLacksError, match="refused the login"):
        connect().hello()
    assert (sshd.folder / "sshd.log").read_text().count("Connection closed by authenticating user") == 1


@pytest.mark.parametrize("address", ["-oProxyCommand=touch x", "a b", "host;rm", "$(x)", "u@-x", "a/b", ""])
def test_addresses_that_ssh_or_a_shell_could_misread(address):
    with pytest.raises(UsageError):
        SshTarget.parse(address)


@pytest.mark.parametrize("rsync", [pytest.param(True, marks=pytest.mark.slow), False])
def test_hostile_names_are_harmless(connect, stand_in, tiny, tmp_path, rsync, monkeypatch):
    if not rsync:
        real = shutil.which
        monkeypatch.setattr(shutil, "which", lambda name, *more: None if name == "rsync" else real(name, *more))
    hostile = tmp_path / "a b;touch harm;$(touch harm)`touch harm`\n'\".onnx"
    hostile.write_bytes(tiny.read_bytes())
    options = building(hostile)
    options = JobOptions(options.kind, hostile.name, options.files, options.phases)
    board = connect()
    assert perform(board, options, folder(tmp_path)).state == "done"
    assert not list(tmp_path.rglob("harm"))
    assert "\n" not in board.ask("jobs", JobList).jobs[0].title


@pytest.mark.slow
def test_what_the_agent_writes_is_private_and_in_one_folder(connect, stand_in, tiny, tmp_path):
    perform(connect(), building(tiny), folder(tmp_path))
    assert [path.name for path in (stand_in.folder / "home").iterdir()] == [".dlaflow"]
    modes = {oct(path.stat().st_mode & 0o077) for path in [stand_in.root, *stand_in.root.rglob("*")]}
    assert modes == {"0o0"}


@pytest.mark.slow
def test_too_little_room_is_told_before_the_push(connect, monkeypatch, tiny):
    monkeypatch.setattr("dlaflow.remote.board._MARGIN", 1 << 60)
    board = connect()
    with pytest.raises(EnvironmentLacksError, match="too little room"):
        board.push({"model.onnx": tiny})
    assert board.transport.sent < 40_000, "only the agent went over"


@pytest.fixture
def small_disk(stand_in):
    """The board's home on a file system of 1 MB. Needs the right to mount."""
    home = stand_in.folder / "home"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", home], capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    yield home
    subprocess.run(["umount", "-l", home], check=True)


@pytest.mark.parametrize("rsync", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_full_disk_during_the_push(connect, small_disk, tmp_path, monkeypatch, rsync):
    monkeypatch.setattr("dlaflow.remote.board._MARGIN", -(1 << 30))
    if not rsync:
        real = shutil.which
        monkeypatch.setattr(shutil, "which", lambda name, *more: None if name == "rsync" else real(name, *more))
    large = tmp_path / "large.onnx"
    large.write_bytes(os.urandom(4 << 20))
    with pytest.raises(EnvironmentLacksError, match=r"disk of .* is full"):
        connect().push({"model.onnx": large})


@pytest.mark.slow
def test_a_full_disk_during_the_build(connect, stand_in, small_disk, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("dlaflow.remote.board._MARGIN", -(1 << 30))
    stand_in.setting("engine_repeat", 100_000)
    out = folder(tmp_path)
    state = perform(connect(), building(tiny, clocks=True), out)
    assert state.state == "failed"
    assert stand_in.clocks == "own"
    assert not running(stand_in)
    stand_in.setting("engine_repeat", 10)
    assert (out / "build.log").exists()


@pytest.mark.slow
def test_no_python_on_the_board(connect, sshd, stand_in):
    text = (sshd.folder / "sshd_config").read_text().replace(f"SetEnv PATH={stand_in.path}", "SetEnv PATH=/nowhere")
    (sshd.folder / "sshd_config").write_text(text)
    sshd.stop()
    sshd.start()
    with pytest.raises(DlaflowError, match="python3"):
        connect().hello()


def test_a_host_that_is_not_there(tmp_path):
    config = tmp_path / "config"
    config.write_text("Host board\n  HostName 127.0.0.1\n  Port 9\n")
    target = SshTarget("board", config=config)
    with RemoteBoard(SshTransport(target)) as board, pytest.raises(DlaflowError, match="cannot reach board"):
        board.hello()
