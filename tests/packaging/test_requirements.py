"""The lists of requirements/ against pyproject.toml and each other: all pinned by hash, and by versions it allows."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

try:
    import tomllib
except ImportError:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LISTS = sorted((ROOT / "requirements").glob("*.txt"))
GALLERY_ALONE = {"timm", "torchvision"}
APART = ("torch.txt", "torch-cpu.txt", "rtx.txt", "uv.txt")
EXTRAS = PROJECT["project"]["optional-dependencies"]
ENVIRONMENTS = [
    {**default_environment(), "python_version": python, "python_full_version": f"{python}.9", **machine}
    for python in ("3.10", "3.11", "3.12")
    for machine in (
        {"platform_machine": "aarch64", "sys_platform": "linux"},
        {"platform_machine": "x86_64", "sys_platform": "linux"},
    )
]


def pinned_lines(path: Path):
    """Each pinned requirement of a list, and its hashes."""
    for block in re.split(r"^(?=\w)", path.read_text(), flags=re.MULTILINE)[1:]:
        requirement, *options = block.split("\\\n")
        yield Requirement(requirement), re.findall(r"--hash=sha256:([0-9a-f]{64})\b", "".join(options))


def asked(names):
    """Requirements, with the extras of dlaflow in them resolved."""
    for text in names:
        requirement = Requirement(text)
        if requirement.name == PROJECT["project"]["name"]:
            yield from asked(name for extra in requirement.extras for name in EXTRAS[extra])
        else:
            yield requirement


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_every_package_is_pinned_and_has_hashes(path):
    lines = list(pinned_lines(path))
    assert lines
    for requirement, hashes in lines:
        assert [one.operator for one in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
    assert "://" not in path.read_text(), "the index is for who installs to choose"


@pytest.mark.parametrize(
    ("lists", "names"),
    [
        (("core.txt",), PROJECT["project"]["dependencies"]),
        (("run.txt",), PROJECT["project"]["dependencies"] + EXTRAS["run"]),
        (("jetson.txt",), PROJECT["project"]["dependencies"] + EXTRAS["run"]),
        (("gallery.txt", "torch.txt"), PROJECT["project"]["dependencies"] + EXTRAS["gallery"]),
        (("dev.txt", "torch.txt", "rtx.txt"), PROJECT["project"]["dependencies"] + EXTRAS["dev"]),
        (("dev.txt", "torch-cpu.txt", "rtx.txt"), PROJECT["project"]["dependencies"] + EXTRAS["dev"]),
    ],
)
@pytest.mark.parametrize(
    "environment", ENVIRONMENTS, ids=lambda one: f"{one['python_version']}-{one['platform_machine']}"
)
def test_a_list_holds_what_pyproject_asks_for(lists, names, environment):
    pinned: dict[str, list[str]] = {}
    for name in lists:
        for requirement, _ in pinned_lines(ROOT / "requirements" / name):
            if requirement.marker is None or requirement.marker.evaluate(environment):
                (one,) = requirement.specifier
                pinned.setdefault(canonicalize_name(requirement.name), []).append(one.version)
    assert [name for name, versions in pinned.items() if len(versions) > 1] == []
    for wanted in [*asked(names), *map(Requirement, PROJECT["build-system"]["requires"])]:
        if wanted.marker is None or wanted.marker.evaluate(environment):
            (version,) = pinned[canonicalize_name(wanted.name)]
            assert wanted.specifier.contains(version), wanted


def test_the_lists_agree_on_versions():
    """What users install is what CI tests: each pinned line of a smaller list is one of dev.txt.

    The gallery's packages are no other's: they agree where dev.txt has them too.
    """
    dev = {(one.name, str(one.specifier)) for one, _ in pinned_lines(ROOT / "requirements" / "dev.txt")}
    for path in LISTS:
        if path.name not in (*APART, "jetson.txt"):
            pinned = {(one.name, str(one.specifier)) for one, _ in pinned_lines(path)}
            own = {each for each in pinned - dev if path.name == "gallery.txt" and each[0] in GALLERY_ALONE}
            assert pinned - own <= dev, path.name


def test_every_dependency_has_an_upper_bound():
    names = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"], *chain(*EXTRAS.values())]
    bounded = {str(one): [bound for bound in one.specifier if bound.operator == "<"] for one in asked(names)}
    assert [name for name, bounds in bounded.items() if not bounds] == []
