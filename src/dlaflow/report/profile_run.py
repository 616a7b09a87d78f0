"""Profiles as a run, so that their page is the report's: what was predicted, what ran, and one inference in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from dlaflow.profile.profile import Profiled
from dlaflow.report.records import Edge, RunRecord, Variant
from dlaflow.report.timeline import spans_of
from dlaflow.types import Measurement


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of the model beforehand: the connections of its layers, and the estimate."""

    edges: Sequence[Edge] = ()
    estimate: Sequence[Measurement] = ()


def run_of_profiles(profiles: Sequence[Profiled], expected: Expected) -> RunRecord:
    """A run with one variant a profile."""
    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    environment = [f"{each.name}: {each.measured.source}" for each in profiles if each.measured]
    notices = list(dict.fromkeys(note.text for each in profiles for note in each.notes))
    name = " vs ".join(each.name for each in profiles)
    variants = [_variant(each, expected) for each in profiles]
    return RunRecord(name, created, "", notices, environment, variants)


def _variant(profile: Profiled, expected: Expected) -> Variant:
    capture = profile.capture
    spans = spans_of(capture.sample[capture.first_warm]) if capture and capture.first_warm < len(capture.sample) else []
    return Variant(
        profile.name,
        "",
        profile.predicted,
        [*profile.measurements, *expected.estimate],
        list(expected.edges),
        profile.placement,
        spans,
    )
