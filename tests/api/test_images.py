"""Arrays and image folders that cannot be used end in one line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlaflow.api.images import ImageOptions, select
from dlaflow.errors import InputError, UsageError
from dlaflow.progress import silent
from dlaflow.quantize.feed import NetworkInput, only_array

ONE = NetworkInput("x", (3, 4, 4))


def chosen(data: Path, **options: str) -> np.ndarray:
    """The first images that the data yields."""
    reading = ImageOptions(**options)  # type: ignore[arg-type]
    return only_array(select(data, reading, [ONE], train=True, default=4, progress=silent).images[:4])


def images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).random((count, 3, 4, 4)).astype(np.float32)


@pytest.mark.parametrize("kept", [0, 10, 200, 500])
def test_damaged_archives(kept: int, tmp_path: Path) -> None:
    """Cut off, or with changed bytes in the directory, the header or the compressed values."""
    np.savez_compressed(tmp_path / "a.npz", images=images(), labels=np.arange(4))
    whole = (tmp_path / "a.npz").read_bytes()
    changed = bytearray(whole)
    changed[kept : kept + 40] = bytes(byte ^ 0x5A for byte in whole[kept : kept + 40])
    for content in (whole[:kept], bytes(changed)):
        (tmp_path / "b.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"b\.npz cannot be read"):
            chosen(tmp_path / "b.npz")


@pytest.mark.parametrize("shape", [(-4, 3, 4, 4), (1 << 46, 3, 4, 4)])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_header_that_lies(shape: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    with (tmp_path / "lie.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.write(images().tobytes())
    if suffix == "npz":
        with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
            archive.write(tmp_path / "lie.npy", "images.npy")
    with pytest.raises(InputError, match=r"lie\.np. cannot be read"):
        chosen(tmp_path / f"lie.{suffix}")


def test_members_that_are_no_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    with pytest.raises(InputError, match=r"a\.npz cannot be read.*member that is none"):
        chosen(tmp_path / "a.npz")


def test_labels_must_be_numbers_of_classes(tmp_path: Path) -> None:
    for labels in (np.eye(4), np.array(list("abcd"))):
        np.savez(tmp_path / "a.npz", images=images(), labels=labels)
        with pytest.raises(InputError, match=r"labels in .*a\.npz cannot be used.*argmax"):
            chosen(tmp_path / "a.npz")


def test_an_archive_with_one_array_needs_no_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images())
    assert chosen(tmp_path / "a.npz").shape == (4, 3, 4, 4)
    np.savez(tmp_path / "b.npz", first=images(), second=images())
    with pytest.raises(InputError, match="array named images, received first, second"):
        chosen(tmp_path / "b.npz")


def test_pictures_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert chosen(tmp_path).shape == (1, 3, 4, 4)
    monkeypatch.setenv("DLAFLOW_MAX_PIXELS", "7")
    with pytest.raises(InputError, match=r"a\.png is too large: expected at most 7 pixels, received 16.*MAX_PIXELS"):
        chosen(tmp_path)


def test_only_the_promised_formats_are_opened(tmp_path: Path) -> None:
    """Pillow hands PostScript to another program, whatever the file is called."""
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n")
    with pytest.raises(InputError, match="cannot identify image file"):
        chosen(tmp_path)


def test_a_thin_image_is_not_blown_up(tmp_path: Path) -> None:
    """The shorter side to 256 would make 1 x 60,000 pixels to 256 x 15,360,000."""
    Image.new("1", (60_000, 1)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"resized to 15360000x256, is too large.*MAX_PIXELS"):
        chosen(tmp_path, resize="256")


def test_labels_that_are_no_numbers_of_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=images(), labels=np.array([0, 1, np.nan, 2]))
    with pytest.raises(InputError, match="expected whole numbers"):
        chosen(tmp_path / "a.npz")


def test_inputs_that_share_an_archive_have_an_array_each(tmp_path: Path) -> None:
    """A lone array, or one called images, would be fed to all of them."""
    both = [NetworkInput("left", (3, 4, 4)), NetworkInput("right", (3, 4, 4))]
    for names in (("left",), ("left", "images")):
        np.savez(tmp_path / "a.npz", **dict.fromkeys(names, images()))  # type: ignore[arg-type]
        with pytest.raises(InputError, match=f"expected an array named right, received {', '.join(names)}"):
            select(tmp_path / "a.npz", ImageOptions(), both, train=True, progress=silent)


def test_sources_go_to_inputs_by_the_longest_name(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images())
    both = [NetworkInput("a", (3, 4, 4)), NetworkInput("a=b", (3, 4, 4))]
    given = [f"a=b={tmp_path}/x.npy", f"a={tmp_path}/x.npy"]
    assert len(select(given, ImageOptions(), both, train=True, progress=silent).images) == 4
    with pytest.raises(UsageError, match="the model has 2 inputs"):
        select([*given, given[0]], ImageOptions(), both, train=True, progress=silent)


def test_the_channels_of_files_are_those_of_the_network(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for channels in (1, 4):
        chosen_images = select(
            tmp_path, ImageOptions(), [NetworkInput("x", (channels, 4, 4))], train=True, progress=silent
        ).images
        assert np.asarray(chosen_images[:1]).shape == (1, channels, 4, 4)
    with pytest.raises(InputError, match="takes 2 channels: expected 1, 3, 4 channels"):
        _ = select(tmp_path, ImageOptions(), [NetworkInput("x", (2, 5, 5))], train=True, progress=silent).images[:1]
    with pytest.raises(InputError, match="expected 1 or 3 values each, received 2 and 1"):
        chosen(tmp_path, mean="0.5,0.5")
