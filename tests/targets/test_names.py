"""Targets as people name them: L4T, `latest`, TensorRT; what contradicts or never existed is refused."""

from __future__ import annotations

import pytest

from dlaflow.errors import UsageError
from dlaflow.targets.board import find_board
from dlaflow.targets.options import TargetOptions
from dlaflow.targets.target import left_out


@pytest.mark.parametrize(
    ("name", "release"),
    [("r35.2.1", "5.1"), ("35.2.1", "5.1"), ("L4T 36.4.7", "6.2.1"), ("35.5.0", "5.1.6"), ("36.5", "6.2.2")],
)
def test_l4t_names_a_release(name: str, release: str) -> None:
    assert TargetOptions(jetpack=name).target().release.name == release


def test_the_default_is_the_newest_that_takes_models_as_they_are() -> None:
    default = TargetOptions().target()
    assert default.release.name == TargetOptions(jetpack="latest").target().release.name == "6.2.2"
    assert "7.2.2" in [release.name for release in left_out(find_board("agx-orin-64gb"), default.release)]


@pytest.mark.parametrize("options", [{"tensorrt": "99.1"}, {"tensorrt": "8"}, {"tensorrt": "8.9.1"}])
def test_a_tensorrt_that_never_was_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="no published TensorRT is known to have this number"):
        TargetOptions(**options).target()


def test_a_tensorrt_of_drive_os_alone_is_taken() -> None:
    """DRIVE OS 5.2.0 brought 6.3, 6.0.2 brought 8.3: no JetPack and no branch of NVIDIA's has these numbers."""
    assert [TargetOptions(tensorrt=each).target().release.version.parts[:2] for each in ("6.3.1.3", "8.3.0")] == [
        (6, 3),
        (8, 3),
    ]


def test_what_contradicts_is_refused_and_what_agrees_is_taken() -> None:
    with pytest.raises(UsageError, match="contradict"):
        TargetOptions(jetpack="5.1.1", tensorrt="8.6.1").target()
    assert TargetOptions(jetpack="6.2", tensorrt="10.3").target().release.name == "6.2"


@pytest.mark.parametrize("name", ["r35.9", "r99.1", "5.9"])
def test_an_unknown_release_names_the_nearest(name: str) -> None:
    with pytest.raises(UsageError, match="unknown"):
        TargetOptions(jetpack=name).target()
