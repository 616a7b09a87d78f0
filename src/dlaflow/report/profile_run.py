"""Profiles as a run: what was predicted, what ran, and one inference in time."""

from __future__ import annotations

from collections.abc import Sequence

from dlaflow.placement.switches import edges
from dlaflow.profile.profile import Profiled
from dlaflow.report.records import RunRecord, Variant, utc_now
from dlaflow.report.timeline import spans_of
from dlaflow.types import Measurement


def run_of_profiles(profiles: Sequence[Profiled], estimated: Sequence[Measurement] = ()) -> RunRecord:
    """A run with one variant a profile; `estimated` is what was expected of the model beforehand."""
    environment = [f"{each.name}: {each.measured.source}" for each in profiles if each.measured]
    name = " vs ".join(each.name for each in profiles)
    return RunRecord(name, utc_now(), "", [], environment, [_variant(each, estimated) for each in profiles])


def _variant(profile: Profiled, estimated: Sequence[Measurement]) -> Variant:
    capture = profile.capture
    spans = spans_of(capture.sample[capture.first_warm]) if capture and capture.first_warm < len(capture.sample) else []
    return Variant(
        profile.name,
        "",
        profile.predicted,
        [*profile.measurements, *estimated],
        edges(profile.predicted.layers) if profile.predicted else [],
        profile.placement,
        spans,
    )
