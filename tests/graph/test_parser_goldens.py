"""Our layers against recordings of NVIDIA's open parser, where they are at hand (graph_goldens.py)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from graph_goldens import BRANCHES, KNOWN, Goldens, difference, recordings, unpack

SMALL = 12

pytestmark = pytest.mark.skipif(
    not (recordings() / "cases.tar.gz").exists(),
    reason=f"no recordings of the parser in {recordings()} (DLAFLOW_PARSER names their folder)",
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Goldens:
    return unpack("cases", tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Goldens:
    return unpack("networks", tmp_path_factory.mktemp("networks"))


def _agree(goldens: Goldens, names: list[str], release: str) -> None:
    assert names
    found = [difference(goldens, name, release) for name in names]
    differences = [text for text in found if text is not None]
    assert not differences, f"{len(differences)} of {len(names)} differ for TensorRT {release}:\n" + "\n".join(
        differences[:40]
    )


@pytest.mark.parametrize("release", BRANCHES)
def test_cases(cases: Goldens, release: str) -> None:
    _agree(cases, sorted(cases.records), release)


@pytest.mark.parametrize("release", BRANCHES)
def test_small_networks(networks: Goldens, release: str) -> None:
    _agree(networks, networks.smallest(SMALL), release)


@pytest.mark.slow
@pytest.mark.parametrize("release", BRANCHES)
def test_networks(networks: Goldens, release: str) -> None:
    _agree(networks, sorted(networks.records), release)


def test_the_known_differences_are_still_there(cases: Goldens) -> None:
    for name, release in KNOWN:
        record = cases.records[name][BRANCHES[release]]
        plugin = next(layer for layer in record["layers"] if layer["kind"].startswith("PLUGIN"))
        assert plugin["outputs"][0]["shape"][1] == plugin["inputs"][0]["shape"][1]
