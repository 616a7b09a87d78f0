"""The page of `dlaflow profile`: all that the terminal says, one inference in time, and the prediction beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlaflow.profile.breakdown import TopLayer
from dlaflow.profile.compare import compare_profiles
from dlaflow.profile.iteration import REFORMAT, iteration_of
from dlaflow.profile.profile import Profiled
from dlaflow.report.comparison_text import cells_of, sentences
from dlaflow.report.graph import graph_data
from dlaflow.report.html import latency_source, render_page, view_of
from dlaflow.report.profile_run import run_of_profiles
from dlaflow.report.profile_text import error_lines, next_steps, notes, refusals, remarks, verdict
from dlaflow.report.timeline import Timeline, spans_of, timeline_of
from dlaflow.types import Measurement

_MS = 1e-6


@dataclass(frozen=True, slots=True)
class Share:
    """A part of an inference's time: its kind (dla, gpu, reformat, copy, idle), milliseconds, and share (0..1)."""

    kind: str
    label: str
    ms: float
    share: float


@dataclass(frozen=True, slots=True)
class Cold:
    """A cold inference: its number (from 1), milliseconds of host and stream, and of the first its picture."""

    number: int
    host_ms: float
    stream_ms: float | None
    timeline: Timeline | None


def render_profiles(profiles: Sequence[Profiled], estimated: Sequence[Measurement] = ()) -> str:
    """The whole page; `estimated` is what was expected of the model beforehand."""
    comparison = compare_profiles(profiles) if len(profiles) > 1 else None
    run = run_of_profiles(profiles, estimated)
    anchors = {f"v{index}": variant for index, variant in enumerate(run.variants)}
    views = [
        view_of(variant, anchor) | _told(profile)
        for (anchor, variant), profile in zip(anchors.items(), profiles, strict=True)
    ]
    placements = [each.predicted for each in profiles if each.predicted]
    return render_page(
        "profile.html.j2",
        run=run,
        views=views,
        comparison=comparison,
        cells=cells_of(comparison) if comparison else [],
        told=list(sentences(comparison, failures=False)) if comparison else [],
        sources=list(dict.fromkeys(each.measured.source for each in profiles if each.measured)),
        headline=next(sentences(comparison)) if comparison else _capital(verdict(profiles[0])),
        target=placements[0].target if placements else None,
        latency_source=latency_source(run),
        graphs=graph_data(anchors),
    )


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _told(profile: Profiled) -> dict[str, object]:
    """What the template asks of one profile, besides what it asks of every variant."""
    return {
        "profile": profile,
        "verdict": _capital(verdict(profile)),
        "errors": error_lines(profile.outcome),
        "steps": next_steps(profile.outcome),
        "remarks_of_run": remarks(profile.outcome),
        "reasons": refusals(profile),
        "notes": notes(profile),
        "tiles": [each for each in profile.measurements if each.subject == profile.name],
        "shares": _shares(profile),
        "top": [(layer, _kind(layer)) for layer in profile.top],
        "widest": max((layer.ms for layer in profile.top), default=0.0) or 1.0,
        "cold": _cold(profile),
    }


def _kind(layer: TopLayer) -> str:
    return "reformat" if layer.name.startswith(REFORMAT) else layer.device.lower()


def _shares(profile: Profiled) -> list[Share]:
    """An inference's time by what it went into; nothing where a part of it is not known."""
    capture, breakdown = profile.capture, profile.breakdown
    parts: list[tuple[str, str, float]] = []
    if capture and capture.span_ms and capture.dla_ms and capture.gpu_ms and capture.reformat_ms and capture.idle_ms:
        parts = [
            ("dla", "DLA", capture.dla_ms.mean),
            ("gpu", "GPU", capture.gpu_ms.mean),
            ("reformat", "reformats", capture.reformat_ms.mean),
            ("idle", "idle", capture.idle_ms.mean),
        ]
    elif breakdown and not capture:
        parts = [
            ("dla", "DLA", breakdown.dla_ms),
            ("gpu", "GPU", breakdown.gpu_ms),
            ("reformat", "reformats", breakdown.reformat_ms),
            ("copy", "copies", breakdown.copy_ms),
        ]
    total = sum(ms for _, _, ms in parts)
    return [Share(kind, label, ms, ms / total) for kind, label, ms in parts if ms > 0]


def _cold(profile: Profiled) -> list[Cold]:
    """The cold inferences that were kept."""
    capture = profile.capture
    found = []
    for number, enqueue in enumerate(capture.sample[: capture.first_warm] if capture else (), start=1):
        span = iteration_of(enqueue).span_ns
        stream = None if span is None else span * _MS
        host = (enqueue.end - enqueue.start) * _MS
        found.append(Cold(number, host, stream, timeline_of(spans_of(enqueue)) if number == 1 else None))
    return found
