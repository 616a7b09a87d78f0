"""Files are whole or absent: when the writer fails, is killed, or somebody reads meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow import files
from dlaflow.errors import InputError
from dlaflow.files import (
    at_once,
    atomic_path,
    is_stdout,
    is_stream,
    json_bytes,
    once_written,
    protected,
    report_on_stderr,
    sha256_of,
    together,
    waiting,
    write_atomic,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail(path: Path, error: type[BaseException]) -> None:
    """Write a part of a file, then raise."""
    with atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise error("midway")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@given(st.one_of(st.binary(), st.text(st.characters(exclude_categories=["Cs"]))))
@settings(max_examples=30)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: bytes | str):
    path = tmp_path_factory.mktemp("folder") / "new" / "folder" / "a.bin"
    write_atomic(path, data)
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert names(path.parent) == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(error: type[BaseException], tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error):
        fail(path, error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_failed_writer_of_a_new_file_leaves_no_file(tmp_path: Path):
    with pytest.raises(ValueError, match="midway"):
        fail(tmp_path / "a.txt", ValueError)
    assert names(tmp_path) == []


def test_a_writer_that_removes_its_file_changes_nothing(tmp_path: Path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(InputError, match="cannot write"), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.unlink()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_old_file_is_read_until_the_new_one_is_whole(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with path.open() as reader, atomic_path(path) as temporary:
        assert temporary.parent == tmp_path, "another file system could not be renamed from"
        temporary.write_text("new")
        assert path.read_text() == "old"
    with path.open() as reader:
        assert reader.read() == "new"


def test_who_has_the_old_file_open_reads_it_to_its_end(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old one")
    with path.open() as reader:
        assert reader.read(3) == "old"
        write_atomic(path, "new and longer")
        assert reader.read() == " one"


WRITER = """
    import itertools, sys
    from dlaflow.files import write_atomic
    sizes = itertools.cycle((1 << 20, 3 << 20, 1 << 10))
    for number in itertools.count():
        write_atomic(sys.argv[1], bytes([number % 251]) * next(sizes))
"""


def test_no_reader_sees_half_and_a_killed_writer_leaves_a_whole_file(tmp_path: Path):
    """A process writes without pause: all reads meanwhile, and what a kill leaves, are one whole version each."""
    path = tmp_path / "a.bin"
    write_atomic(path, b"x" * (1 << 10))
    for _ in range(4):
        seen = {whole(path)}
        ended = time.monotonic() + 60
        writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(path)])
        try:
            while len(seen) < 6:
                assert time.monotonic() < ended, "the writer wrote nothing"
                seen.add(whole(path))
        finally:
            writer.kill()
            writer.wait()
        whole(path)
    left = [name for name in names(tmp_path) if name != "a.bin"]
    assert all(name.startswith(".a.bin.") for name in left), "a killed writer leaves at most what is hidden"


def whole(path: Path) -> tuple[int, int]:
    """Read one version: all of its bytes are the same, and there are as many as were written."""
    data = path.read_bytes()
    assert len(data) in {1 << 20, 3 << 20, 1 << 10}
    assert data == data[:1] * len(data)
    return len(data), data[0]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(mask: int, mode: int, tmp_path: Path):
    """Not the 0600 of a temporary file: other users read what is published."""
    path = tmp_path / "a.txt"
    with umask(mask):
        write_atomic(path, "new")
        assert os.umask(mask) == mask, "the umask is as it was"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path):
    (tmp_path / "far").mkdir()
    real, link = tmp_path / "far" / "real.txt", tmp_path / "link.txt"
    real.write_text("real")
    link.symlink_to("far/real.txt")
    (tmp_path / "far" / "other.txt").hardlink_to(real)
    write_atomic(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert (tmp_path / "far" / "other.txt").read_text() == "real", "replaced, not written over"
    assert names(tmp_path) == ["far", "link.txt"]


def test_a_link_to_nothing_makes_what_it_names(tmp_path: Path):
    (tmp_path / "link").symlink_to("new/file")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "new" / "file").read_text() == "new"


def test_links_in_a_circle_are_an_error_of_the_users(tmp_path: Path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(InputError, match=r"cannot write .*one: Too many levels of symbolic links"):
        write_atomic(tmp_path / "one", "new")
    assert names(tmp_path) == ["one", "two"]


def test_what_cannot_be_written_is_an_error_of_the_users(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*file/a\.txt: (Not a directory|File exists)"):
        write_atomic(tmp_path / "file" / "a.txt", "new")
    assert names(tmp_path) == ["file"]


def test_a_folder_of_that_name_stays_and_no_temporary_is_left(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "inside").write_text("kept")
    with pytest.raises(InputError, match=r"cannot write .*a: it is a folder"):
        write_atomic(tmp_path / "a", "new")
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["inside"]


def test_a_digest_is_that_of_the_whole_file(tmp_path: Path):
    data = bytes(range(256)) * 9000
    (tmp_path / "a.bin").write_bytes(data)
    assert len(data) > 1 << 21, "more than two of the chunks that it reads"
    assert sha256_of(tmp_path / "a.bin") == hashlib.sha256(data).hexdigest()
    with pytest.raises(InputError, match="cannot read"):
        sha256_of(tmp_path / "absent")


@pytest.fixture(params=["nameless", "hidden"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With files that have no name until they are whole, and as on systems that do not know those."""
    if request.param == "hidden":
        monkeypatch.setattr(files, "_NO_NAME", 0)
    elif not files._NO_NAME:
        pytest.skip("this system has no files without names")
    return str(request.param)


def write_all(*paths: Path | str, then: Callable[[], object] = lambda: None) -> None:
    """Write `new` to all of them together; `then` happens before they appear."""
    with together():
        for path in paths:
            write_atomic(path, "new")
        then()


def test_what_is_written_together_appears_together(way: str, tmp_path: Path):
    (tmp_path / "old").write_text("old")
    done = []
    with together():
        write_atomic(tmp_path / "old", "new")
        write_atomic(tmp_path / "b", "b")
        with atomic_path(tmp_path / "c") as temporary:
            temporary.write_text("c")
        once_written(lambda: done.append(names(tmp_path)))
        assert (tmp_path / "old").read_text() == "old"
        assert not (tmp_path / "b").exists()
        assert waiting(tmp_path / "b").read_text() == "b"
        assert waiting(tmp_path / "old").read_text() == "new"
        assert waiting(tmp_path / "other") == tmp_path / "other"
        with at_once():
            write_atomic(tmp_path / "state", "kept whatever comes")
            assert (tmp_path / "state").exists()
    assert done == [["b", "c", "old", "state"]]
    assert (tmp_path / "old").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_appears_when_anything_is_raised(way: str, error: type[BaseException], tmp_path: Path):
    (tmp_path / "old").write_text("old")

    def raising() -> None:
        once_written(lambda: pytest.fail("nothing was written"))
        raise error

    with pytest.raises(error):
        write_all(tmp_path / "old", tmp_path / "new" / "b", then=raising)
    assert (tmp_path / "old").read_text() == "old"
    assert names(tmp_path / "new") == []


def test_what_was_put_in_place_is_taken_back(way: str, tmp_path: Path):
    """The last one cannot be put in place any more: a folder has taken its name meanwhile."""
    old = tmp_path / "old"
    old.write_text("old")
    number = old.stat().st_ino
    last = tmp_path / "last"
    with pytest.raises(InputError, match=r"cannot write .*last"):
        write_all(old, tmp_path / "first", last, then=last.mkdir)
    assert names(tmp_path) == ["last", "old"]
    assert old.read_text() == "old"
    assert old.stat().st_ino == number


def test_a_stream_that_refuses_takes_the_files_back(way: str, tmp_path: Path):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with pytest.raises(InputError, match="Broken pipe"):
            write_all(f"/proc/self/fd/{writing}", tmp_path / "a")
    finally:
        os.close(writing)
    assert names(tmp_path) == []


def test_a_file_that_failed_is_not_among_the_others(way: str, tmp_path: Path):
    with together():
        write_atomic(tmp_path / "a", "a")
        with pytest.raises(ValueError, match="midway"):
            fail(tmp_path / "b", ValueError)
    assert names(tmp_path) == ["a"]


def test_one_place_takes_one_output(tmp_path: Path):
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(InputError, match="two outputs would go to"):
        write_all(tmp_path / "a", tmp_path / "link")
    assert names(tmp_path) == ["link"]


def test_what_is_read_is_not_written_over_by_any_name(tmp_path: Path):
    source = tmp_path / "source"
    source.write_text("old")
    (tmp_path / "same").hardlink_to(source)
    (tmp_path / "link").symlink_to(source)
    with protected([source, tmp_path, tmp_path / "absent"]):
        for name in ("source", "same", "link"):
            with pytest.raises(InputError, match="the command reads it"):
                write_atomic(tmp_path / name, "new")
        write_atomic(tmp_path / "other", "new")
    assert source.read_text() == "old"


def test_descriptors_of_our_own_are_streams(tmp_path: Path):
    """Also when they lead to a file: replacing it would leave the descriptor's owner with the old one."""
    with (tmp_path / "log").open("w+b") as log:
        log.write(b"before ")
        log.flush()
        path = f"/proc/self/fd/{log.fileno()}"
        assert is_stream(path)
        write_atomic(path, "after")
        assert (tmp_path / "log").read_text() == "before after"
        with atomic_path(path) as temporary:
            temporary.write_text(", and more")
        assert (tmp_path / "log").read_text() == "before after, and more"
    assert names(tmp_path) == ["log"]


def test_stdout_has_several_names(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]):
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    for name in ("-", tmp_path / "link", Path("-")):
        assert is_stdout(name)
        with report_on_stderr():
            sys.stdout.write("a report\n")
            write_atomic(name, b"\x00an answer")
        assert capsysbinary.readouterr() == (b"\x00an answer", b"a report\n")
    assert not is_stdout(tmp_path / "-")


def test_a_socket_and_a_disk_are_refused(tmp_path: Path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(InputError, match=r"cannot write .*socket: it is a socket"):
            write_atomic(tmp_path / "socket", "new")
    try:
        os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 255))
    except PermissionError:
        return
    with pytest.raises(InputError, match=r"cannot write .*disk: it is a whole disk"):
        write_atomic(tmp_path / "disk", "new")
    assert stat.S_ISBLK((tmp_path / "disk").stat().st_mode)


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "nul\0"])
def test_odd_names(name: str, way: str, tmp_path: Path):
    if "\0" in name:
        with pytest.raises(InputError, match="cannot write"):
            write_atomic(tmp_path / name, "new")
        return
    write_atomic(tmp_path / name, "new")
    with pytest.raises(InputError, match="File name too long"):
        write_atomic(tmp_path / (name + "xx"), "new")
    assert names(tmp_path) == [name]


def test_what_a_killed_process_left_goes_with_the_next_writing(tmp_path: Path):
    """Its lock is free and it is of some time ago; the file of a living process, and others of the user's, stay."""
    code = "import sys, time; from dlaflow.files import atomic_path\nwith atomic_path(sys.argv[1]): print(1, flush=True); time.sleep(600)"  # noqa: E501
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    assert len(names(tmp_path)) == 2
    writers[0].kill()
    writers[0].communicate()
    (tmp_path / ".a.mine.tmp").write_text("")
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("new")
        assert len(names(tmp_path)) == 3, "the living writer's, the user's and this one"
    assert ".a.mine.tmp" in names(tmp_path)
    writers[1].send_signal(signal.SIGINT)
    writers[1].communicate()
    assert names(tmp_path) == [".a.mine.tmp", "a"]


INTERRUPTED = """
    import os, signal, sys
    from dlaflow import files
    number, path, skipped = int(sys.argv[1]), sys.argv[2], [int(sys.argv[3])]
    calls = 0
    def trace(frame, event, argument):
        global calls
        if frame.f_code.co_filename == files.__file__ and event in ("line", "return"):
            calls += 1
            if calls == number:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace
    files._NO_NAME = files._NO_NAME if skipped[0] else 0
    sys.settrace(trace)
    try:
        with files.together():
            files.write_atomic(path + "/a", "new a")
            files.write_atomic(path + "/b", "new b")
        sys.settrace(None)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)
"""


@pytest.mark.parametrize("nameless", ["0", "1"])
def test_an_interrupt_at_any_line_leaves_both_or_none_and_no_temporary(nameless: str, tmp_path: Path):
    """Ctrl-C is raised at each line of files.py in turn, until the writing is over before its turn comes."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    for number in range(1, 2000, 7):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a").write_text("old a")
        ended = subprocess.run([sys.executable, str(script), str(number), str(folder), nameless], check=False)
        read = {path.name: path.read_text() for path in folder.iterdir()}
        if ended.returncode == 0:
            assert read == {"a": "new a", "b": "new b"}
            break
        assert read in ({"a": "old a"}, {"a": "new a", "b": "new b"}), number
    else:
        pytest.fail("never came to the end")
    assert number > 100, "it was interrupted at many lines"


def test_a_replaced_file_keeps_its_mode_and_owner(tmp_path: Path) -> None:
    private = tmp_path / "private.json"
    private.write_text("old")
    private.chmod(0o600)
    owner = 1000 if os.getuid() == 0 else os.getuid()
    os.chown(private, owner, -1)
    write_atomic(private, b"new")
    assert (private.read_bytes(), private.stat().st_mode & 0o777, private.stat().st_uid) == (b"new", 0o600, owner)


@pytest.mark.parametrize("name", ["/dev/fd/99999999999999999999", "/proc/self/fd/\u0661"])
def test_no_descriptor_of_ours_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match="cannot write"):
        write_atomic(name, b"x")


def test_text_with_bytes_of_a_name_is_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / "page.html", "m\udcff.onnx")
    assert (tmp_path / "page.html").read_bytes() == b"m\\udcff.onnx"
    assert json.loads(json_bytes({"path": "m\udcff.onnx"})) == {"path": "m\\udcff.onnx"}
