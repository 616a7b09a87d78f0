"""A board that means harm, as the forced command of a real sshd: nothing leaves the folder, and everything ends."""

from __future__ import annotations

import shutil
import sys

import attacks
import hostile_board
import pytest
from stand_in_board import SSHD, Sshd

ENDS = {"whole": {0}, "refused": {1, 2, 3}, "left": {3}, "any": {0, 2, 3}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A host's folder, and a hostile board behind an sshd in it."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("no sshd here: apt-get install openssh-server openssh-client rsync")
    place = tmp_path_factory.mktemp("hostile")
    shutil.copy(hostile_board.__file__, place / "board.py")
    attacks.save_model(place / "tiny.onnx")
    server = Sshd(place / "sshd", "/usr/bin:/bin", force=f"{sys.executable} {place}/board.py")
    server.make()
    server.start()
    yield place
    server.stop()
    attacks.end_board(place)


def modes():
    # One of each kind that takes long in itself, and of each group, is enough for every day.
    daily = {"honest", "name_up", "name_over", "size_disk", "raw_deep_unknown", "hello_line", "stderr_flood",
             "follow_dies", "send_more", "send_changed", "swap_folder", "link_before", "have_unknown"}  # fmt: skip
    return [pytest.param(mode, marks=[] if mode in daily else pytest.mark.slow) for mode in hostile_board.MODES]


@pytest.mark.parametrize("mode", modes())
def test_nothing_of_a_hostile_board_leaves_the_folder(place, mode):
    command, ending = hostile_board.MODES[mode]
    attacks.arrange(place)
    if mode == "link_before":
        (place / "out" / "build.log").symlink_to(place / "victim" / "precious")
    words = attacks.words_for(command, place, hostile_board.ID)
    met = attacks.meet(mode, place, [*words, "--timeout", "3"] if ending == "left" else words)
    assert met.code in ENDS[ending], (met.code, met.printed[-2000:])
    assert not met.traceback, met.printed
    assert met.outside == []
    assert (place / "victim" / "precious").read_bytes() == attacks.PRECIOUS
    assert met.children == []
    assert met.memory < 400 << 20
    assert met.disk < 20 << 20
    if ending == "whole":
        assert met.inside == {"build.log": hostile_board.DATA}
    else:
        # What was whole before the fault, as it was announced, stays.
        assert {name: data for name, data in met.inside.items() if name != "m.engine.log"} in (
            {},
            {"build.log": hostile_board.DATA},
        )
        assert ending == "any" or met.printed.splitlines()[-1].startswith("dlaflow"), met.printed[-2000:]
