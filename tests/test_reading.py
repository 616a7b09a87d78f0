"""What is handed in: files on a disk alone, only so much of them, and a line that says what raises the limit."""

from __future__ import annotations

import gzip
import os
import re
import socket
from pathlib import Path

import pytest

from dlaflow.errors import InputError, UsageError
from dlaflow.reading import LIMITS, LOG_BYTES, PIXELS, check_regular, read_bytes

ROOT = Path(__file__).resolve().parent.parent


def make(kind: str, path: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to a pipe":
        os.mkfifo(path.with_suffix(".real"))
        path.symlink_to(path.with_suffix(".real"))
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))


@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a pipe", "socket"])
def test_what_is_no_file_is_not_waited_for(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    make(kind, Path("odd"))
    with pytest.raises(InputError, match=rf"odd is a {kind.rpartition(' ')[2]}: expected a file on a disk"):
        read_bytes("odd")


@pytest.mark.parametrize("name", ["absent", "a\0b", "x" * 300])
def test_what_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        check_regular(tmp_path / name)


def test_a_limit_names_its_variable_and_follows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(bytes(11))
    monkeypatch.setenv("DLAFLOW_MAX_DOCUMENT_BYTES", "10")
    with pytest.raises(InputError, match=r"at most 10 bytes, received 11\. .* raise DLAFLOW_MAX_DOCUMENT_BYTES"):
        read_bytes(path)
    monkeypatch.setenv("DLAFLOW_MAX_DOCUMENT_BYTES", "11")
    assert read_bytes(path) == bytes(11)


@pytest.mark.parametrize("given", ["many", "-1", "²", "9" * 5000])
def test_a_variable_that_is_no_number(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PIXELS.variable, given)
    with pytest.raises(UsageError, match="DLAFLOW_MAX_PIXELS makes no sense"):
        PIXELS.check(1, "it")


def test_ten_sparse_gigabytes_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(InputError, match="is too large"):
        read_bytes(path)


def test_a_gzip_bomb_is_counted_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlaflow.parse.text import lines_of

    monkeypatch.setenv(LOG_BYTES.variable, "100000")
    (tmp_path / "a.log").write_bytes(gzip.compress(b"line\n" * 30_000))
    with pytest.raises(InputError, match="unzipped, is too large"):
        next(lines_of(tmp_path / "a.log"))


def test_the_page_lists_every_limit() -> None:
    page = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| ([\d,]+) (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert listed == [(each.variable, f"{each.usual:,}", each.unit, each.what) for each in LIMITS]


def test_a_log_of_lines_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlaflow.parse.text import lines_of

    monkeypatch.setenv("DLAFLOW_MAX_LOG_LINES", "10")
    (tmp_path / "a.log").write_bytes(b"\n" * 11)
    with pytest.raises(InputError, match=r"at most 10 lines, received 11\..*DLAFLOW_MAX_LOG_LINES"):
        next(lines_of(tmp_path / "a.log"))
