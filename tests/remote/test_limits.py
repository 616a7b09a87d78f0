"""What a board's answer may take: bytes, seconds, lines, tries; by channels that say what a test tells them."""

from __future__ import annotations

import hashlib
import os
import tarfile
import time
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlaflow.errors import EnvironmentLacksError, InputError, UsageError
from dlaflow.remote import receive as receiving
from dlaflow.remote.board import Patience, RemoteBoard
from dlaflow.remote.jobs import JobControl, JobOptions, finish, perform
from dlaflow.remote.receive import OutputFolder, receive
from dlaflow.remote.records import JobState, OutputMark, Phase, ProgramRun
from dlaflow.remote.transport import (
    LONGEST_LINE,
    Answer,
    Budget,
    Channel,
    ConnectionLostError,
    OverlongError,
    Transport,
)

ID = "build-0123456789ab-01234567"
DATA = b"a log\n" * 100


class Said(Channel):
    """A channel that says these pieces, then ends."""

    def __init__(self, *pieces):
        self._pieces = list(pieces)

    def read(self, timeout):
        return self._pieces.pop(0) if self._pieces else b""


class Scripted(Transport):
    """Answers each call by a function of the command and the request; counts the calls."""

    def __init__(self, answer):
        super().__init__("scripted")
        self._answer = answer
        self.calls = []

    def call(self, command, request):
        self.calls.append(command)
        return Said(*self._answer(command, msgspec.json.decode(request)))

    def install(self):
        raise AssertionError("nobody asked for it")

    def push(self, files, task, *, rsync):
        raise AssertionError("nothing to push")


def mark(data=DATA):
    return OutputMark(len(data), hashlib.sha256(data).hexdigest())


def answer(*pieces, seconds=60.0, size=1 << 20):
    return Answer(Said(*pieces), Budget(seconds, size), 1.0)


def line(**fields):
    return msgspec.json.encode(fields) + b"\n"


def ended(**more):
    return {"event": "end", "at": 1 << 20, "state": {"id": ID, "kind": "build", "state": "done", **more}}


def running():
    return JobState(id=ID, kind="build", state="running")


def test_lines_come_whole_however_they_are_cut_and_half_a_line_is_dropped():
    text = b"one\n\ntwo " + b"x" * 1000 + b"\nhalf"
    for size in (1, 3, 7, 1000, 5000):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert list(answer(*pieces).lines()) == [b"one", b"", b"two " + b"x" * 1000]


def test_a_line_without_end_costs_what_it_is_long():
    class Endless(Channel):
        read_bytes = 0

        def read(self, timeout):
            self.read_bytes += 1 << 10
            return b"x" * (1 << 10)

    channel = Endless()
    with pytest.raises(OverlongError, match="line without end"):
        next(Answer(channel, Budget(600, 1 << 40), 1.0).lines())
    assert channel.read_bytes == LONGEST_LINE + (1 << 10), "and joining 8,000 pieces is one pass, not 8,000"


def test_a_budget_holds_over_all_answers():
    budget = Budget(60, 100)
    assert Answer(Said(b"x" * 60), budget, 1.0).read() == b"x" * 60
    with pytest.raises(OverlongError, match="at most"):
        Answer(Said(b"x" * 60), budget, 1.0).read()
    with pytest.raises(OverlongError, match="its end within"):
        Answer(Said(b"x"), Budget(0, 100), 1.0).read()


def test_silence_may_be_asked_again_and_dripping_may_not():
    class Drips(Channel):
        def __init__(self, *pieces):
            self.pieces = list(pieces)
            self.ends = time.monotonic() + 0.06

        def read(self, timeout):
            if self.pieces:
                return self.pieces.pop()
            while time.monotonic() < self.ends:
                pass
            raise ConnectionLostError("silent")

    budget = Budget(0.05, 100)
    with pytest.raises(ConnectionLostError):
        next(Answer(Drips(), budget, 9).lines())
    budget = Budget(0.05, 100)
    with pytest.raises(OverlongError):
        next(Answer(Drips(b" "), budget, 9).lines())


@pytest.mark.parametrize("alive", [(), (line(event="alive", at=0),), (line(event="alive", at=0),) * 50])
def test_a_sign_of_life_gives_no_new_patience(tmp_path, alive):
    transport = Scripted(lambda command, request: alive)
    with pytest.raises(EnvironmentLacksError, match="goes on"):
        finish(RemoteBoard(transport, Patience(reconnect=1.0)), running(), tmp_path)
    assert 2 <= len(transport.calls) <= 4, "0.2, 0.4 and 0.8 seconds of pauses are more than 1"


def test_nor_do_events_that_were_heard_before(tmp_path):
    heard = []
    transport = Scripted(lambda command, request: [line(event="line", at=at, run="b", text="x") for at in (7, 3, 7)])
    control = JobControl(on_line=lambda run, text: heard.append(text))
    with pytest.raises(EnvironmentLacksError, match="goes on"):
        finish(RemoteBoard(transport, Patience(reconnect=1.0)), running(), tmp_path, control)
    assert heard == ["x"]
    assert len(transport.calls) <= 5


def test_a_job_that_gets_on_between_breaks_is_never_given_up(tmp_path):
    def say(command, request):
        if request["offset"] >= 12:
            return [line(**ended())]
        return [line(event="line", at=request["offset"] + 1, run="b", text=str(request["offset"]))]

    heard = []
    control = JobControl(on_line=lambda run, text: heard.append(text))
    board = RemoteBoard(Scripted(say), Patience(reconnect=0.5))
    state = finish(board, running(), tmp_path, control)
    assert state.state == "done"
    assert heard == [str(number) for number in range(12)], "12 breaks of 0.2 s each, with half a second of patience"


def test_a_job_that_gets_on_for_ever_has_an_end(tmp_path):
    transport = Scripted(lambda command, request: [line(event="line", at=request["offset"] + 1, run="b", text="x")])
    with pytest.raises(EnvironmentLacksError, match=r"its end within|does not end.*goes on"):
        finish(RemoteBoard(transport, Patience(reconnect=5)), running(), tmp_path, None, 0.5)


def test_the_end_of_another_job_is_no_end(tmp_path):
    transport = Scripted(lambda command, request: [line(**ended(id="build-ffffffffffff-01234567"))])
    with pytest.raises(EnvironmentLacksError, match="answers for another job"):
        finish(RemoteBoard(transport, Patience(reconnect=1)), running(), tmp_path)


def tar(*members):
    return b"".join(members) + b"\0" * 1024


def member(name, data=DATA, **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.PAX_FORMAT) + data + b"\0" * (-len(data) % 512)


def take(folder, data, wanted):
    with OutputFolder(folder) as target:
        return list(receive(answer(data), wanted, target, "board"))


def test_announced_files_arrive_in_any_order_with_pythons_own_headers(tmp_path):
    data = tar(member("b", b""), member("a", mtime=1.5))
    assert data.count(b"mtime=1.5"), "an extended header"
    assert take(tmp_path, data, {"a": mark(), "b": mark(b"")}) == ["b", "a"]
    assert (tmp_path / "a").read_bytes() == DATA
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_what_comes_after_the_end_is_left_unread(tmp_path):
    with OutputFolder(tmp_path) as target:
        data = tar(member("a")) + b"\0" * (1 << 18)
        assert list(receive(answer(data, size=4096), {"a": mark()}, target, "board")) == ["a"]


def test_a_job_that_was_not_done_as_told_is_refused(tmp_path):
    run = ProgramRun(name="build", arguments=())
    for runs in ((), ("build", "build"), ("other",), ("build",)):
        ends = [
            {"name": name, "phase": "build", "exit": 0, "seconds": 1, "started": 1, "timed_out": False} for name in runs
        ]

        def say(command, request, ends=ends):
            state = {"id": ID, "kind": "build", "state": "running"}
            return {
                "hello": [line(host="h", root="/", python="3", free=1, rsync=False)],
                "have": [line(missing=[], free=1)],
                "start": [line(answer="started", state=state | {"id": request.get("job", {}).get("id", ID)})],
                "follow": [line(**ended(id=request.get("id", ID), runs=ends))],
            }[command]

        job = JobOptions("build", "t", {}, (Phase(name="build", runs=(run,)),))
        with pytest.raises(EnvironmentLacksError, match="did not do what it was told: expected the logs of build"):
            perform(RemoteBoard(Scripted(say)), job, tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        tar(member("a", DATA + b"x")),
        tar(member("a", DATA[:-1])),
        tar(member("a", DATA[:-1] + b"!")),
        tar(member("b")),
        tar(member("../a")),
        tar(member("a", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
        tar(member("a", type=tarfile.GNUTYPE_SPARSE)),
        tar(member("a", b"x" * 9000, type=tarfile.XHDTYPE)),
        tar(member("x", b"", type=tarfile.XHDTYPE)) * 50,
        tar(),
        os.urandom(4096),
    ],
)
def test_anything_else_is_one_line_and_leaves_nothing(tmp_path, data):
    with pytest.raises(EnvironmentLacksError) as error:
        take(tmp_path, data, {"a": mark()})
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_comes_once(tmp_path):
    with pytest.raises(EnvironmentLacksError, match="something else: 'a'"):
        take(tmp_path, tar(member("a"), member("a")), {"a": mark(), "b": mark()})
    assert (tmp_path / "a").read_bytes() == DATA


@given(st.data())
def test_whatever_comes_nothing_but_the_announced_is_made(tmp_path_factory, data):
    whole = bytearray(tar(member("a"), member("b", b"x", mtime=2.5)))
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("fuzz")
    with suppress(EnvironmentLacksError, EOFError):
        take(folder, bytes(whole[: data.draw(st.integers(0, len(whole)))]), {"a": mark(), "b": mark(b"x")})
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert made.items() <= {"a": DATA, "b": b"x"}.items()


def test_no_link_is_followed(tmp_path):
    out, precious = tmp_path / "out", tmp_path / "precious"
    out.mkdir()
    precious.write_bytes(DATA)
    (out / "a").symlink_to(precious)
    with OutputFolder(out) as target:
        assert not target.holds("a", mark()), "a link to a file with the right bytes is no file"
    take(out, tar(member("a")), {"a": mark()})
    assert not (out / "a").is_symlink()
    assert precious.stat().st_nlink == 1
    with OutputFolder(out) as target:
        assert target.holds("a", mark())


def test_a_folder_that_is_replaced_meanwhile_is_left_alone(tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    with OutputFolder(out) as target:
        out.rename(tmp_path / "moved")
        out.symlink_to(other)
        list(receive(answer(tar(member("a"))), {"a": mark()}, target, "board"))
    assert not list(other.iterdir())
    assert (tmp_path / "moved" / "a").read_bytes() == DATA


def test_a_folder_in_the_place_of_a_file_is_one_line(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*/a: Is a directory. Choose"):
        take(tmp_path, tar(member("a")), {"a": mark()})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_more_than_a_job_may_leave_needs_the_users_word(tmp_path, monkeypatch):
    wanted = {"a": OutputMark(3 << 30, "0" * 64)}
    monkeypatch.setattr(receiving, "_MARGIN", -(1 << 50))
    with OutputFolder(tmp_path) as target:
        assert target.require_room(wanted, "board") == 3 << 30
        monkeypatch.setenv(receiving.LIMIT, "2")
        with pytest.raises(
            EnvironmentLacksError, match=r"at most 2 GiB, received 3.0 GiB in 1 files.*DLAFLOW_PULL_GIB"
        ):
            target.require_room(wanted, "board")
        monkeypatch.setenv(receiving.LIMIT, "²")
        with pytest.raises(UsageError, match=receiving.LIMIT):
            target.require_room(wanted, "board")
        monkeypatch.setenv(receiving.LIMIT, "4")
        monkeypatch.setattr(receiving, "_MARGIN", 1 << 60)
        with pytest.raises(EnvironmentLacksError, match="too little room"):
            target.require_room(wanted, "board")


def test_a_pull_that_breaks_goes_on_with_what_is_left(tmp_path):
    asked = []

    def say(command, request):
        asked.append(request["names"])
        cut = {1: 1700, 2: 900}.get(len(asked), 1 << 20)
        return [tar(*(member(name) for name in request["names"]))[:cut]]

    state = JobState(id=ID, kind="build", state="done", outputs={"a": mark(), "b": mark(), "c": mark()})
    RemoteBoard(Scripted(say), Patience(reconnect=2)).pull(state, ("a", "b", "c"), tmp_path)
    assert asked == [["a", "b", "c"], ["b", "c"], ["b", "c"]]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}
