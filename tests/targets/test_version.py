"""Release numbers."""

from __future__ import annotations

import pytest

from dlaflow.errors import UsageError
from dlaflow.targets.version import agree


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
