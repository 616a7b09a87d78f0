"""Files are whole or absent: when the writer fails, is killed, or somebody reads meanwhile."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.errors import InputError
from dlaflow.files import atomic_path, sha256_of, write_atomic


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
    """Not the 0600 of a temporary file, nor the old file's: other users read what is published."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o400)
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
