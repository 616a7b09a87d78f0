"""Release numbers."""

from __future__ import annotations

import pytest

from dlaflow.errors import UsageError
from dlaflow.targets.version import Version, agree


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("10.3.0", "10.3.0.30", True),
        ("10.3.0.30", "10.3.0", True),
        ("8.5.2", "8.5.2", True),
        ("10.3.0", "10.3.1.30", False),
        ("10.3.0.26", "10.3.0.30", False),
    ],
)
def test_releases_agree_as_far_as_both_tell(first, second, same):
    assert agree(first, second) is same


def test_what_is_no_release_is_refused():
    with pytest.raises(UsageError, match="not a release number"):
        agree("10.x", "10.3.0")


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("8.5.2", (8, 5, 2)),
        ("10.3", (10, 3, 0)),
        ("10.3.0.30", (10, 3, 0)),
        ("8.6.2.3-1+cuda12.2", (8, 6, 2)),
        ("10.0.0b6", (10, 0, 0)),
        ("9.2.0.post12.dev5", (9, 2, 0)),
    ],
)
def test_a_release_is_three_numbers_whatever_follows(text, release):
    assert Version.parse(text).release.parts == release


@pytest.mark.parametrize("text", ["", "v8.5", "eight.five", "8.", "8.x", "1.2.3.4.5", "latest"])
def test_what_is_no_version(text):
    with pytest.raises(UsageError, match="not a release number"):
        Version.parse(text)


def test_bounds_take_in_their_own_release():
    version = Version.parse("8.6.1")
    assert version.since("8.6.1")
    assert not version.before("8.6.1")
    assert version.before("8.6.2")
    assert not version.since("8.6.2")
