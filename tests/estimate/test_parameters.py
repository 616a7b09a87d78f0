"""The stored numbers: each shipped set is whole, survives writing and reading, and a damaged one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.errors import InputError
from dlaflow.estimate.dla import PARAMETER_NAMES
from dlaflow.estimate.energy import energy_file, gpu_over_dla
from dlaflow.estimate.parameters import (
    DLA_SETS,
    GPU_SETS,
    dla_set,
    gpu_set,
    read_set,
    shipped_folder,
    write_set,
)
from tools.fit.write import write_energy


@pytest.mark.parametrize("key", DLA_SETS)
def test_every_dla_set_is_whole_and_says_why(key: str) -> None:
    found = dla_set(*key.split("-"))
    assert set(found.source.parameters) == set(PARAMETER_NAMES)
    assert all(number.why and number.median > 0 for number in found.source.parameters.values())
    assert 0 < found.source.spread.layer < 1
    assert not found.source.learned


@pytest.mark.parametrize("key", GPU_SETS)
def test_every_gpu_set_is_whole(key: str) -> None:
    assert 0 < gpu_set(key).parameters.efficiency <= 1


@pytest.mark.parametrize("key", [*DLA_SETS, *GPU_SETS])
def test_writing_and_reading_changes_nothing(key: str, tmp_path: Path) -> None:
    shipped = shipped_folder() / f"{key}.toml"
    write_set(read_set(shipped), tmp_path / "again.toml")
    assert (tmp_path / "again.toml").read_text() == shipped.read_text()


def test_a_damaged_set_is_told(tmp_path: Path) -> None:
    damaged = tmp_path / "agx-orin-64gb_v2-int8.toml"
    damaged.write_text("schema = 3")
    with pytest.raises(InputError, match="not a set of parameters"):
        read_set(damaged)
    text = (shipped_folder() / "v2-int8.toml").read_text()
    damaged.write_text("\n".join(line for line in text.splitlines() if not line.startswith("launch_ms")))
    with pytest.raises(InputError, match="launch_ms"):
        read_set(damaged)
    with pytest.raises(InputError, match="cannot read"):
        read_set(tmp_path / "absent.toml")


def test_energy_is_known_for_one_board_only(tmp_path: Path) -> None:
    ratio = gpu_over_dla("agx-orin-64gb", "30W")
    assert ratio is not None
    assert 2.5 < ratio.low < ratio.high < 4
    assert gpu_over_dla("orin-nx-16gb", "MAXN") is None
    copy = tmp_path / "energy.toml"
    shipped = shipped_folder().parent / "energy.toml"
    copy.write_text(shipped.read_text())
    write_energy(energy_file(), copy)
    assert copy.read_text() == shipped.read_text()
