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


def instructions():
    """The instructions of the Dockerfile, each on one line, without comments."""
    lines = [line for line in (FOLDER / "jetson.Dockerfile").read_text().splitlines() if not line.startswith("#")]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line]


def test_the_container_runs_as_an_ordinary_user_who_is_made_there():
    text = instructions()
    (at,) = (index for index, line in enumerate(text) if line.startswith("USER "))
    user = text[at].split()[1]
    assert user not in ("root", "0")
    assert re.search(rf"useradd\b.*\b{user}$", text[at - 1])
    assert not [line for line in text[at:] if line.startswith("RUN ")]


def test_no_failure_is_hidden_and_every_package_comes_by_its_hash():
    runs = [line for line in instructions() if line.startswith("RUN ")]
    assert not [line for line in runs if "||" in line or "set +e" in line]
    installs = [part for line in runs for part in re.split("&&|;", line) if "pip install" in part]
    assert len(installs) == 3
    assert all("--require-hashes" in part or "--no-deps --no-build-isolation /opt/src" in part for part in installs)
    root = FOLDER.parent
    lists = [name for part in installs for name in re.findall(r"/opt/src/(\S+\.txt)", part)]
    assert len(lists) == 2
    assert all((root / name).is_file() for name in lists)


def test_the_context_is_what_the_dockerfile_copies_and_what_the_build_needs():
    """All is ignored but what is named: a folder that appears tomorrow does not travel into images by itself."""
    first, *rest = [line for line in (FOLDER.parent / ".dockerignore").read_text().splitlines() if line[:1] not in "#"]
    kept = {line.removeprefix("!") for line in rest if line.startswith("!")}
    assert first == "*"
    copied = {name for line in instructions() if line.startswith("COPY ") for name in line.split()[1:-1]}
    assert copied == kept
    assert {"src", "requirements", "pyproject.toml", "README.md", "LICENSE"} <= copied
    assert all((FOLDER.parent / name).exists() for name in kept)


def test_the_dockerfile_ends_in_the_doctor():
    lines = (FOLDER / "jetson.Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("FROM")] == ["FROM ${BASE}"]
    assert lines[-2:] == ['ENTRYPOINT ["dlaflow"]', 'CMD ["doctor"]']
