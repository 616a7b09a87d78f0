"""Boards for the tests of `dlaflow.remote`: one on this machine, and one behind a real sshd."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from dlaflow.remote.board import Patience, RemoteBoard
from dlaflow.remote.ssh import SshTarget, SshTransport
from dlaflow.remote.transport import LocalTransport

for _name in ("stand_in_board", "attacks", "hostile_board"):
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).with_name(f"{_name}.py"))
    _spec.loader.exec_module(sys.modules.setdefault(_name, importlib.util.module_from_spec(_spec)))
stand_ins = sys.modules["stand_in_board"]

TEXT = """
<ir_version: 8, opset_import: ["" : 13]>
tiny (float[N, 3, 8, 8] input) => (float[N, 3, 8, 8] output) { output = Relu (input) }
"""
PATIENCE = Patience(answer=30, reconnect=30, busy=20)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(onnx.parser.parse_model(TEXT), path)
    return path


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A board whose programs this process sees too."""
    board = stand_ins.make_board(tmp_path / "board")
    monkeypatch.setenv("PATH", f"{board.programs}:{os.environ['PATH']}")
    yield board
    board.setting("seconds", 0)
    (board.folder / "held").unlink(missing_ok=True)


@pytest.fixture
def here(stand_in: Any) -> Iterator[RemoteBoard]:
    """The board through the local transport."""
    with RemoteBoard(LocalTransport(stand_in.root), PATIENCE) as board:
        yield board


@pytest.fixture
def sshd(tmp_path: Path, stand_in: Any) -> Iterator[Any]:
    if stand_ins.SSHD is None or shutil.which("ssh") is None:
        pytest.skip("no sshd here: apt-get install openssh-server openssh-client rsync")
    server = stand_ins.Sshd(tmp_path / "sshd", stand_in.path)
    server.make()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def connect(sshd: Any, stand_in: Any) -> Iterator[Callable[..., RemoteBoard]]:
    """Open boards over ssh; each is another host."""
    opened: list[RemoteBoard] = []

    def open_one(patience: Patience = PATIENCE, progress: object = None) -> RemoteBoard:
        target = SshTarget("board", config=sshd.config, root=str(stand_in.root))
        board = RemoteBoard(SshTransport(target), patience, *([progress] if progress else []))
        opened.append(board)
        return board

    yield open_one
    for board in opened:
        board.transport.close()
