"""What a release can do: the table itself, and the questions that the code asks of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dlaflow.targets.features import features, find_feature, has, trtexec_options
from dlaflow.targets.release import find_release, release_of_tensorrt
from dlaflow.targets.version import Version, within
from dlaflow.types import Confidence

SOURCE = Path(__file__).parents[2] / "src" / "dlaflow"
PROBES = "5.0.6 6.0.1 7.1.3 8.0.1 8.2.1 8.4 8.5.2 8.6.1 8.6.12 9.1 10.0 10.3.0.30 10.7 10.8 10.16 11.0 11.3 11.4 11.4.1"


@pytest.mark.parametrize("text", PROBES.split())
def test_entries_of_one_feature_do_not_overlap(text):
    version = Version.parse(text)
    found = [(each.id, each.of) for each in features() if within(version, each.since, each.until)]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("text", PROBES.split())
@pytest.mark.parametrize("id", ["opset", "dla_on_jetson"])
def test_what_every_release_must_tell(id, text):
    assert find_feature(id, Version.parse(text)) is not None


def test_every_fact_has_a_source():
    assert all(each.source for each in features())


def test_an_unknown_feature_is_a_mistake_in_the_code():
    with pytest.raises(KeyError):
        has("no_such", "10.3")


def test_every_feature_that_the_code_asks_for_is_there_and_each_is_asked_for():
    asked = set()
    for path in SOURCE.rglob("*.py"):
        asked |= set(re.findall(r'(?<![\w.])(?:has|find_feature)\(\s*"(\w+)"', path.read_text(encoding="utf-8")))
    assert asked == {each.id for each in features()}


@pytest.mark.parametrize(
    ("id", "last_without", "first_with"),
    [
        ("typed_only", "10.16.2", "11.0.0"),
        ("typed_networks", "9.0", "9.1.0"),
        ("qdq_on_dla", "10.10.9", "10.11"),
        ("int64", "9.3", "10.0"),
        ("tensors_by_name", "9.3.0", "10.0.0"),
    ],
)
def test_features_begin_with_their_release(id, last_without, first_with):
    assert not has(id, last_without)
    assert has(id, first_with)


@pytest.mark.parametrize(
    ("id", "last_with", "first_without"),
    [("implicit_int8", "10.16.2", "11.0"), ("xavier", "8.5.10", "8.6"), ("orin_nx", "11.4.0", "11.4.1")],
)
def test_features_end_with_their_release(id, last_with, first_without):
    assert has(id, last_with)
    assert not has(id, first_without)


def test_what_is_inferred_says_so():
    """Headers and trtexec of 10.8 to 10.16 keep the switches; three of NVIDIA's sources speak against them."""
    assert not has("dla_on_jetson", "10.13")
    assert release_of_tensorrt("10.13", "agx-orin-64gb").usable == "no"
    found = find_feature("dla_on_jetson", Version.parse("10.13"))
    assert found is not None
    assert found.confidence is Confidence.INFERRED
    assert find_release("7.2.1").usable == "no"


def test_options_of_trtexec_come_and_go():
    options = trtexec_options()
    assert options["buildOnly"].known_to(Version.parse("9.3"))
    assert not options["buildOnly"].known_to(Version.parse("10.0"))
    assert not options["buildDLAStandalone"].known_to(Version.parse("8.6.0"))
