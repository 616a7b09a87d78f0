"""Data sets by name: fingerprints, which folder, and the fallback."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dlaflow.errors import EnvironmentLacksError, InputError, UsageError
from dlaflow.zoo import cifar, data
from dlaflow.zoo.data import cifar_folder, find_or_digits, load_dataset
from dlaflow.zoo.dataset import Dataset, Split


def test_fingerprint_follows_content(colours: Dataset) -> None:
    same = replace(colours, name="other", train=Split(colours.train.images.copy(), colours.train.labels.copy()))
    assert same.fingerprint == colours.fingerprint
    changed = colours.test.images.copy()
    changed[-1, -1, -1, -1] ^= 1
    assert replace(colours, test=Split(changed, colours.test.labels)).fingerprint != colours.fingerprint


def test_folder_argument_beats_environment_beats_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DLAFLOW_DATA", raising=False)
    assert cifar_folder() == Path("data/cifar10")
    monkeypatch.setenv("DLAFLOW_DATA", "/elsewhere")
    assert cifar_folder() == Path("/elsewhere")
    assert cifar_folder(Path("here")) == Path("here")


def test_unknown_name() -> None:
    with pytest.raises(UsageError, match="Did you mean 'cifar10'"):
        load_dataset("cifar100")


def test_digits_step_in_loudly_when_cifar10_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 9 of the loopback: nobody listens there, so the connection is refused at once.
    unreachable = replace(cifar.ARCHIVE, url="http://127.0.0.1:9/cifar-10-binary.tar.gz")
    monkeypatch.setattr(cifar, "ARCHIVE", unreachable)
    with pytest.raises(EnvironmentLacksError, match="--data digits"):
        load_dataset("cifar10", tmp_path / "new")
    dataset, notice = find_or_digits(tmp_path / "new")
    assert dataset.name == "digits"
    assert notice is not None
    assert "CANNOT BE HAD" in notice
    assert "NOT comparable" in notice


def test_a_wrong_folder_is_an_error_and_no_reason_to_fall_back(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds no CIFAR-10.*received holiday\.jpg"):
        find_or_digits(tmp_path)


def test_head_takes_the_first(colours: Dataset) -> None:
    assert len(colours.train.head(7)) == 7
    assert colours.train.head(None) is colours.train
    assert data.DATASETS == ("cifar10", "digits")
