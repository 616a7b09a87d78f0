"""The table of images agrees with the releases, and the Dockerfile with the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dlaflow.targets.release import releases

FOLDER = Path(__file__).parents[2] / "docker"
ROW = re.compile(
    r"^\| (?P<jetpack>[^|]+) \| (?P<l4t>[^|]+) \| (?P<tensorrt>[\d.]+) \| `(?P<image>[^`]+)` \|", re.MULTILINE
)


def rows():
    return list(ROW.finditer((FOLDER / "README.md").read_text()))


def names_in(text):
    """`5.1.2 to 5.1.6` and `6.1, 6.2` as names."""
    first, to, last = text.partition(" to ")
    if not to:
        return text.split(", ")
    stem, _, start = first.rpartition(".")
    return [f"{stem}.{number}" for number in range(int(start), int(last.rpartition(".")[2]) + 1)]


def test_every_release_from_5_0_2_to_6_has_an_image_of_its_line_and_tensorrt():
    by_name = {name: row for row in rows() for name in names_in(row["jetpack"])}
    wanted = [one for one in releases() if one.family == "JetPack" and re.match(r"5\.0\.2|5\.1|6\.", one.name)]
    assert len(wanted) >= 11
    for release in wanted:
        row = by_name.pop(release.name)
        assert release.tensorrt.startswith(row["tensorrt"]), release.name
        tag = row["image"].rpartition(":r")[2]
        assert tag.partition(".")[0] == release.l4t.partition(".")[0], release.name
    assert not by_name, "the table names no release that there is not"


@pytest.mark.parametrize("file", ["jetson.Dockerfile", "README.md"])
def test_the_default_image_is_one_of_the_table(file):
    images = {row["image"] for row in rows()}
    assert set(re.findall(r"nvcr\.io/\S+?:r[\d.]+", (FOLDER / file).read_text())) <= images


def test_the_dockerfile_ends_in_the_doctor():
    lines = (FOLDER / "jetson.Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("FROM")] == ["FROM ${BASE}"]
    assert lines[-2:] == ['ENTRYPOINT ["dlaflow"]', 'CMD ["doctor"]']
