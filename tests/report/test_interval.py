"""Intervals: their ends, and that text and page tell the same of a lopsided one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlaflow.report.html import render
from dlaflow.report.interval import beside, ends, told, told_share
from dlaflow.report.records import RunRecord
from dlaflow.report.text import run_markdown, table_notes
from dlaflow.types import Measurement, Provenance

EVEN = Measurement("power", "x", 5.0, "W", 9, spread=0.25)
LOPSIDED = Measurement(
    "latency", "DLA with fallback", 2.62, "ms", 0, 0.745, "80% interval", Provenance.ESTIMATED, low=1.98, high=3.47
)


@pytest.mark.parametrize(
    ("found", "text", "behind"),
    [
        (LOPSIDED, "1.98 to 3.47", " (1.98 to 3.47)"),
        (EVEN, "± 0.25", " ± 0.25"),
        (replace(EVEN, spread=123.4), "± 123", " ± 123"),
        (replace(EVEN, spread=None), "", ""),
    ],
)
def test_an_interval_in_words(found: Measurement, text: str, behind: str) -> None:
    assert told(found) == text
    assert beside(found) == behind


def test_the_ends_of_an_interval() -> None:
    assert ends(LOPSIDED) == (1.98, 3.47)
    assert ends(EVEN) == (4.75, 5.25)
    assert ends(replace(EVEN, spread=None)) == (5.0, 5.0)


def test_a_share_never_leaves_0_to_1() -> None:
    sure = Measurement("agreement", "m", 1.0, "", 4, spread=0.2449)
    assert told_share(sure) == "75.5 to 100.0%"
    assert told_share(replace(sure, low=0.51, high=1.0)) == "51.0 to 100.0%"


def test_text_and_page_tell_the_same_of_an_estimate(walkthrough: RunRecord) -> None:
    variants = [replace(each, measurements=[LOPSIDED]) for each in walkthrough.variants[:2]]
    run = replace(walkthrough, variants=variants)
    page = render(run)
    assert "1.98 to 3.47" in page
    assert "± 0.7" not in page
    assert "2.62 ms (1.98 to 3.47, estimated)" in run_markdown(run)
    assert "latency: estimated; 80% interval 0.76 to 1.32 times that" in table_notes(run)
