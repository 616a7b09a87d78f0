"""The lock of a folder is a plain file of ours; whatever else has its name stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlaflow.errors import InputError
from dlaflow.recipe.lock import locked

HOLD = "import sys; from pathlib import Path; from dlaflow.recipe.lock import locked\nwith locked(Path(sys.argv[1])): print(1, flush=True); sys.stdin.read()"  # noqa: E501


def test_a_second_run_is_told_who_is_there_and_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    owner.stdout.readline()
    with pytest.raises(InputError, match=f"another run works in .*process {owner.pid}"), locked(tmp_path):
        pass
    owner.kill()
    owner.communicate()
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == f" {os.getpid()}\n"


@pytest.mark.parametrize("kind", ["symbolic", "dangling", "hard", "own", "pipe", "folder"])
def test_what_is_not_ours_is_neither_followed_nor_written(kind: str, tmp_path: Path) -> None:
    precious, folder = tmp_path / "precious", tmp_path / "run"
    folder.mkdir()
    precious.write_text("precious")
    lock = folder / ".lock"
    if kind == "symbolic":
        lock.symlink_to(precious)
    elif kind == "dangling":
        lock.symlink_to(tmp_path / "absent")
    elif kind == "hard":
        lock.hardlink_to(precious)
    elif kind == "own":
        lock.write_text("a file of somebody's")
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    with pytest.raises(InputError, match=r"\.lock is no lock|cannot use the folder"), locked(folder):
        pass
    assert precious.read_text() == "precious"
    assert not (tmp_path / "absent").exists()
    if kind == "own":
        assert lock.read_text() == "a file of somebody's"
