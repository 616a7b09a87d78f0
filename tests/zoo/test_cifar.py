"""CIFAR-10's binary layout, from archives and folders that are whole, broken or hostile."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.errors import InputError
from dlaflow.zoo import cifar
from dlaflow.zoo.cifar import ARCHIVE, FOLDER, RECORD, TEST_FILES, TRAIN_FILES, dataset_from, load_cifar10

NAMES = TRAIN_FILES + TEST_FILES


RECORDS = 3


@pytest.fixture(autouse=True, scope="module")
def small_files() -> Iterator[None]:
    """Files of 3 records instead of 10,000, which takes milliseconds; test_real_cifar.py reads the real archive."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "RECORDS_A_FILE", RECORDS)
        yield


def content(number: int) -> bytes:
    """Records whose label is the record's number, and whose planes are 10, 20 and 30 plus the file's number."""
    planes = b"".join(bytes([base + number]) * 1024 for base in (10, 20, 30))
    return b"".join(bytes([record]) + planes for record in range(RECORDS))


def files() -> dict[str, bytes]:
    return {name: content(number) for number, name in enumerate(NAMES)}


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def pack(path: Path, fill: Callable[[tarfile.TarFile], None]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        fill(archive)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, small_files: None) -> Path:
    """A whole archive in the official layout."""

    def fill(archive: tarfile.TarFile) -> None:
        for number, name in enumerate(NAMES):
            add(archive, f"{FOLDER}/{name}", content(number))
        add(archive, f"{FOLDER}/readme.html", b"hello")

    return pack(tmp_path_factory.mktemp("cifar") / ARCHIVE.name, fill)


def test_planes_and_labels_land_where_they_belong() -> None:
    dataset = dataset_from(files())
    assert dataset.train.images.shape == (15, 3, 32, 32)
    assert dataset.train.labels.tolist() == [0, 1, 2] * 5
    assert dataset.train.images[4].reshape(3, -1).max(axis=1).tolist() == [11, 21, 31]
    assert dataset.test.images[0, :, 0, 0].tolist() == [15, 25, 35]
    assert dataset.mirrored


def test_archive_folder_and_the_folder_around_it_are_the_same(archive: Path) -> None:
    from_archive = load_cifar10(archive)
    assert from_archive.train.images.shape == (15, 3, 32, 32)
    assert load_cifar10(archive.parent).fingerprint == from_archive.fingerprint
    unpacked = archive.parent / "around" / FOLDER
    unpacked.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (unpacked / name).write_bytes(content(number))
    assert load_cifar10(unpacked).fingerprint == from_archive.fingerprint
    assert load_cifar10(unpacked.parent).fingerprint == from_archive.fingerprint


def test_a_missing_file_is_named() -> None:
    part = files()
    del part["data_batch_3.bin"]
    with pytest.raises(InputError, match=r"data_batch_3\.bin not found"):
        dataset_from(part)


def test_a_wrong_size_and_a_wrong_label_are_told() -> None:
    with pytest.raises(InputError, match=r"test_batch\.bin.*expected 9,219 bytes, received 9,218"):
        dataset_from(files() | {"test_batch.bin": content(0)[:-1]})
    with pytest.raises(InputError, match=r"labels 0\.\.9, received 99"):
        dataset_from(files() | {"test_batch.bin": b"\x63" + content(0)[1:]})


@given(keep=st.floats(0.0, 0.999))
@settings(deadline=None, max_examples=60)
def test_a_truncated_archive_is_always_one_clear_error(keep: float, archive: Path) -> None:
    whole = archive.read_bytes()
    broken = archive.parent.with_suffix(".broken")
    broken.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(InputError) as caught:
        load_cifar10(broken)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_found_by_the_checksum(archive: Path, tmp_path: Path) -> None:
    damaged = bytearray(archive.read_bytes())
    damaged[-8] ^= 1
    (tmp_path / "damaged.tar.gz").write_bytes(damaged)
    with pytest.raises(InputError, match="truncated or not a tar archive"):
        load_cifar10(tmp_path / "damaged.tar.gz")


@given(noise=st.binary(max_size=2000), zipped=st.booleans())
@settings(deadline=None, max_examples=30)
def test_noise_is_never_taken_for_an_archive(
    noise: bytes, zipped: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("noise") / "noise.tar.gz"
    path.write_bytes(gzip.compress(noise) if zipped else noise)
    with pytest.raises(InputError):
        load_cifar10(path)


@pytest.mark.parametrize("name", ["../test_batch.bin", "/etc/test_batch.bin", f"{FOLDER}/../../test_batch.bin"])
def test_a_path_that_leaves_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    path = pack(tmp_path / "evil.tar.gz", lambda archive: add(archive, name, b"x"))
    with pytest.raises(InputError, match="leaves the folder"):
        load_cifar10(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_is_refused(kind: bytes, tmp_path: Path) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(f"{FOLDER}/test_batch.bin")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)

    with pytest.raises(InputError, match="link"):
        load_cifar10(pack(tmp_path / "evil.tar.gz", fill))


def test_a_huge_member_is_refused_before_it_is_read(tmp_path: Path) -> None:
    member = tarfile.TarInfo(f"{FOLDER}/test_batch.bin")
    member.size = 1 << 40
    path = tmp_path / "huge.tar"
    path.write_bytes(member.tobuf())
    with pytest.raises(InputError, match=f"expected {RECORD * RECORDS:,} bytes"):
        load_cifar10(path)


def test_a_misspelt_archive_is_not_downloaded_into(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        load_cifar10(tmp_path / "cifar.tar.gz")
