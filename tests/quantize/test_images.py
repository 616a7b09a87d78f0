"""Images from arrays and folders: balanced, prepared, and refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.errors import InputError, UsageError
from dlaflow.quantize.images import (
    ImageArray,
    ImageFiles,
    Preparation,
    balanced,
    float_batches,
    folder_labels,
    image_files,
)

PIL = pytest.importorskip("PIL.Image")


def save(path: Path, width: int, height: int, colour: tuple[int, int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.new("RGB", (width, height), colour).save(path)
    return path


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 60))
def test_every_prefix_is_balanced(labels: list[int], count: int) -> None:
    known = np.array(labels, np.int64)
    order = balanced(known, len(labels), count)
    assert len(order) == min(count, len(labels)) == len(set(order.tolist()))
    counts = np.bincount(known[order], minlength=5)
    smaller = [c for c, total in zip(counts, np.bincount(known, minlength=5), strict=True) if c < total]
    assert all(c >= counts.max() - 1 for c in smaller)
    assert np.array_equal(order, balanced(known, len(labels), count))


def test_normalisation() -> None:
    pixels = np.full((2, 3, 1, 1), 255, np.uint8)
    images = ImageArray(pixels, np.arange(2), Preparation((0.5, 0.5, 0.0), (0.5, 0.25, 1.0)))
    assert images[0:1].ravel().tolist() == [1.0, 2.0, 1.0]
    channels_last = Preparation((0.5, 0.5, 0.0), (0.5, 0.25, 1.0), layout="nhwc")
    assert channels_last.normalised(pixels.reshape(2, 1, 1, 3))[0].ravel().tolist() == [1.0, 2.0, 1.0]
    assert Preparation().normalised(np.float32([[2.0]])).tolist() == [[2.0]]
    with pytest.raises(InputError, match="do not fit"):
        Preparation((0.1, 0.2), (1.0, 1.0)).normalised(pixels)
    with pytest.raises(UsageError, match="positive"):
        Preparation(std=(0.0,))
    with pytest.raises(UsageError, match="layout"):
        Preparation(layout="chw")


def test_a_folder_with_classes(tmp_path: Path) -> None:
    save(tmp_path / "b/1.png", 8, 8, (255, 0, 0))
    save(tmp_path / "a/2.png", 8, 8, (0, 255, 0))
    save(tmp_path / "a/3.PNG", 8, 8, (0, 0, 255))
    (tmp_path / "a/notes.txt").write_text("no image")
    paths = image_files(tmp_path)
    labels = folder_labels(tmp_path, paths)
    assert labels is not None
    assert labels.tolist() == [0, 0, 1]
    images = ImageFiles(paths, Preparation(size=(8, 8)))
    batches = list(float_batches(images, 2))
    assert [batch.shape for batch in batches] == [(2, 3, 8, 8), (1, 3, 8, 8)]
    assert batches[1][0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]
    assert len(images.only(slice(1, None))) == 2
    assert folder_labels(tmp_path / "a", image_files(tmp_path / "a")) is None


def test_resizing(tmp_path: Path) -> None:
    path = save(tmp_path / "wide.png", 40, 20, (10, 20, 30))
    cut = ImageFiles([path], Preparation(size=(8, 8), resize=10, layout="nhwc"))
    assert cut[0:1].shape == (1, 8, 8, 3)
    assert ImageFiles([path], Preparation(resize=(5, 6)))[0:1].shape == (1, 3, 5, 6)
    assert ImageFiles([path], Preparation(), channels=1)[0:1].shape == (1, 1, 20, 40)


def test_bad_folders_and_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        image_files(tmp_path)
    first, second = save(tmp_path / "1.png", 8, 8, (0, 0, 0)), save(tmp_path / "2.png", 9, 8, (0, 0, 0))
    with pytest.raises(InputError, match=r"2\.png has another size.*expected 8x8.*received 9x8"):
        ImageFiles([first, second], Preparation())[0:2]
    with pytest.raises(InputError, match="does not fit the network"):
        ImageFiles([second], Preparation(size=(8, 8)))[0:1]
    (tmp_path / "3.png").write_bytes(second.read_bytes()[:30])
    with pytest.raises(InputError, match=r"3\.png cannot be read"):
        ImageFiles([tmp_path / "3.png"], Preparation())[0:1]
