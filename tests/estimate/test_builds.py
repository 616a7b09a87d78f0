"""Times that stand with placement logs become points; what is absent is left out, what is damaged is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlaflow.errors import InputError
from tools.fit.builds import BUILDS, with_builds
from tools.fit.points import Collection

BATCH_NORM = "tutorial_model_bn-agx_orin_64gb-trt852-1.json"


def test_a_latency_and_a_rate_in_the_notes(tmp_path: Path) -> None:
    build = {
        "source": "a blog",
        "tensorrt_version": "8.5.2",
        "latency_ms": {"mean": 0.7, "median": 0.6},
        "throughput_qps": 1600,
        "notes": "model_gn in the same blog: 350.5 qps",
    }
    (tmp_path / BATCH_NORM).write_text(json.dumps(build))
    batch_norm, group_norm = with_builds(Collection(()), tmp_path).points
    assert (batch_norm.model, batch_norm.latency_ms, batch_norm.qps) == ("CIFAR CNN with BatchNorm", 0.6, None)
    assert (group_norm.model, group_norm.latency_ms, group_norm.qps) == ("CIFAR CNN with GroupNorm", None, 350.5)


def test_nothing_there_and_nothing_said(tmp_path: Path) -> None:
    assert with_builds(Collection(()), tmp_path).points == ()
    (tmp_path / BATCH_NORM).write_text('{"source": "a blog"}')
    assert with_builds(Collection(()), tmp_path).points == ()
    (tmp_path / BATCH_NORM).write_text('{"source": 3}')
    with pytest.raises(InputError, match="not a recorded build"):
        with_builds(Collection(()), tmp_path)


def test_every_known_build_is_in_the_evidence(collection: Collection) -> None:
    known = {build.model for build in BUILDS}
    found = [point for point in collection.points if point.model in known and "layer" not in point.model]
    assert len(found) >= len(BUILDS)
    assert {point.model for point in found} == known
