"""Boards, releases and limits: names, versions, what fits what."""

from __future__ import annotations

import pytest

from dlaflow.errors import UsageError
from dlaflow.targets.board import boards, find_board
from dlaflow.targets.limits import find_limit, limits
from dlaflow.targets.page import boards_page, boards_text
from dlaflow.targets.release import find_release, release_of_tensorrt, releases
from dlaflow.targets.target import resolve_target
from dlaflow.targets.version import Version, within


def test_versions_compare_as_numbers():
    assert Version.parse("8.6") == Version.parse("8.6.0.0")
    assert Version.parse("10.3.0.30") > Version.parse("8.5.2")
    assert within(Version.parse("8.6.2"), "8.6", "8.6")
    assert not within(Version.parse("8.6.12"), None, "8.6.11")
    with pytest.raises(UsageError, match=r"such as 8\.5\.2"):
        Version.parse("latest")


@pytest.mark.parametrize(
    ("board", "jetpack", "tensorrt"),
    [
        ("agx-orin-64gb", "5.1.1", "8.5.2"),
        ("AGX Orin", "6.2", "10.3.0.30"),
        ("xavier-nx", "4.6.3", "8.2.1"),
        ("agx-orin", "7.2.2", "11.4.1"),
        ("drive-orin", "drive-6.0.9.0", "8.6.12"),
    ],
)
def test_release_of_a_board(board, jetpack, tensorrt):
    assert resolve_target(board, jetpack).release.tensorrt == tensorrt


@pytest.mark.parametrize(("board", "newest"), [("orin-nx-16gb", "10.3"), ("xavier-nx-8gb", "8.5.2")])
def test_default_release_is_the_newest_with_a_usable_dla(board, newest):
    assert str(resolve_target(board).version).startswith(newest)


def test_boards_without_dla():
    assert {board.id for board in boards() if not board.dla_cores} == {"orin-nano", "agx-thor"}
    assert all((board.dla_version is None) == (board.dla_cores == 0) for board in boards())


def test_each_release_names_known_boards():
    known = {board.id for board in boards()}
    assert all(set(release.boards) <= known for release in releases())
    assert len({release.name for release in releases()}) == len(releases())


@pytest.mark.parametrize(
    ("version", "usable"),
    [
        ("8.5.2", "yes"),
        ("10.7.0", "yes"),
        ("10.9.0", "no"),
        ("11.0.0", "no"),
        ("11.4.0", "no"),
        ("11.4.1", "yes"),
    ],
)
def test_usable_releases_of_tensorrt(version, usable):
    assert release_of_tensorrt(version, "agx-orin-64gb").usable == usable


def test_wrong_names_tell_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'agx-orin"):
        find_board("agx-orn-64gb")
    with pytest.raises(UsageError, match=r"Did you mean '5\.1\.1'"):
        find_release("5.1.11")
    with pytest.raises(UsageError, match=r"JetPack 6\.2 does not exist for agx-xavier-32gb"):
        resolve_target("agx-xavier", "6.2")
    with pytest.raises(UsageError, match="batch must be positive"):
        resolve_target("agx-orin", batch=0)


def test_limits_depend_on_release_and_generation():
    old, new = Version.parse("7.0.0"), Version.parse("8.5.2")
    assert find_limit("conv.kernel", old, "v1").max == 16
    assert find_limit("conv.kernel", new, "v2").max == 32
    assert find_limit("softmax.available", new, "v1") is None
    assert find_limit("model.loadables", Version.parse("7.1.3"), "v1").max == 8
    with pytest.raises(KeyError):
        find_limit("no.such", new, "v2")


def test_ranges_of_one_limit_do_not_overlap():
    probes = [
        Version.parse(text)
        for text in ("5.1", "7.0.0", "7.1.3", "8.0.1", "8.2.1", "8.4.0", "8.5.2", "8.6.2", "8.6.12", "10.3", "11.4.1")
    ]
    for version in probes:
        for dla in ("v1", "v2"):
            seen = [limit.id for limit in limits() if dla in limit.dla and within(version, limit.since, limit.until)]
            assert len(seen) == len(set(seen)), (str(version), dla)


def test_pages_name_every_board_and_release():
    page, text = boards_page(), boards_text()
    assert all(board.id in page and board.id in text for board in boards())
    assert all(release.name in page and release.name in text for release in releases())
