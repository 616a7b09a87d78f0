"""Whether a run worked, and why not: logs of every tool and release, kept in every way."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.parse.detect import Kind
from dlaflow.parse.outcome import level_of, state_in
from dlaflow.parse.read import read_artefact
from dlaflow.parse.trtexec import parse_log

CASES = msgspec.toml.decode(Path(__file__).with_name("outcomes.toml").read_bytes())["case"]
FAILED = [case for case in CASES if case["kind"] != "passed"]
each_failed = pytest.mark.parametrize("case", FAILED, ids=lambda case: case["name"])


@each_failed
def test_a_failed_log_tells_its_cause_its_error_and_the_next_step(case):
    artefact = read_artefact(case["log"])
    assert artefact.kind in {Kind.TRTEXEC_LOG, Kind.TENSORRT_LOG}
    outcome = parse_log(case["log"]).outcome
    assert (outcome.state, outcome.id) == ("failed", case["id"])
    assert case["error"] in "\n".join(error.text for error in outcome.errors)
    assert outcome.then
    assert outcome.what
    assert [error.line for error in outcome.errors] == sorted(error.line for error in outcome.errors)


@pytest.mark.parametrize("case", [case for case in CASES if case["kind"] == "passed"], ids=lambda case: case["name"])
def test_a_run_that_passed_shows_what_it_outlived(case):
    outcome = parse_log(case["log"]).outcome
    assert outcome.state == "passed"
    assert case["id"] in {remark.id for remark in outcome.remarks}
    assert case["error"] in "\n".join(remark.text for remark in outcome.remarks)
    assert not [remark.text for remark in outcome.remarks if not remark.id], "every error here has its explanation"


@each_failed
@pytest.mark.parametrize("kept", ["crlf", "gzip", "end cut off"])
def test_the_answer_is_the_same_however_the_log_was_kept(case, kept, tmp_path):
    log = case["log"]
    path = tmp_path / "kept.log"
    if kept == "crlf":
        path.write_bytes(log.replace("\n", "\r\n").encode())
    elif kept == "gzip":
        path.write_bytes(gzip.compress(log.encode()))
    else:
        path.write_text(log[: log.rfind("&&&& FAILED")] if "&&&& FAILED" in log else log, encoding="utf-8")
    found = parse_log(path).outcome
    if case["id"] == "silent" and kept == "end cut off":
        assert found.state == "unknown"
    else:
        assert (found.state, found.id) == ("failed", case["id"])


def test_a_success_behind_an_error_is_believed_and_an_error_behind_a_success_too():
    bad, good = "[E] [TRT] 2: [x.cpp::f::1] Error Code 2: Internal Error (odd)", "[I] PASSED | Runtime: 3s | Command: x"
    assert parse_log(f"{bad}\n{good}\n").outcome.state == "passed"
    assert parse_log(f"{good}\n{bad}\n").outcome.state == "failed"
    assert parse_log("[W] [TRT] Layer 'a' (SHUFFLE): Unsupported on DLA. x\n" * 2).outcome.state == "unknown"


def test_of_several_runs_the_failed_one_tells_the_outcome():
    run = "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # a\n&&&& {} TensorRT.trtexec [TensorRT v8502] # a\n"
    log = parse_log(run.format("PASSED") + run.format("FAILED"))
    assert [each.outcome.state for each in log.runs] == ["passed", "failed"]
    assert log.outcome.id == "silent"


def test_endless_lines_are_looked_at_in_part():
    for text in (
        "[E] " + "NVMAP_IOC" * 500_000,
        "[W] DLA ElementWise operation" + ":" * 4_000_000,
        "Error" * 1_000_000,
        "a." * 1_000_000,
        "[UID " * 1_000_000,
        "0:00:00.1 1 0x1 WARN nvinfer " + "[" * 4_000_000,
    ):
        assert level_of(text, behind_error=False) in {"", "E"}
        assert state_in(text) is None
        assert len(parse_log(f"{text}\n[E] x\n").runs) == 1


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(max_size=80), max_size=12))
def test_any_text_has_an_outcome(lines):
    for run in parse_log("\n".join(lines)).runs:
        assert run.outcome.state in {"passed", "failed", "unknown"}
        assert run.outcome.state != "failed" or run.outcome.then
