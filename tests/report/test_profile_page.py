"""The page of a profile: everything that the terminal says, in the order of its use, and names that stay text."""

from __future__ import annotations

import html
import re
from dataclasses import replace

from dlaflow.parse.nsys import Enqueue
from dlaflow.parse.trtexec import parse_log
from dlaflow.profile.evidence import Evidence
from dlaflow.profile.profile import profile_of
from dlaflow.report.profile_page import render_profiles
from dlaflow.report.profile_text import failure, headline, notes, refusals, verdict
from tests.report.made_profiles import MS, capture_of, cold_profile, enqueue, gpu, logged_profile

STAMP = "[03/31/2022-10:00:00]"
FAILED = f"""&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=<b>.onnx --int8 --useDLACore=0
{STAMP} [E] Error[4]: [standardEngineBuilder.cpp::x::1] Error Code 4: Internal Error (kDIRECT_IO <img src=x>)
{STAMP} [E] Engine set up failed
&&&& FAILED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=<b>.onnx --int8 --useDLACore=0
"""


def text_of(page: str) -> str:
    """What a reader sees, without tags and entities."""
    body = page[page.index("<body>") : page.index("<script>")]
    inline = re.sub(r"</?(?:code|wbr)\b[^>]*>", "", body)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", inline)).split())


def seen(sentence: str) -> str:
    return " ".join(sentence.replace("`", "").split())


def test_all_that_the_terminal_says_of_a_failure() -> None:
    (run,) = parse_log(FAILED).runs
    profile = profile_of(Evidence("bad<i>", run=run, runs=1, outcome=run.outcome))
    page = render_profiles([profile])
    text = text_of(page)
    assert failure(profile.outcome)
    for sentence in (verdict(profile), *failure(profile.outcome), *notes(profile)):
        assert seen(sentence) in text
    assert '<span class="badge failed">FAILED</span>' in page
    assert "<img" not in page
    assert "<b>.onnx" not in page


def test_a_capture() -> None:
    profile = cold_profile()
    page = render_profiles([profile])
    text = text_of(page)
    assert verdict(profile) in page
    assert headline(profile) == f"capture: {verdict(profile)}"
    for part in ("Where the time goes", "Change first", "Changes of device in order", "One warm inference in time"):
        assert part in text
    assert "Stream time 8 ms" in text.replace("\xa0", " "), "the mean of the warm ones, from the reformat to the copy"
    assert "Cold inference 1 in time" in text
    assert "Inference 1 400 ms" in text
    assert text.index("Where the time goes") < text.index("Changes of device in order") < text.index("Cold inferences")
    rows = [(change.into_dla, change.copies, change.ms) for change in profile.changes]
    assert rows == [(True, 1, 1.0), (False, 0, 0.0)]
    assert "On the GPU: gemm" in profile.changes[1].why


def test_a_capture_without_the_dla_has_its_times_too() -> None:
    inferences = [
        Enqueue(7, at * MS, (at + 4) * MS, (gpu("conv", at, at + 1, at + 3), gpu("relu", at + 1, at + 3, at + 4)))
        for at in (0, 100, 200)
    ]
    profile = profile_of(Evidence("gpu", capture=capture_of(inferences)))
    assert [(layer.name, layer.ms) for layer in profile.top] == [("conv", 2.0), ("relu", 1.0)]
    text = text_of(render_profiles([profile]))
    assert "GPU 3 ms, 100%" in text
    assert "One warm inference in time 3 ms" in text


def test_two_profiles_stand_side_by_side() -> None:
    profile = cold_profile()
    fast = replace(profile, name="fast", measurements=tuple(
        replace(each, value=each.value / 2, subject="fast") for each in profile.measurements
    ))  # fmt: skip
    text = text_of(render_profiles([profile, fast]))
    assert "fast is 2 times as fast as capture." in text
    assert "Side by side" in text
    assert "(x0.5)" in text


def test_nothing_is_made_up_where_the_files_tell_nothing() -> None:
    (run,) = parse_log("[I] nothing of note\n").runs or (None,)
    page = render_profiles([profile_of(Evidence("bare", run=run, runs=1))])
    text = text_of(page)
    assert "he files do not tell where the layers ran" in text
    assert "Where layers run is told by the log of the build" in text
    for part in ("Where the time goes", "Changes of device", "Timeline", "Cold", "Predicted"):
        assert part not in text


def test_reasons_stand_beside_the_changes() -> None:
    profile = logged_profile()
    text = text_of(render_profiles([profile]))
    (reason,) = refusals(profile)
    assert seen(reason) in text
    assert [(each.into_dla, each.copies, each.ms) for each in profile.changes] == [(False, 1, 0.2), (True, 0, 0.0)]
    assert {each.why for each in profile.changes} == {"pool: DLA cores do not support AVG Reduce operation."}
    assert text.count("pool: DLA cores do not support AVG Reduce operation.") >= 3


def test_characters_that_turn_text_around_are_escapes() -> None:
    name = "a\u202eb\x1b[31m\ud800"
    profile = profile_of(Evidence(name, capture=capture_of([enqueue(100 * at, name) for at in range(3)])))
    page = render_profiles([profile])
    assert "\\u202e" in page
    assert not set("\u202e\x1b\ud800") & set(page)
    page.encode()
