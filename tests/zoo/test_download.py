"""Downloading from a real server on the loopback, which cuts, restarts, lies or is not there."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dlaflow.errors import EnvironmentLacksError, InputError
from dlaflow.zoo.download import Archive, download

BODY = bytes(range(256)) * 4000


class Served(ThreadingHTTPServer):
    """Serves BODY, at most `cut_after` bytes a connection; `ranges` tells whether it can go on in the middle."""

    daemon_threads = True
    cut_after = len(BODY)
    ranges = True
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Served

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.asked.append(wanted)
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        match = re.match(r"bytes=(\d+)-", wanted or "") if self.server.ranges else None
        start = int(match.group(1)) if match else 0
        if start >= len(BODY):
            self.send_error(416)
            return
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        self.wfile.write(BODY[start : start + self.server.cut_after])

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def server() -> Iterator[Served]:
    with Served() as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def archive(server: Served, body: bytes = BODY) -> Archive:
    return Archive(
        "a.tar.gz", f"http://127.0.0.1:{server.server_port}/a.tar.gz", hashlib.md5(body).hexdigest(), timeout=5
    )


class Counter:
    """A progress that adds up."""

    def __init__(self) -> None:
        self.totals: list[float | None] = []
        self.done: list[float] = []

    @contextmanager
    def __call__(self, title: str, total: float | None, unit: str = "") -> Iterator[Counter]:
        self.totals.append(total)
        self.done.append(0)
        yield self

    def advance(self, amount: float = 1) -> None:
        self.done[-1] += amount

    def describe(self, text: str) -> None:
        return None


def test_one_go_with_progress(server: Served, tmp_path: Path) -> None:
    progress = Counter()
    path = download(archive(server), tmp_path / "new", progress)
    assert path.read_bytes() == BODY
    assert progress.totals == progress.done == [len(BODY)]
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["a.tar.gz"]


def test_a_cut_connection_is_taken_up_where_it_stopped(server: Served, tmp_path: Path) -> None:
    server.cut_after = len(BODY) // 3
    progress = Counter()
    assert download(archive(server), tmp_path, progress).read_bytes() == BODY
    third = len(BODY) // 3
    assert server.asked == [None, f"bytes={third}-", f"bytes={2 * third}-", f"bytes={3 * third}-"]
    assert progress.done[-1] == progress.totals[-1] == len(BODY)


def test_what_an_earlier_run_left_is_used(server: Served, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz.part").write_bytes(BODY[:1000])
    assert download(archive(server), tmp_path).read_bytes() == BODY
    assert server.asked == ["bytes=1000-"]


def test_a_whole_part_needs_only_its_name(server: Served, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz.part").write_bytes(BODY)
    assert download(archive(server), tmp_path).read_bytes() == BODY


def test_a_server_without_ranges_starts_over(server: Served, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "a.tar.gz.part").write_bytes(b"stale" * 1000)
    assert download(archive(server), tmp_path).read_bytes() == BODY


def test_a_server_that_cuts_and_never_gets_further_ends_the_attempt(server: Served, tmp_path: Path) -> None:
    server.ranges = False
    server.cut_after = 1000
    with pytest.raises(EnvironmentLacksError, match=r"ended after 1,000 of 1,024,000 bytes"):
        download(archive(server), tmp_path)
    assert (tmp_path / "a.tar.gz.part").stat().st_size == 1000


def test_a_wrong_checksum_leaves_nothing(server: Served, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="damaged and was removed"):
        download(archive(server, b"something else"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_refusing_server_is_told(server: Served, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(EnvironmentLacksError, match="answered 404"):
        download(archive(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.tar.gz", "http://no-such-host.invalid/a.tar.gz"])
def test_no_network_fails_quickly_and_says_what_to_do(url: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(EnvironmentLacksError, match="by hand"):
        download(Archive("a.tar.gz", url, "0" * 32), tmp_path)
    assert time.monotonic() - began < 15
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write"):
        download(Archive("a.tar.gz", "http://127.0.0.1:9/", "0" * 32), tmp_path / "file" / "folder")
