"""CIFAR-10 in its official binary layout, from the archive as it is downloaded or from its unpacked folder.

Six files of 10,000 records; a record is one label byte (0..9) and 3,072 bytes of pixels, the red, green and blue planes
row by row. The archive is read in place: nothing is ever unpacked, so nothing can land outside the folder.
Source: https://www.cs.toronto.edu/~kriz/cifar.html (Krizhevsky, 2009).
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from dlaflow.errors import InputError
from dlaflow.progress import Progress, silent
from dlaflow.reading import check_regular, open_regular, read_bytes
from dlaflow.zoo.dataset import Dataset, Split
from dlaflow.zoo.download import Archive, download

ARCHIVE = Archive(
    name="cifar-10-binary.tar.gz",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
)
FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILES = ("test_batch.bin",)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
RECORD = 1 + 3 * 32 * 32
RECORDS_A_FILE = 10_000
_CHUNK = 1 << 20
_AFTER = 1 << 26
"""How much may follow the last member: tar fills up to 10 kB, and what goes on and on is no archive."""


def load_cifar10(place: Path, progress: Progress = silent) -> Dataset:
    """CIFAR-10 from `place`: the archive, a folder with the archive, the unpacked folder or the folder around it.

    When none of it is there the archive is downloaded into `place`. 50,000 training and 10,000 test images.
    Raises InputError when what is there is not CIFAR-10, EnvironmentLacksError when it cannot be downloaded.
    """
    return dataset_from(_read(_locate(place) or download(ARCHIVE, place, progress)))


def dataset_from(files: Mapping[str, bytes]) -> Dataset:
    """The data set out of the bytes of its six files, each of which must hold 10,000 records.

    Raises InputError for a missing file, a wrong size or a label above 9.
    """
    missing = [name for name in TRAIN_FILES + TEST_FILES if name not in files]
    if missing:
        raise InputError(f"CIFAR-10 is incomplete: {', '.join(missing)} not found", then=_ADVICE)
    train, test = (_join([_parse(name, files[name]) for name in names]) for names in (TRAIN_FILES, TEST_FILES))
    return Dataset("cifar10", train, test, MEAN, STD, CLASSES, mirrored=True)


_ADVICE = f"Point --data-dir at {ARCHIVE.name} (the binary version), or at an empty folder to download it."


def _locate(place: Path) -> Path | None:
    """What of CIFAR-10 lies at `place`; None when there is nothing and a download may start."""
    if place.exists() and not place.is_dir():
        check_regular(place)
        return place
    unpacked = [folder for folder in (place, place / FOLDER) if (folder / TEST_FILES[0]).is_file()]
    if unpacked:
        return unpacked[0]
    if (place / ARCHIVE.name).is_file():
        return place / ARCHIVE.name
    if not place.exists():
        if place.suffix in {".gz", ".tgz", ".tar", ".bin"}:
            raise InputError(f"there is no file {place}", then=_ADVICE)
        return None
    strangers = sorted(entry.name for entry in place.iterdir() if not entry.name.startswith((".", ARCHIVE.name)))
    if not strangers:
        return None
    shown = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
    raise InputError(
        f"{place} holds no CIFAR-10", expected=f"{ARCHIVE.name} or {FOLDER}/", received=shown, then=_ADVICE
    )


def _read(place: Path) -> dict[str, bytes]:
    try:
        if not place.is_dir():
            return _read_archive(place)
        names = TRAIN_FILES + TEST_FILES
        return {name: read_bytes(place / name) for name in names if (place / name).is_file()}
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{place} is truncated or not a tar archive ({error})",
            then=f"Remove it and start again: {ARCHIVE.name} is then downloaded anew.",
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {place}: {error.strerror or error}", then=_ADVICE) from None


def _read_archive(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    # As a stream: it is read once from front to back, since seeking would decompress everything twice.
    with _bytes_of(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            inside = PurePosixPath(member.name)
            if inside.is_absolute() or ".." in inside.parts or not (member.isfile() or member.isdir()):
                raise InputError(
                    f"{path} holds {member.name!r}, a link or a path that leaves the folder",
                    then="This is not the official archive; do not use it.",
                )
            if inside.name not in TRAIN_FILES + TEST_FILES:
                continue
            if member.size != RECORD * RECORDS_A_FILE:
                raise _wrong_size(f"{path}: {member.name}", member.size)
            content = archive.extractfile(member)
            files[inside.name] = content.read() if content is not None else b""
        # To the end, where gzip's checksum stands.
        for _ in range(_AFTER // _CHUNK):
            if not stream.read(_CHUNK):
                break
    return files


def _bytes_of(path: Path) -> gzip.GzipFile | BinaryIO:
    with open_regular(path) as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if gzipped else path.open("rb")


def _parse(name: str, content: bytes) -> Split:
    if len(content) != RECORD * RECORDS_A_FILE:
        raise _wrong_size(name, len(content))
    table = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD)
    labels = table[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        raise InputError(f"{name} is not CIFAR-10", expected="labels 0..9", received=int(labels.max()), then=_ADVICE)
    return Split(table[:, 1:].reshape(-1, 3, 32, 32), labels)


def _join(parts: list[Split]) -> Split:
    return Split(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))


def _wrong_size(name: str, size: int) -> InputError:
    return InputError(
        f"{name} is truncated or not CIFAR-10's binary version",
        expected=f"{RECORD * RECORDS_A_FILE:,} bytes",
        received=f"{size:,}",
        then=_ADVICE,
    )
